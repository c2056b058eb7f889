"""BG/NBD against its source and against numerical integration; fitted on simulated customers.

The published fit on CDNOW's 2,357 customers (r .2426, alpha 4.4135, a .7929, b 2.4258; Fader, Hardie and Lee 2005,
table 2) is found again by `make bench-models`, where the data is.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import betaln

from models.bgnbd import BgNbd, Purchases
from training.bgnbd import NotFitted, fit_bgnbd, log_likelihood

CDNOW = BgNbd(0.2426, 4.4135, 0.7929, 2.4258)


def _known(*customers: tuple[float, float, float]) -> Purchases:
    x, t_x, t = np.array(customers, float).T
    return Purchases(x, t_x, t)


def test_the_published_customer_of_cdnow() -> None:
    """Customer 0001 (x 2, t_x 30.43, T 38.86): alive with .726 (Fader and Hardie, "Implementing the BG/NBD", 2005)."""
    assert CDNOW.alive(_known((2, 30.43, 38.86)))[0] == pytest.approx(0.726, abs=0.001)


def _integrated(model: BgNbd, x: float, t_x: float, t: float) -> float:
    """Equation 3 averaged over p by quadrature; the average over lambda is a Gamma integral, in closed form."""

    def rate_part(at: float) -> float:
        start = math.lgamma(model.r + x) - math.lgamma(model.r) + model.r * math.log(model.alpha)
        return start - (model.r + x) * math.log(model.alpha + at)

    sooner = math.exp(rate_part(t_x) - rate_part(t))  # relative to rate_part(t), or quad's tolerance would be too wide

    def given_p(p: float) -> float:
        return float((1 - p) ** x + (p * (1 - p) ** (x - 1) * sooner if x else 0.0))

    # The density of Beta is quad's own weight p^(a - 1) (1 - p)^(b - 1), which minds its ends.
    total = quad(given_p, 0, 1, weight="alg", wvar=(model.a - 1, model.b - 1))[0]
    return rate_part(t) + math.log(total) - float(betaln(model.a, model.b))


@pytest.mark.parametrize(
    "customer", [(2, 30.43, 38.86), (1, 1.71, 38.86), (0, 0, 38.86), (5, 24.43, 38.86), (2, 35.71, 38.86)]
)
def test_the_likelihood_is_the_integral(customer: tuple[float, float, float]) -> None:
    """The first customers of CDNOW's summary."""
    for model in (CDNOW, BgNbd(1.5, 6.0, 2.0, 3.0)):
        assert log_likelihood(model, _known(customer))[0] == pytest.approx(_integrated(model, *customer), abs=1e-6)


def _simulated(model: BgNbd, customers: int, until: float, seed: int) -> tuple[Purchases, np.ndarray]:
    """Purchases until `until`, and whether each customer buys in the next 20."""
    random = np.random.default_rng(seed)
    rows, buys = [], []
    for rate, stop in zip(
        random.gamma(model.r, 1 / model.alpha, customers), random.beta(model.a, model.b, customers), strict=True
    ):
        at, x, last, later = 0.0, 0, 0.0, False
        while True:
            at += random.exponential(1 / rate)
            if at > until:
                later = at <= until + 20
                break
            x, last = x + 1, at
            if random.random() < stop:
                break
        rows.append((x, last, until))
        buys.append(later)
    return _known(*rows), np.array(buys, float)


def test_fitting_finds_the_truth_and_keeps_its_promise() -> None:
    truth = BgNbd(0.9, 8.0, 0.9, 3.0)
    known, buys = _simulated(truth, 4000, 50.0, 1)
    found = fit_bgnbd(known)
    assert log_likelihood(found, known).sum() >= log_likelihood(truth, known).sum() - 0.5
    assert found.r / found.alpha == pytest.approx(truth.r / truth.alpha, rel=0.15)
    promised = found.buys_within(known, 20.0)
    assert promised.mean() == pytest.approx(buys.mean(), abs=0.02)
    likely = promised > np.median(promised)
    assert buys[likely].mean() > buys[~likely].mean() + 0.2


def test_the_unit_of_time_does_not_matter() -> None:
    known, _ = _simulated(BgNbd(0.9, 8.0, 0.9, 3.0), 500, 50.0, 2)
    weeks = fit_bgnbd(known)
    days = fit_bgnbd(Purchases(known.x, known.t_x * 7, known.t * 7))
    np.testing.assert_allclose(days.buys_within(Purchases(known.x, known.t_x * 7, known.t * 7), 140.0),
                               weeks.buys_within(known, 20.0), atol=1e-6)  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 60), st.floats(0, 1), st.floats(0.01, 500), st.floats(0, 400))
def test_probabilities_stay_in_bounds_and_grow_with_time(x: int, share: float, t: float, ahead: float) -> None:
    known = _known((x, share * t if x else 0.0, t))
    sooner, later = CDNOW.buys_within(known, ahead)[0], CDNOW.buys_within(known, ahead + 1)[0]
    assert 0 <= sooner <= later <= CDNOW.alive(known)[0] <= 1


def test_what_cannot_be_fitted_is_said() -> None:
    with pytest.raises(NotFitted, match="nobody has bought again"):
        fit_bgnbd(_known((0, 0, 5), (0, 0, 9)))
    with pytest.raises(ValueError, match="0 <= t_x <= t"):
        _known((1, 6, 5))
