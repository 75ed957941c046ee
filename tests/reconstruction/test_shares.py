"""Zeros go where they add least error."""

import numpy as np
import pytest

from lth_deploy.reconstruction.shares import spread_zeros

SHARES = (0.0, 0.5, 0.9)


@pytest.mark.parametrize("zeros", [0, 1, 37, 500, 1080])
def test_their_number_is_exact(zeros: int) -> None:
    curves = {"a": np.array([0.0, 0.1, 0.5]), "b": np.array([0.0, 0.4, 0.5])}
    assert sum(spread_zeros({"a": 200, "b": 1000}, curves, SHARES, zeros).values()) == zeros


def test_a_layer_that_adds_no_error_goes_first() -> None:
    curves = {"dear": np.array([0.0, 1.0, 3.0]), "free": np.array([0.0, 0.0, 0.0])}
    assert spread_zeros({"dear": 100, "free": 100}, curves, SHARES, 100) == {"free": 90, "dear": 10}


def test_it_is_as_good_as_any_other_split() -> None:
    curves = {"a": np.array([0.0, 0.2, 1.0]), "b": np.array([0.0, 0.1, 0.9])}
    found = spread_zeros({"a": 100, "b": 100}, curves, SHARES, 100)

    def error(a: int) -> float:
        split = {"a": a / 100, "b": (100 - a) / 100}
        return sum(float(np.interp(split[name], SHARES, curve)) for name, curve in curves.items())

    assert error(found["a"]) == pytest.approx(min(error(a) for a in range(10, 91)), abs=1e-9)


def test_what_a_layer_may_not_lose_others_do() -> None:
    curves = {"free": np.array([0.0, 0.0, 0.0]), "dear": np.array([0.0, 1.0, 3.0])}
    sizes, limits = {"free": 100, "dear": 100}, {"free": 10, "dear": 100}
    assert spread_zeros(sizes, curves, SHARES, 60, limits) == {"free": 10, "dear": 50}
    assert spread_zeros(sizes, curves, SHARES, 180, limits) == {"free": 10, "dear": 90}
