"""`find-ticket` on two ranks over Gloo: the run of one process with the same batch, and one error for each fault."""

from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="torch comes with the extra 'train'")
pytest.importorskip("torchvision", reason="torchvision comes with the extra 'train'")

from lth_deploy.mask import load_masks  # noqa: E402
from lth_deploy.run.directory import RunDirectory  # noqa: E402
from lth_deploy.run.summary import load_run  # noqa: E402
from lth_deploy.training.state import TrainingState  # noqa: E402
from lth_deploy.workflow.search.find_ticket import find_ticket, score_splits  # noqa: E402
from lth_deploy.workflow.search.splits import load_splits  # noqa: E402
from lth_deploy.workflow.search.trained_model import trained_model  # noqa: E402
from tests.training.ranks.launched import ROOT, started  # noqa: E402
from tests.workflow.search.ranks_search import command, ranks_recipe  # noqa: E402

TRIALS = ("dense", "level_50", "random_50", "level_50_int8")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("recipe") / "ranks.yaml"
    file.write_text(ranks_recipe().to_yaml())
    return file


@pytest.fixture(scope="module")
def run(written: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("two") / "run"
    ends = started([command(written, out)] * 2, PYTHONPATH=str(ROOT))
    assert [code for code, _, _ in ends] == [0, 0], ends
    assert "level_50_int8" in ends[0][1]
    assert ends[1][1:] == ("", ""), "rank 1 says nothing"
    return out


@pytest.fixture(scope="module")
def whole(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same recipe in one process."""
    out = tmp_path_factory.mktemp("one") / "run"
    find_ticket(RunDirectory.open(run).recipe(), out, device="cpu")
    return out


def test_a_run_is_close_to_that_of_one_process_with_the_same_batch(run: Path, whole: Path) -> None:
    """Not equal: this detector divides its loss by the number of objects in the images that it sees."""
    ours, theirs = RunDirectory.open(run), RunDirectory.open(whole)
    dense, other = (TrainingState.load(directory.trial("dense").weights).model for directory in (ours, theirs))
    assert dense.keys() == other.keys()
    for name, tensor in dense.items():
        torch.testing.assert_close(tensor.float(), other[name].float(), rtol=0.02, atol=0.02)
    for trial in TRIALS:
        found, wanted = (directory.trial(trial).read_result().ap("val", "bbox") for directory in (ours, theirs))
        assert found == pytest.approx(wanted, abs=0.02)
    pairs = zip(*(load_masks(one.trial("level_50").mask).values() for one in (ours, theirs)), strict=True)
    shares = [float((mask == expected).mean()) for mask, expected in pairs]
    assert sum(shares) / len(shares) > 0.95


@pytest.mark.parametrize("trial", ["level_50", "random_50", "level_50_int8"])
def test_masks_hold_to_the_last_weight(run: Path, trial: str) -> None:
    directory = RunDirectory.open(run).trial(trial)
    state = TrainingState.load(directory.weights).model
    masks = load_masks(directory.mask)
    assert masks
    for name, mask in masks.items():
        assert not state[name].numpy()[~mask].any(), name
        assert state[name].numpy()[mask].all(), name


@pytest.mark.parametrize("name", ["level_50", "level_50_int8"])
def test_the_ap_of_both_ranks_is_that_of_one_process_for_the_same_weights(run: Path, name: str) -> None:
    directory = RunDirectory.open(run)
    recipe, trial = directory.recipe(), directory.trial(name)
    splits = load_splits(recipe, run)
    model = trained_model(recipe, trial, splits["val"])
    model.to(memory_format=torch.channels_last)
    scores = score_splits(model, recipe, splits, torch.device("cpu"))
    result = trial.read_result()
    assert (scores["val"], scores["test"]) == (result.val, result.test)


def test_the_page_of_the_run_states_the_batch_and_the_learning_rate(run: Path) -> None:
    summary, _ = load_run(run / "summary.json")
    assert summary.notes[0] == (
        "trained on 2 ranks: 2 images a step, 1 on each rank; the learning rate stays the recipe's 0.01, because the "
        "batch does; batch norms that learn use statistics of all ranks"
    )
    assert summary.notes[0] in (run / "log.txt").read_text()
    assert all(trial.hardware.endswith(", 2 ranks") for trial in summary.trials)


def test_faults_of_the_start_are_one_error_each(written: Path, tmp_path: Path) -> None:
    other = command(written, tmp_path / "a", "--set", "training.seed=1")
    first, second = started([command(written, tmp_path / "a"), other], PYTHONPATH=str(ROOT))
    assert (first[0], second[0]) == (2, 2)
    assert first[2].startswith("error: rank 1 has a recipe of digest ")
    assert first[2].endswith("; start all ranks with the same file, options and versions\n")
    assert first[2].count("\n") == 1
    assert second[2] == ""
    assert not (tmp_path / "a").exists()

    late = started([command(written, tmp_path / "b")], size=2, PYTHONPATH=str(ROOT), LTH_RENDEZVOUS_SECONDS="2")[0]
    assert late[0] == 2
    assert late[2].startswith("error: rank 0 did not meet the other 1 at 127.0.0.1:")
    assert "within 2 s; start all of them" in late[2]
    assert not (tmp_path / "b").exists()
