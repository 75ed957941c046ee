"""MLflow: one run for a search, with the recipe as parameters, figures by trial, and files as artifacts."""

import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lth_deploy import storage
from lth_deploy.config.recipe import Recipe
from lth_deploy.config.tracking_spec import MlflowSpec
from lth_deploy.errors import DataError, MissingExtraError
from lth_deploy.run.callbacks import Callback
from lth_deploy.run.summary import RunSummary
from lth_deploy.run.trial_result import TrialResult
from lth_deploy.workflow.tracking.figures import plain, scores_of, shares_of

NOTE = "mlflow.json"
"""File of the run directory with the number of its MLflow run, for a later call."""
_LONGEST = 500


def tracker(spec: MlflowSpec, run: Path) -> Callback:
    """A run in the store `spec.uri`, or in RUN/mlflow.db.

    Raises:
        MissingExtraError: mlflow is not installed.
    """
    try:
        import mlflow  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("mlflow", "mlflow", "tracking.mlflow") from error
    return Mlflow(spec, run)


class Mlflow(Callback):
    """What a search says, in an MLflow run that a later call goes on with."""

    def __init__(self, spec: MlflowSpec, run: Path) -> None:
        self._spec, self._run = spec, run
        self._client: Any = None
        self._number = ""

    def begin(self, run: Path, recipe: Recipe) -> None:
        """Open the run, with every value of the recipe as a parameter."""
        new = self._open(run)
        if new:
            for key, value in _flat(recipe.model_dump(mode="json", exclude={"tracking", "out"})).items():
                self._client.log_param(self._number, plain(key), str(value)[:_LONGEST])

    def prune(self, trial: str, step: int, zeros: Mapping[str, float]) -> None:
        """Zeros of all prunable weights."""
        self._log(trial, {"zeros": 100 * zeros["all"]}, step)

    def rewind(self, trial: str, step: int) -> None:
        """The step that a trial begins at."""
        self._log(trial, {"rewound_to": step}, step)

    def epoch(self, trial: str, epoch: float, step: int, losses: Mapping[str, float], rate: float) -> None:
        """Losses and learning rate."""
        named = {f"loss/{name}": value for name, value in losses.items()}
        self._log(trial, {**named, "learning_rate": rate}, step)

    def level(self, result: TrialResult) -> None:
        """AP and shares."""
        self._log(result.name, {**scores_of(result), **shares_of(result)}, result.steps[1])

    def end(self, run: Path, summary: RunSummary) -> None:
        """The summary with its images; a finished search ends the run."""
        for file in (run / "summary.json", run / "recipe.yaml", *((run / image.path) for image in summary.pictures)):
            if file.is_file() and file.resolve().is_relative_to(run.resolve()):
                self._client.log_artifact(self._number, str(file))
        self._client.set_terminated(self._number, "FINISHED" if summary.finished else "KILLED")

    def export(self, run: Path, trial: str, files: Sequence[Path]) -> None:
        """Sizes of the exported files."""
        self._open(run)
        sizes = {f"export/{plain(file.name)}/bytes": float(file.stat().st_size) for file in files}
        self._log(trial, sizes, 0)
        self._client.set_terminated(self._number, "FINISHED")

    def _open(self, run: Path) -> bool:
        """Begin a run or find the one that this search began; whether it is new."""
        from mlflow.tracking import MlflowClient

        uri = self._spec.uri or f"sqlite:///{(run / 'mlflow.db').resolve()}"
        self._client = MlflowClient(tracking_uri=uri)
        experiment = self._client.get_experiment_by_name(self._spec.experiment)
        if experiment is None:
            place = None if "://" in uri and not uri.startswith("sqlite") else str((run / "mlartifacts").resolve())
            number = self._client.create_experiment(self._spec.experiment, artifact_location=place)
        else:
            number = experiment.experiment_id
        try:
            known = storage.read_json(run / NOTE)
            if known["uri"] == uri and self._client.get_run(known["run"]):
                self._number = known["run"]
                self._client.update_run(self._number, status="RUNNING")
                return False
        except (DataError, KeyError, TypeError):
            pass
        self._number = self._client.create_run(number, run_name=run.name).info.run_id
        storage.write_json(run / NOTE, {"uri": uri, "run": self._number})
        return True

    def _log(self, trial: str, values: Mapping[str, float], step: int) -> None:
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        metrics = [Metric(plain(f"{trial}/{name}"), float(value), now, step) for name, value in values.items()]
        self._client.log_batch(self._number, metrics=metrics)


def _flat(value: Any, key: str = "") -> dict[str, Any]:
    """Values of nested mappings by dotted key."""
    if isinstance(value, Mapping):
        found: dict[str, Any] = {}
        for name, item in value.items():
            found |= _flat(item, f"{key}.{name}" if key else re.sub(r"\s", "_", str(name)))
        return found
    return {key: value}
