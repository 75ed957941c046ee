"""The files of a sweep that is under way, written by nobody's search."""

from pathlib import Path

from lth_deploy import storage
from lth_deploy.pruning.search.plan import plan_trials
from lth_deploy.run.directory import RunDirectory, append_metrics
from lth_deploy.run.trial_result import TrialResult
from lth_deploy.workflow.sweep.starts import note_start, start_file
from tests.workflow.ticket_runs import tiny_recipe


def begun(folder: Path, state: str = "running") -> RunDirectory:
    """A sweep with a row whose dense training is done, and whose first level is at step 40; the other one failed."""
    run = RunDirectory.create(folder / "runs" / "a", tiny_recipe())
    dense = run.trial("dense")
    for file in (dense.weights, dense.metrics):
        storage.write_text(file, "")
    dense.commit(TrialResult(name="dense", kind="dense", steps=(0, 60), positions={}))
    level = run.trial(plan_trials(run.recipe())[1].name)
    for step in (20, 40):
        append_metrics(level.metrics, {"step": step, "loss": 30.0 / step})
    with level.metrics.open("ab") as file:
        file.write(b'{"step": 60, "lo')  # the writer is in the middle of a line
    note_start(start_file(folder, "a"))
    rows = [{"id": "a", "run": "runs/a", "state": state, "device": "cuda:0"}]
    rows += [{"id": "b", "run": "runs/b", "state": "failed", "error": "out of memory"}, {"id": "c", "state": "waiting"}]
    storage.write_json(folder / "sweep.json", {"schema": "lth-sweep/1", "name": "mine", "rows": rows})
    return run
