import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from raybench.metrics.functions.gaussian_epsilon import gaussian

# N(0, 1) against N(mean, sd^2): epsilon at delta 0.05, 0.01 and 1e-5
KNOWN = [
    (0.1, 1, 0, 0.092708, 0.340669),
    (0.25, 1, 0.133191, 0.359851, 0.926342),
    (0.5, 1, 0.514258, 0.919458, 1.993091),
    (1, 1, 1.568878, 2.317789, 4.377178),
    (2, 1, 4.573400, 5.997893, 9.997256),
    (3, 1, 8.647367, 10.745801, 16.675494),
    (0, 0.5, 4.232635, 8.412157, None),
    (0, 2, 4.232635, 8.412157, None),
    (0, 0.25, 26.464291, 47.411879, None),
    (1, 0.5, 11.042603, 17.833027, None),
    (1, 2, 6.377126, 11.744455, None),
    (0.5, 0.8, 1.356382, 2.663205, None),
]


@pytest.mark.parametrize(("mean", "sd", "at_5", "at_1", "at_1e5"), KNOWN)
def test_the_epsilon_of_two_normals_is_the_known_one_in_both_directions(mean, sd, at_5, at_1, at_1e5):
    for delta, expected in ((0.05, at_5), (0.01, at_1), (1e-5, at_1e5)):
        if expected is not None:
            assert gaussian(0, 1, mean, sd, delta) == pytest.approx(expected, abs=1e-6)
            assert gaussian(mean, sd, 0, 1, delta) == pytest.approx(expected, abs=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.floats(-3, 3), st.floats(0.3, 3), st.sampled_from([0.2, 0.05, 1e-3]))
def test_no_event_of_two_normals_breaks_their_epsilon_and_some_event_reaches_it(mean, sd, delta):
    epsilon = gaussian(0, 1, mean, sd, delta).item()
    x = np.linspace(-30, 30, 60_001)
    p, q = norm.logpdf(x), norm.logpdf(x, mean, sd)
    worst = max(
        np.trapezoid(np.maximum(np.exp(a) - np.exp(epsilon + b), 0), x) for a, b in ((p, q), (q, p)) if epsilon < 300
    )
    assert worst <= delta + 1e-6
    if epsilon > 0:
        assert worst == pytest.approx(delta, abs=1e-5)


def test_the_epsilon_of_normals_is_infinite_at_delta_0_and_finite_far_out():
    assert gaussian(0, 1, [0, 0.1, 0], [1, 1, 1.1], 0).tolist() == [0, np.inf, np.inf]
    far = gaussian(0, 1, [1000, 0, 0], [1, 1e-3, 1e3], 0.05)
    assert far[0] == pytest.approx(1000**2 / 2 + 1000 * norm.ppf(0.95), rel=1e-5)
    assert far[1] == pytest.approx(far[2])
    assert np.isfinite(far).all()


@pytest.mark.parametrize(("sd", "delta"), [(0, 0.05), (-1, 0.05), (1, 1), (1, -0.1)])
def test_impossible_normals_and_deltas_are_refused(sd, delta):
    with pytest.raises(ValueError, match=r"delta|deviations"):
        gaussian(0, 1, 0, sd, delta)
