"""Rates come back from times that were made of them."""

import numpy as np
import pytest

from lth_deploy.measure.nonnegative_fit import fitted_rates, nonnegative_least_squares


def test_known_rates_come_back() -> None:
    rates = {"macs": 0.02, "values": 0.3, "call": 800.0, "unused": 0.0}
    rng = np.random.default_rng(0)
    amounts = [
        {"macs": float(rng.integers(1e5, 1e7)), "values": float(rng.integers(1e3, 1e6)), "call": 1.0, "unused": 7.0 * i}
        for i in range(40)
    ]
    times = [sum(rates[name] * amount for name, amount in one.items()) for one in amounts]
    found = fitted_rates(amounts, times)
    assert found == pytest.approx(rates, rel=1e-6, abs=1e-6)


def test_noise_of_the_clock_does_not_decide() -> None:
    amounts = [{"values": 1000.0 * 2**i} for i in range(10)]
    rng = np.random.default_rng(1)
    times = [one["values"] * 0.5 * rng.uniform(0.95, 1.05) for one in amounts]
    assert fitted_rates(amounts, times)["values"] == pytest.approx(0.5, rel=0.05)


def test_no_rate_is_negative() -> None:
    """Unbound, the second coefficient would be -1."""
    matrix = np.array([[1.0, 0.0], [1.0, 1.0], [2.0, 1.0]])
    found = nonnegative_least_squares(matrix, np.array([2.0, 1.0, 3.0]))
    assert found[1] == 0.0
    assert found[0] == pytest.approx((2 + 1 + 6) / 6)


def test_nothing_was_observed() -> None:
    assert fitted_rates([], []) == {}
