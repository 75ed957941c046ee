"""`find-ticket` from recipe to summary: exact rewinds, honest controls, and kills that change nothing."""

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.workflow.ticket_runs import REWIND, STEPS, outcome, stopped_everywhere, tiny_recipe

torch = pytest.importorskip("torch", reason="torch comes with the extra 'train'")
pytest.importorskip("torchvision", reason="torchvision comes with the extra 'train'")

from lth_deploy.config.recipe import Recipe  # noqa: E402
from lth_deploy.config.search_spec import SourceSpec  # noqa: E402
from lth_deploy.detections import Detections  # noqa: E402
from lth_deploy.errors import DataError, RecipeError, StorageError, UsageError  # noqa: E402
from lth_deploy.evaluation.coco_ap import ENGINES, evaluate_detections  # noqa: E402
from lth_deploy.evaluation.coco_rows import compact  # noqa: E402
from lth_deploy.mask import load_masks  # noqa: E402
from lth_deploy.measure.machine import describe_machine  # noqa: E402
from lth_deploy.pruning.search.transfer import read_ticket  # noqa: E402
from lth_deploy.pruning.search.trials import Trials  # noqa: E402
from lth_deploy.run.directory import RunDirectory, Trial  # noqa: E402
from lth_deploy.run.summary import TrialSummary  # noqa: E402
from lth_deploy.run.trial_result import TrialResult  # noqa: E402
from lth_deploy.training import session  # noqa: E402
from lth_deploy.training.state import TrainingState  # noqa: E402
from lth_deploy.workflow.search import find_ticket as verb  # noqa: E402
from lth_deploy.workflow.search import summary  # noqa: E402
from lth_deploy.workflow.search.find_ticket import TicketResult, find_ticket  # noqa: E402
from lth_deploy.workflow.search.splits import load_splits  # noqa: E402
from lth_deploy.workflow.search.torch_detect import detect  # noqa: E402
from lth_deploy.workflow.search.trained_model import trained_model  # noqa: E402
from lth_deploy.workflow.tracking import callbacks_of  # noqa: E402
from tests.pruning.subsets import is_subset  # noqa: E402
from tests.waiting import killed_at_the_end, next_line, wait_until  # noqa: E402

PROJECT = Path(__file__).parents[3]


@dataclass
class Finished:
    """A finished search, and what each training began with."""

    result: TicketResult
    recipe: Recipe
    seconds: float
    starts: list[tuple[range, dict[str, Any]]] = field(default_factory=list)

    @property
    def run(self) -> RunDirectory:
        return RunDirectory.open(self.result.run)

    def trial(self, name: str) -> TrialSummary:
        return next(trial for trial in self.result.summary.trials if trial.name == name)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    starts = []
    train = session.train

    def spying(stepper: Any, batches: Any, steps: range, rate: Any, hooks: Any) -> None:
        starts.append((steps, {name: value.clone() for name, value in stepper.model.state_dict().items()}))
        train(stepper, batches, steps, rate, hooks)

    recipe = tiny_recipe()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session, "train", spying)
        began = time.monotonic()
        result = find_ticket(recipe, tmp_path_factory.mktemp("search") / "run", device="cpu")
        seconds = time.monotonic() - began
    return Finished(result, recipe, seconds, starts)


def test_all_trials_run_in_their_order(finished: Finished) -> None:
    assert finished.result.finished
    names = [trial.name for trial in finished.result.summary.trials]
    assert names == ["dense", "level_50", "level_80", "random_80"]
    assert {trial.hardware for trial in finished.result.summary.trials} == {describe_machine().cpu}
    assert [steps for steps, _ in finished.starts] == [range(STEPS), *[range(REWIND, STEPS)] * 3]


def test_rewound_weights_equal_the_snapshot_bit_for_bit(finished: Finished) -> None:
    snapshot = TrainingState.load(finished.run.rewind)
    dense = TrainingState.load(finished.run.trial("dense").weights)
    assert snapshot.step == REWIND
    assert any(not torch.equal(snapshot.model[name], dense.model[name]) for name in dense.model)
    for (_, start), name in zip(finished.starts[1:], ("level_50", "level_80", "random_80"), strict=True):
        masks = load_masks(finished.run.trial(name).mask)
        for tensor, value in start.items():
            keep = torch.from_numpy(masks[tensor]) if tensor in masks else torch.ones(value.shape, dtype=torch.bool)
            assert torch.equal(value[keep], snapshot.model[tensor][keep]), f"{name}: {tensor}"
            assert not value[~keep].any(), f"{name}: {tensor}"


def test_figures_of_a_run_are_those_of_pycocotools(finished: Finished, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fast engine, by whose figures a search chooses, computes the same, but not the result on test."""
    fast = pytest.importorskip("faster_coco_eval", reason="faster-coco-eval comes with the extra 'train'")
    splits, result = load_splits(finished.recipe, finished.result.run), finished.run.trial("level_80").read_result()
    model = trained_model(finished.recipe, finished.run.trial("level_80"), splits["val"])
    for name, published in (("val", result.val), ("test", result.test)):
        data, found = splits[name], detect(model, splits[name], torch.device("cpu"))
        for engine in ENGINES:
            metrics = evaluate_detections(data.ground_truth(), found, data.category_ids, engine=engine).metrics
            assert metrics["bbox"] == pytest.approx(published["bbox"], abs=1e-12)
    monkeypatch.setattr(fast, "COCOeval_faster", None)
    alone = {"test": splits["test"]}
    assert verb.score_splits(model, finished.recipe, alone, torch.device("cpu")) == {"test": result.test}
    with pytest.raises(TypeError):
        verb.score_splits(model, finished.recipe, {"val": splits["val"]}, torch.device("cpu"))


def test_stored_tickets_are_sparse_as_asked_for(finished: Finished) -> None:
    masks = {name: load_masks(finished.run.trial(name).mask) for name in ("level_50", "level_80", "random_80")}
    assert is_subset(masks["level_80"], masks["level_50"])
    prunable = finished.result.summary.parameters.prunable
    for name, mask in masks.items():
        trial = finished.trial(name)
        zeros = sum(layer.zeros for layer in trial.layers)
        assert zeros == round(trial.sparsity * prunable)
        assert trial.sparsity_prunable == pytest.approx(zeros / prunable)
        assert trial.sparsity_all == pytest.approx(zeros / finished.result.summary.parameters.total)
        weights = TrainingState.load(finished.run.trial(name).weights).model
        assert not any(weights[layer].numpy()[~keep].any() for layer, keep in mask.items())
    macs = sum(layer.elements * layer.positions for layer in finished.trial("level_80").layers)
    zero = sum(layer.zeros * layer.positions for layer in finished.trial("level_80").layers)
    assert finished.trial("level_80").zero_macs == pytest.approx(zero / macs)


def test_the_random_control_has_the_tickets_zeros_in_every_layer(finished: Finished) -> None:
    ticket, control = finished.trial("level_80").layers, finished.trial("random_80").layers
    assert [layer.zeros for layer in control] == [layer.zeros for layer in ticket]
    mine, other = (load_masks(finished.run.trial(name).mask) for name in ("level_80", "random_80"))
    assert any(not np.array_equal(mine[name], other[name]) for name in mine)


def test_every_file_of_a_trial_is_in_the_manifest(finished: Finished) -> None:
    run = finished.run
    files = run.manifest()["files"]
    for file in [*run.path.glob("trials/*/*"), run.rewind, run.summary, run.recipe_file]:
        run.verify(file)
    assert not list(run.path.rglob("checkpoint.safetensors"))
    assert len(files) >= 15


def test_finished_trials_are_skipped_and_litter_is_cleared(finished: Finished, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("nothing is left to train")

    monkeypatch.setattr(session, "train", refuse)
    litter = finished.result.run / "trials" / ".weights.safetensors.tmp-1"
    litter.write_bytes(b"torn")
    before = outcome(finished.result.run)
    again = find_ticket(finished.recipe, finished.result.run, device="cpu", resume=True)
    assert again.finished
    assert again.summary.trials == finished.result.summary.trials
    assert outcome(finished.result.run) == before
    assert not litter.exists()


def test_a_summary_loads_control_and_ticket_once(finished: Finished, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = []
    trained = Trials.trained
    monkeypatch.setattr(Trials, "trained", lambda self, name: (loaded.append(name), trained(self, name))[1])
    again = find_ticket(finished.recipe, finished.result.run, device="cpu", resume=True)
    shown = again.summary.winner.trial if again.summary.winner else "level_80"
    assert loaded == ["dense", shown]


def test_a_run_is_not_overwritten(finished: Finished) -> None:
    with pytest.raises(UsageError, match="--resume"):
        find_ticket(finished.recipe, finished.result.run, device="cpu")
    other = tiny_recipe(training={"steps": STEPS + 1, "batch_size": 2})
    with pytest.raises(UsageError, match="another recipe"):
        find_ticket(other, finished.result.run, device="cpu", resume=True)


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("name: mine\n")
    with pytest.raises(UsageError, match="not empty"):
        find_ticket(tiny_recipe(), tmp_path, device="cpu")
    assert (tmp_path / "recipe.yaml").read_text() == "name: mine\n"


def test_a_second_process_is_refused(finished: Finished) -> None:
    hold = (
        "import sys; from pathlib import Path; from lth_deploy.run.directory import RunDirectory\n"
        "with RunDirectory(Path(sys.argv[1])).locked(): print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", hold, str(finished.result.run)]
    process = subprocess.Popen(command, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with killed_at_the_end(process) as holder:
        assert next_line(holder) == "held"
        with pytest.raises(StorageError, match="another process"):
            find_ticket(finished.recipe, finished.result.run, device="cpu", resume=True)
        holder.communicate("", timeout=300)
    assert holder.returncode == 0


def test_sigkill_at_random_moments_changes_no_bit(finished: Finished, tmp_path: Path) -> None:
    """Two kills; LTH_TEST_KILLS=20 asks for more."""
    kills = int(os.environ.get("LTH_TEST_KILLS", "2"))
    often = {**finished.recipe.model_dump()["training"], "checkpoint_seconds": 1e-3}
    recipe = tiny_recipe(training=often)
    (tmp_path / "recipe.yml").write_text(recipe.to_yaml())
    rng = random.Random(kills)
    for _ in range(kills):
        # From the first files on to anywhere in the run, which a checkpoint after every step makes last longer.
        kill_after(rng.uniform(0, finished.seconds), tmp_path / "recipe.yml", tmp_path / "run")
    assert find_ticket(recipe, tmp_path / "run", device="cpu", resume=True).finished
    assert outcome(tmp_path / "run") == outcome(finished.result.run)


def kill_after(seconds: float, recipe: Path, run: Path) -> None:
    command = [sys.executable, "-m", "tests.workflow.ticket_runs", str(recipe), str(run)]
    search = subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with killed_at_the_end(search) as process:
        wait_until(lambda: process.poll() is not None or run.exists(), "the beginning of a run")
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
        assert process.wait(300) in (0, -signal.SIGKILL)


def test_a_time_limit_stops_after_a_checkpoint_and_resume_finishes(tmp_path: Path) -> None:
    recipe = tiny_recipe(
        training={"steps": 2, "batch_size": 2},
        pruning={"levels": [0.5], "rewind": {"step": 1}},
        controls={"random": []},
    )
    first = find_ticket(recipe, tmp_path / "run", device="cpu", max_seconds=0.0)
    assert not first.finished
    assert first.summary.winner is None
    checkpoint = RunDirectory(tmp_path / "run").trial("dense").checkpoint
    assert TrainingState.load(checkpoint).step == 1
    rest = find_ticket(recipe, tmp_path / "run", device="cpu", resume=True)
    assert rest.finished
    assert [trial.name for trial in rest.summary.trials] == ["dense", "level_50"]


def test_augmented_training_in_bfloat16_resumes_to_the_same_bits(tmp_path: Path) -> None:
    augment = {"vertical_flip": 0.5, "zoom": [0.7, 1.4], "brightness": 0.2, "contrast": 0.2}
    training = {"steps": 4, "precision": "bf16", "augment": augment}
    recipe = tiny_recipe(training=training, pruning={"levels": [0.5]}, controls={"random": []})
    find_ticket(recipe, tmp_path / "through", device="cpu")
    assert stopped_everywhere(recipe, tmp_path / "parts") > 4
    assert outcome(tmp_path / "parts") == outcome(tmp_path / "through")


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"pruning": {"criterion": "magnitud"}}, "magnitude"),
        ({"selection": {"metric": "segm"}}, "no metric of retinanet"),
        ({"pruning": {"criterion": "movement", "block_score": "l2"}}, "choose auto, l1 or max"),
        ({"pruning": {"exclude": ["backbone.bottom_up.*"]}}, "matches no layer"),
        ({"pruning": {"include": ["head.classification_head.cls_logits"]}}, "no layer to prune"),
    ],
)
def test_what_would_fail_after_hours_fails_before_anything_is_written(
    tmp_path: Path, sections: dict[str, Any], message: str
) -> None:
    with pytest.raises((RecipeError, UsageError), match=message):
        find_ticket(tiny_recipe(**sections), tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"pruning": {"rewind": {"step": STEPS}}}, f"step {STEPS} is not before the end"),
        ({"training": {"batch_size": 7}}, "batch_size 7"),
    ],
)
def test_a_refused_recipe_leaves_the_directory_to_the_corrected_one(
    tmp_path: Path, sections: dict[str, Any], message: str
) -> None:
    with pytest.raises((RecipeError, UsageError), match=message):
        find_ticket(tiny_recipe(**sections), tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()


def test_a_new_run_is_cleared_when_there_is_no_dense_trial_to_take(finished: Finished, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    with pytest.raises(DataError, match="no run directory"):
        find_ticket(finished.recipe, tmp_path / "new", device="cpu", dense_from=tmp_path)
    assert not (tmp_path / "new").exists()


def test_a_dense_training_serves_a_recipe_that_prunes_another_part(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny_recipe(pruning={"levels": [0.5], "groups": ["predictor"]}, controls={"random": []})
    with monkeypatch.context() as patch:
        # As a run of an earlier version, which counted only what it pruned.
        counted = TrialResult(name="dense", kind="dense", steps=(0, STEPS), positions={})
        patch.setattr(Trial, "read_result", lambda self: counted)
        with pytest.raises(UsageError, match="its recipe prunes other layers"):
            find_ticket(recipe, tmp_path / "run", device="cpu", dense_from=finished.result.run)
    # A URL serves as well as a path.
    result = find_ticket(recipe, tmp_path / "run", device="cpu", dense_from=finished.result.run.as_uri())
    ours, theirs = (RunDirectory.open(run).trial("dense").weights for run in (result.run, finished.result.run))
    assert ours.read_bytes() == theirs.read_bytes()
    (ticket,) = (trial for trial in result.summary.trials if trial.name == "level_50")
    assert {layer.group for layer in ticket.layers} == {"predictor"}
    assert ticket.zero_macs == pytest.approx(0.5, abs=0.1)


def test_a_ticket_is_read_at_a_url(finished: Finished) -> None:
    run = finished.result.run
    level = finished.recipe.pruning.level_list()[-1]
    near, far = (read_ticket(SourceSpec(run=place), level) for place in (str(run), run.as_uri()))
    assert far.masks.keys() == near.masks.keys()
    assert all(np.array_equal(far.masks[name], mask) for name, mask in near.masks.items())
    assert all(torch.equal(far.weights[name], tensor) for name, tensor in near.weights.items())
    with pytest.raises(UsageError, match=rf"source\.run {run.as_uri()} has no finished trial 'level_12'; it has l"):
        read_ticket(SourceSpec(run=run.as_uri()), 0.12)
    with pytest.raises(DataError, match=rf"{run.as_uri()}/trials is no run directory"):
        read_ticket(SourceSpec(run=f"{run.as_uri()}/trials"), level)


def test_a_refusal_keeps_what_a_run_has_done(finished: Finished, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise DataError("the disk with the photos is not there")

    before = outcome(finished.result.run)
    with monkeypatch.context() as patch:
        patch.setattr(verb, "splits_of_all_ranks", refuse)
        with pytest.raises(DataError, match="photos"):
            find_ticket(finished.recipe, finished.result.run, device="cpu", resume=True)
    assert outcome(finished.result.run) == before
    assert find_ticket(finished.recipe, finished.result.run, device="cpu", resume=True).finished


def trials(**val_ap: float | None) -> list[TrialSummary]:
    """Trials by name; the sparsity of a level is in its name."""
    return [
        TrialSummary(
            name=name,
            kind={"level": "ticket"}.get(name.split("_")[0], name.split("_")[0]),
            sparsity=float(name.split("_")[1]) / 100 if name[-1].isdigit() else 0.0,
            val={"bbox": {"AP": ap}},
        )
        for name, ap in val_ap.items()
    ]


@pytest.mark.parametrize(
    ("found", "winner"),
    [
        (trials(dense=0.5, level_50=0.52, level_80=0.495, level_90=0.3), "level_80"),
        # A dip below the tolerance does not hide a sparser level that is good again.
        (trials(dense=0.5, level_50=0.52, level_80=0.4, level_90=0.495), "level_90"),
        (trials(dense=0.5, level_50=0.4, random_80=0.6), None),
        (trials(dense=0.5, level_80=0.49), "level_80"),  # exactly the tolerance
        (trials(dense=0.8, level_80=0.79), "level_80"),
        (trials(dense=0.5, level_80=0.4899), None),
        (trials(dense=None, level_80=0.5), None),
        (trials(dense=0.5, level_50=None), None),
        (trials(dense=0.0, level_50=0.0), None),
        (trials(level_50=0.9), None),
    ],
)
def test_the_winner_is_the_sparsest_level_within_the_tolerance(found: list[TrialSummary], winner: str | None) -> None:
    best = summary.pick_winner(tiny_recipe(selection={"tolerance": 0.01}), found)
    assert (best and best.name) == winner


def test_the_winner_is_held_against_the_control_of_its_budget() -> None:
    recipe = tiny_recipe(pruning={"budget": "full"}, selection={"tolerance": 0.01})
    found = trials(dense=0.3, level_80=0.4)
    control = {"name": "dense_control", "kind": "dense_control", "sparsity": 0.0, "val": {"bbox": {"AP": 0.5}}}
    found.append(TrialSummary.model_validate(control))
    assert summary.pick_winner(recipe, found) is None


@pytest.mark.parametrize(("ticket_sees", "control_sees", "sign"), [(True, False, 1.0), (False, True, -1.0)])
def test_the_interval_is_of_ticket_minus_control(
    finished: Finished, monkeypatch: pytest.MonkeyPatch, ticket_sees: bool, control_sees: bool, sign: float
) -> None:
    splits = load_splits(finished.recipe, finished.result.run)
    callbacks = callbacks_of(finished.recipe.tracking, finished.result.run)
    search = verb._prepare(finished.recipe, finished.run, splits, verb.pick_device("cpu"), None, callbacks)
    sees = iter([ticket_sees, control_sees])

    def fake(model: Any, dataset: Any, device: Any, split: str) -> Any:
        seen = next(sees)
        return {image.id: compact(perfect(dataset, image.id, seen)) for image in dataset.images}

    monkeypatch.setattr("lth_deploy.workflow.search.torch_detect.detect", fake)
    model = search.trials.trained("dense")
    low, high = summary._interval(search, splits["test"], "test", model, model)
    assert low == pytest.approx(sign)
    assert high == pytest.approx(sign)


def perfect(dataset: Any, image: int, seen: bool) -> Detections:
    objects = dataset.annotations[image] if seen else ()
    boxes = np.array([one.bbox for one in objects], np.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    labels = np.array([dataset.labels[one.category_id] for one in objects], np.int64)
    return Detections(boxes, np.ones(len(objects), np.float32), labels)
