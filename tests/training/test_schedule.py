"""The learning rate is a pure function of the step."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lth_deploy.config.training_spec import ScheduleSpec
from lth_deploy.training.schedule import rate_at

BASE, TOTAL = 0.2, 90


def rates(**settings: object) -> list[float]:
    spec = ScheduleSpec.model_validate(settings)
    return [rate_at(step, TOTAL, BASE, spec) for step in range(TOTAL)]


def test_constant_is_constant() -> None:
    assert set(rates(name="constant")) == {BASE}


def test_step_falls_by_gamma_at_its_milestones() -> None:
    got = rates(name="step", milestones=[2 / 3, 8 / 9], gamma=0.1)
    assert got[59] == pytest.approx(BASE)
    assert got[60] == pytest.approx(0.1 * BASE)
    assert got[79] == pytest.approx(0.1 * BASE)
    assert got[80] == pytest.approx(0.01 * BASE)


def test_cosine_falls_from_the_base_towards_zero() -> None:
    got = rates(name="cosine")
    assert got[0] == BASE
    assert got == sorted(got, reverse=True)
    assert 0 < got[-1] < 0.001 * BASE


def test_one_cycle_rises_to_the_base_and_ends_near_nothing() -> None:
    got = rates(name="one_cycle", rise=0.3)
    assert got[0] == pytest.approx(BASE / 25)
    assert max(got) == got[27] == pytest.approx(BASE)
    assert got[:28] == sorted(got[:28])
    assert got[27:] == sorted(got[27:], reverse=True)
    assert got[-1] < 0.001 * BASE


def test_one_cycle_is_the_one_of_pytorch() -> None:
    torch = pytest.importorskip("torch", reason="torch comes with the extra 'train'")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    # PyTorch places its ends on steps 0 and N - 1, this schedule on 0 and N; with N + 1 of theirs they meet.
    theirs = torch.optim.lr_scheduler.OneCycleLR(optimizer, BASE, total_steps=TOTAL + 1, pct_start=31 / (TOTAL + 1))
    spec = ScheduleSpec(name="one_cycle", rise=30 / TOTAL)
    for step in range(TOTAL):
        assert rate_at(step, TOTAL, BASE, spec) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9)
        optimizer.step()
        theirs.step()


@settings(max_examples=30, derandomize=True, deadline=None)
@given(st.sampled_from(["constant", "step", "cosine", "one_cycle"]), st.integers(1, 60), st.floats(1e-3, 1.0))
def test_warm_up_is_a_factor_that_rises_to_one(name: str, steps: int, factor: float) -> None:
    plain, warm = rates(name=name), rates(name=name, warmup_steps=steps, warmup_factor=factor)
    shares = [w / p for w, p in zip(warm, plain, strict=True)]
    assert shares[0] == pytest.approx(factor)
    assert shares == sorted(shares)
    assert shares[steps:] == [1.0] * (TOTAL - steps)
