from raybench.docgen import content
from raybench.metrics import conformal
from raybench.metrics.functions import cost, statistics


def test_named_functions_come_in_the_order_of_their_names():
    found = content.functions(conformal, ("quantile", "coverage_ratio"))
    assert list(found.items()) == [("quantile", conformal.quantile), ("coverage_ratio", conformal.coverage_ratio)]


def test_all_functions_of_a_module_are_those_that_it_offers_and_no_classes():
    found = content.functions(statistics, content.ALL)
    assert set(found) == {name for name in statistics.__all__ if name[0].islower()}
    assert found["wilson"] is statistics.wilson  # defined elsewhere, offered here


def test_a_module_that_lists_nothing_offers_what_it_defines():
    found = content.functions(cost, content.ALL)
    assert {"sample_passes", "share_of_retraining", "total", "flops"} <= set(found)
    assert not {"mean_interval", "_checked", "Shares"} & set(found)
