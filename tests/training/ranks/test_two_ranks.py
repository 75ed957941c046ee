"""Two ranks over Gloo: the same masks and weights on both, and those of one process with the whole batch."""

import json
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch comes with the extra 'train'")

from lth_deploy.run.directory import RunDirectory, Trial, read_metrics  # noqa: E402
from lth_deploy.training.session import Session  # noqa: E402
from lth_deploy.training.state import TrainingState  # noqa: E402
from tests.pruning.toy_search import build, toy_recipe  # noqa: E402
from tests.training.ranks.launched import started  # noqa: E402
from tests.training.ranks.toy import STEPS, SharedBatches, norm_case, quiet, thinned, toy_masks  # noqa: E402


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("ranks")
    ends = started([["-m", "tests.training.ranks.two_ranks", str(made)]] * 2)
    assert [code for code, _, _ in ends] == [0, 0], ends
    return made


@pytest.fixture
def out(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "out.json").read_text()))


def weights(folder: Path, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    first, second = (torch.load(folder / f"{name} {rank}.pt", weights_only=True) for rank in (0, 1))
    return first, second


def in_one_process(tmp_path: Path, **spec: Any) -> Any:
    model, masks = quiet(3), toy_masks(build(0))
    session = Session(toy_recipe(training=spec).training, torch.device("cpu"), model, _trial(tmp_path), masks)
    session.run(TrainingState.capture(0, model), range(STEPS), lambda step: 0.05, SharedBatches())
    return model.state_dict()


def _trial(tmp_path: Path) -> Trial:
    return Trial(RunDirectory(tmp_path), "trial")


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_two_ranks_end_where_one_process_with_the_whole_batch_does(
    folder: Path, out: dict[str, Any], tmp_path: Path, optimizer: str
) -> None:
    assert out[f"{optimizer} error"] == ""
    first, second = weights(folder, optimizer)
    whole = in_one_process(tmp_path, optimizer={"name": optimizer})
    for name, tensor in whole.items():
        assert torch.equal(first[name], second[name]), name
        torch.testing.assert_close(first[name], tensor, rtol=2e-4, atol=2e-6)
    for name, mask in toy_masks(build(0)).items():
        assert not first[name][~mask].any(), name
        assert first[name][mask].all(), name


def test_losses_are_those_of_the_whole_batch(folder: Path, tmp_path: Path) -> None:
    in_one_process(tmp_path, optimizer={"name": "sgd"})
    ours, theirs = (
        read_metrics(Trial(RunDirectory(path), "trial").metrics)[-1]["loss"] for path in (folder / "sgd", tmp_path)
    )
    assert ours == pytest.approx(theirs, rel=1e-4)


def test_norms_that_are_not_synchronized_see_their_own_images_alone(folder: Path) -> None:
    """So the tests of synchronized norms could fail; weights are the same on both ranks all the same."""
    own, shared = weights(folder, "own norms")[0], weights(folder, "sgd")[0]
    assert not torch.allclose(own["stem.weight"], shared["stem.weight"], rtol=2e-4, atol=2e-6)
    first, second = weights(folder, "own norms")
    assert torch.equal(first["stem.weight"], second["stem.weight"])
    assert not torch.equal(first["norm.running_mean"], second["norm.running_mean"])


def test_masks_that_come_in_the_middle_of_a_training_hold_on_all_ranks(folder: Path, out: dict[str, Any]) -> None:
    assert out["gradual error"] == ""
    first, second = weights(folder, "gradual")
    for name, mask in thinned(toy_masks(build(0))).items():
        assert torch.equal(first[name], second[name]), name
        assert not first[name][~mask].any(), name


def test_parts_of_a_step_in_half_precision_leave_the_same_weights_on_all_ranks(
    folder: Path, out: dict[str, Any]
) -> None:
    assert out["parts error"] == ""
    first, second = weights(folder, "parts")
    for name, mask in toy_masks(build(0)).items():
        assert torch.equal(first[name], second[name]), name
        assert not first[name][~mask].any(), name
        assert not torch.equal(first[name], quiet(3).state_dict()[name] * mask), name


def test_a_training_goes_back_on_all_ranks(folder: Path, out: dict[str, Any]) -> None:
    assert out["progressive error"] == ""
    masks, start = thinned(toy_masks(build(0))), quiet(3).state_dict()
    for rank in weights(folder, "progressive"):
        for name, value in start.items():
            kept = masks[name] if name in masks else torch.ones(value.shape, dtype=torch.bool)
            assert torch.equal(rank[name], torch.where(kept, value, 0)), name


def test_a_mask_that_differs_on_one_rank_is_one_error(out: dict[str, Any]) -> None:
    assert out["wrong mask error"].startswith(
        "TrainingError: trial: the masks of rank 1 are not those of rank 0 (their"
    )


def test_other_data_on_one_rank_is_one_error(out: dict[str, Any]) -> None:
    assert out["data"] == (
        "DataError: rank 1 sees 3 images in train (digest 00000003), and rank 0 sees 4 images in train "
        "(digest 00000004); give all ranks the same files"
    )


def test_data_that_one_rank_cannot_read_is_one_error(out: dict[str, Any]) -> None:
    assert out["no data"] == (
        "DataError: rank 1 sees no data (no such file: train.json), and rank 0 sees 4 images in train (digest "
        "00000004); give all ranks the same files"
    )


def test_data_of_all_ranks_comes_in_their_order(out: dict[str, Any]) -> None:
    assert out["gathered"] == ["", "rank "]


def test_synchronized_norms_are_those_of_the_whole_batch(folder: Path, out: dict[str, Any]) -> None:
    """Values far from zero: the mean of squares minus the square of means would lose them."""
    norm, values, wanted = norm_case()
    values.requires_grad_()
    result = norm(values)
    (result * wanted).sum().backward()
    theirs = [out["norm"], json.loads((folder / "norm 1.json").read_text())]
    for rank, found in enumerate(theirs):
        close = {"rtol": 1e-4, "atol": 2e-5}
        torch.testing.assert_close(torch.tensor(found["result"]), result[rank::2].detach(), **close)
        torch.testing.assert_close(torch.tensor(found["gradient"]), values.grad[rank::2], **close)
        torch.testing.assert_close(torch.tensor(found["mean"]), norm.running_mean, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(torch.tensor(found["variance"]), norm.running_var, rtol=1e-4, atol=1e-6)
    # DDP adds up the gradients of weights afterwards.
    summed = torch.tensor(theirs[0]["weight"]) + torch.tensor(theirs[1]["weight"])
    torch.testing.assert_close(summed, norm.weight.grad, rtol=1e-4, atol=2e-5)
