import numpy as np
import pytest

from raybench.metrics.class_wise_conformal import class_wise_coverage, class_wise_cr
from raybench.metrics.conformal import coverage, cr

GONE, ALPHA = 3, 0.1
CALIBRATION, TEST = np.repeat(np.arange(10), 200), np.repeat(np.arange(10), 300)
FORGET, RETAIN = np.full(500, GONE), np.repeat([0, 1, 2, 4, 5, 6, 7, 8, 9], 50)


def logits_of(labels, *, knows_it, rng):
    """A model that knows every class, or all but the forgotten one."""
    logits = rng.normal(size=(len(labels), 10))
    logits[np.arange(len(labels)), labels] += np.where((labels == GONE) & (not knows_it), 0, 4)
    return logits


def asked(knows_it, **changed):
    rng = np.random.default_rng(0)
    given = {
        "forget_logits": logits_of(FORGET, knows_it=knows_it, rng=rng),
        "forget_labels": FORGET,
        "retain_labels": RETAIN,
        "test_logits": logits_of(TEST, knows_it=knows_it, rng=rng),
        "test_labels": TEST,
        "calibration_logits": logits_of(CALIBRATION, knows_it=knows_it, rng=rng),
        "calibration_labels": CALIBRATION,
        "alpha": ALPHA,
    }
    return {**given, **changed}


@pytest.mark.parametrize("knows_it", [True, False])
def test_the_classs_own_threshold_covers_it_whatever_was_unlearned(knows_it):
    found = class_wise_coverage(**asked(knows_it))
    assert found["_forget"].value == pytest.approx(1 - ALPHA, abs=0.03)
    assert found["_test_forgotten"].value == pytest.approx(1 - ALPHA, abs=0.05)
    assert found["_test_retained"].value == pytest.approx(1 - ALPHA, abs=0.03)


def test_the_threshold_of_the_retained_classes_tells_forgetting_from_knowing():
    knows, forgot = (class_wise_coverage(**asked(knows_it)) for knows_it in (True, False))
    assert knows["_forget_by_retained"].low > 0.85
    assert forgot["_forget_by_retained"].high < 0.05
    assert forgot["_forget_set_size"].value > 8 > 2 > knows["_forget_set_size"].value


def test_each_part_is_the_plain_metric_on_that_part():
    given = asked(False)
    parts, ratios = class_wise_coverage(**given, score="margin"), class_wise_cr(**given)
    held_out = (given["calibration_logits"], CALIBRATION, ALPHA)
    kept = TEST != GONE
    settings = {"rule": "numpy_higher", "forget_classes": (GONE,)}
    plain = coverage(given["forget_logits"], FORGET, *held_out, score="margin", calibration="forget_only", **settings)
    assert (parts["_forget"], parts["_forget_set_size"]) == (plain[""], plain["_set_size"])
    assert ratios["_test_retained"] == cr(
        given["test_logits"][kept], TEST[kept], *held_out, calibration="retain_only", **settings
    )


def test_a_random_forget_set_is_not_judged_class_wise():
    with pytest.raises(ValueError, match="no whole class is forgotten"):
        class_wise_cr(**asked(True, retain_labels=np.arange(10)))


def test_too_few_calibration_samples_of_the_forgotten_class_are_a_reason():
    few = CALIBRATION != GONE
    given = asked(True)
    with pytest.raises(ValueError, match="needs 9 calibration samples or more"):
        class_wise_coverage(
            **{**given, "calibration_logits": given["calibration_logits"][few], "calibration_labels": CALIBRATION[few]}
        )
