from raybench.docgen import content
from raybench.metrics.functions import conformal_quantile, statistics


def test_named_functions_come_in_the_order_of_their_names():
    found = content.functions(conformal_quantile, ("rank", "quantile"))
    assert list(found.items()) == [("rank", conformal_quantile.rank), ("quantile", conformal_quantile.quantile)]


def test_a_module_that_lists_nothing_offers_what_it_defines():
    found = content.functions(statistics, content.ALL)
    assert {"gap_to_reference", "paired_test", "rank_intervals", "holm"} <= set(found)
    assert not {"mean_interval", "_unsort", "Gap"} & set(found)
