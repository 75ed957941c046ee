"""Figures are read by people: no exponent, no false rounding, a dash where nothing is known."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lth_deploy.reporting import number_text

LAWFUL = settings(derandomize=True, max_examples=50)


@pytest.mark.parametrize(
    "show", [number_text.ap, number_text.points, number_text.percent, number_text.size, number_text.milliseconds]
)
def test_nothing_is_a_dash(show) -> None:  # type: ignore[no-untyped-def]
    assert show(None) == number_text.MISSING


@LAWFUL
@given(st.floats(0, 0.999999999))
def test_only_everything_is_a_hundred_per_cent(share: float) -> None:
    assert number_text.percent(share) != "100.0 %"


@LAWFUL
@given(st.floats(-1, 1))
def test_points_carry_a_sign_unless_they_vanish(difference: float) -> None:
    assert re.fullmatch(r"[+\u2212]\d+\.\d|0\.0", number_text.points(difference))


@LAWFUL
@given(st.floats(0.001, 1e6))
def test_three_digits_are_kept(value: float) -> None:
    text = number_text.three_digits(value)
    assert "e" not in text
    assert float(text) == pytest.approx(value, rel=0.006, abs=0.0005)


def test_units() -> None:
    assert number_text.size(6_240_000) == "6.24 MB"
    assert number_text.size(999) == "999 B"
    assert number_text.duration(7325) == "2 h 02 min"
    assert number_text.duration(59.4) == "59 s"
    assert number_text.count(11_927_000).split("\u202f") == ["11", "927", "000"]
