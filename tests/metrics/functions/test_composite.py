import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raybench.metrics.functions.composite import (
    agl,
    agr,
    forgetting_score,
    h_lr,
    nomus,
    pareto_ranks,
    tug_of_war,
)
from raybench.metrics.functions.intervals import clopper_pearson

# Choi and Na 2023, Tables 1-5: test accuracy, forgetting score, NoMUS, truncated as reported. Columns: Original,
# Retrained, Fine-tuning, CF-3, NegGrad, UNSIR stage 1, UNSIR stage 2, SCRUB, Advanced NegGrad.
REPORTED = {
    "mufac": (
        "0.5951 0.4880 0.6055 0.5900 0.4048 0.5893 0.5925 0.5984 0.5633",
        "0.2136 0.0445 0.2129 0.2126 0.0485 0.2089 0.1990 0.1415 0.0953",
        "0.5839 0.6994 0.5898 0.5823 0.6538 0.5857 0.5972 0.6576 0.6863",
    ),
    "mucac multi-label": (
        "0.8852 0.8135 0.9147 0.9197 0.4193 0.7087 0.9220 0.9073 0.7607",
        "0.0568 0.0436 0.0708 0.0685 0.0356 0.0324 0.0705 0.0478 0.0152",
        "0.8858 0.8631 0.8865 0.8913 0.6740 0.8219 0.8905 0.9058 0.8651",
    ),
    "mucac gender": (
        "0.9835 0.9515 0.9849 0.9840 0.1762 0.9481 0.9845 0.1762 0.9147",
        "0.0306 0.0154 0.0281 0.0291 0.1289 0.0638 0.0481 0.1329 0.0129",
        "0.9611 0.9603 0.9643 0.9629 0.4592 0.9102 0.9441 0.4552 0.9444",
    ),
    "mucac smiling": (
        "0.9467 0.6518 0.9476 0.9472 0.5549 0.8619 0.9506 0.5549 0.9423",
        "0.0346 0.0182 0.0279 0.0294 0.0366 0.0416 0.0271 0.4680 0.0354",
        "0.9387 0.8077 0.9459 0.9442 0.7408 0.8893 0.9482 0.3094 0.9357",
    ),
    "mucac young": (
        "0.9089 0.8271 0.9147 0.9118 0.1733 0.8260 0.9021 0.8929 0.5573",
        "0.0456 0.0234 0.0426 0.0456 0.0513 0.0229 0.0493 0.0428 0.0139",
        "0.9088 0.8901 0.9147 0.9103 0.5353 0.8901 0.9017 0.9036 0.7647",
    ),
}
TRIPLES = [
    (name, *map(float, triple)) for name, rows in REPORTED.items() for triple in zip(*(row.split() for row in rows))
]


def test_all_45_reported_totals_are_there():
    assert len(TRIPLES) == 45


@pytest.mark.parametrize(("name", "accuracy", "score", "total"), TRIPLES)
def test_nomus_reproduces_each_reported_total(name, accuracy, score, total):
    assert nomus(accuracy, score) == pytest.approx(total, abs=1.5e-4)


def test_nomus_gives_a_constant_model_as_much_as_retraining_on_mucac_young():
    majority, label_only = 0.8266, 0.5268
    assert nomus(majority, forgetting_score(label_only)) == pytest.approx(0.8901, abs=0.005)


def test_the_forgetting_score_is_absolute_and_may_be_taken_against_retrained():
    assert forgetting_score(0.4848) == pytest.approx(0.0152)
    assert forgetting_score(0.5152) == pytest.approx(0.0152)
    assert forgetting_score(0.63, reference=0.631) == pytest.approx(0.001)


@settings(max_examples=50, deadline=None)
@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_nomus_stays_in_range_and_its_weight_moves_between_its_parts(accuracy, attack, weight):
    score = forgetting_score(attack)
    assert 0 <= nomus(accuracy, score, weight) <= 1
    assert nomus(accuracy, score, 1) == pytest.approx(accuracy)
    assert nomus(accuracy, score, 0) == pytest.approx(1 - 2 * score)


def test_percentages_are_refused_where_fractions_are_meant():
    with pytest.raises(ValueError, match="fraction"):
        nomus(59.5, 0.2)
    with pytest.raises(ValueError, match=r"0\.\.0\.5"):
        nomus(0.5, 0.6)


UNLEARNED = {"UA": 0.10, "RA": 0.99, "TA": 0.80, "MIA": 0.6}
RETRAINED = {"UA": 0.12, "RA": 1.00, "TA": 0.85, "MIA": 0.5}


def test_logit_and_representation_agreement_keep_their_parts():
    logits = agl(UNLEARNED, RETRAINED)
    assert logits.value == pytest.approx(0.98 * 0.99 * 0.95 * 0.9)
    assert agl(UNLEARNED, RETRAINED, variant="mean").value == pytest.approx((0.98 + 0.99 + 0.95 + 0.9) / 4)
    assert logits.parts == pytest.approx({"UA": 0.98, "RA": 0.99, "TA": 0.95, "MIA": 0.9})
    features = agr({"cub": 0.5}, {"cub": 0.6}, {"cub": 0.8})
    assert features.value == pytest.approx(0.9 * 0.8)
    assert features.parts == pytest.approx({"knn cub": 0.9, "cka cub": 0.8})
    both = h_lr(logits.value, features.value)
    assert both == pytest.approx(2 / (1 / logits.value + 1 / features.value))


def test_agreements_of_retrained_with_itself_are_1_and_no_agreement_at_all_is_0():
    assert agl(RETRAINED, RETRAINED).value == 1
    assert agr({"a": 0.5}, {"a": 0.5}, {"a": 1.0}).value == 1
    nothing = agl({"UA": 1.0}, {"UA": 0.0})
    assert h_lr(nothing.value, nothing.value) == 0
    assert agr({"a": 0.5}, {"a": 0.5}, {"a": -0.006}).value == 0  # unbiased CKA of unrelated features


def test_agreements_over_different_metrics_are_refused():
    with pytest.raises(ValueError, match="same metrics"):
        agl({"FA": 0.5}, {"RA": 0.5})
    with pytest.raises(ValueError, match="sets differ"):
        agr({"a": 0.5}, {"b": 0.5}, {})
    with pytest.raises(ValueError, match="allowed: product, mean"):
        agl(RETRAINED, RETRAINED, variant="median")
    with pytest.raises(ValueError, match="no metrics"):
        agl({}, {})


def test_tug_of_war_is_the_product_over_forget_retain_and_test():
    unlearned = {"forget": clopper_pearson(5, 10), "retain": clopper_pearson(9, 10), "test": clopper_pearson(8, 10)}
    retrained = {"forget": clopper_pearson(7, 10), "retain": clopper_pearson(10, 10), "test": clopper_pearson(8, 10)}
    assert tug_of_war(unlearned, retrained).value == pytest.approx(0.8 * 0.9 * 1.0)
    assert tug_of_war(retrained, retrained).value == 1


def test_pareto_ranks_of_a_known_case():
    values = [[1, 4], [2, 2], [4, 1], [3, 3], [2, 2], [5, 5]]
    assert pareto_ranks(values).tolist() == [1, 1, 1, 2, 1, 3]
    assert pareto_ranks(values, best=["highest", "highest"])[5] == 1


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000))
def test_pareto_fronts_are_those_found_by_peeling(seed):
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 4, (12, 3)).astype(float)
    ranks, front, left = np.zeros(12, int), 0, set(range(12))
    while left:
        front += 1
        best = {i for i in left if not any(all(values[j] <= values[i]) and any(values[j] < values[i]) for j in left)}
        for i in best:
            ranks[i] = front
        left -= best
    assert pareto_ranks(values).tolist() == ranks.tolist()


def test_pareto_ranks_refuse_nan_and_wrong_sides():
    with pytest.raises(ValueError, match="NaN"):
        pareto_ranks([[np.nan, 1.0]])
    with pytest.raises(ValueError, match="each of the 2 objectives"):
        pareto_ranks([[1.0, 2.0]], best=["lowest"])
