"""The result of one trial, `result.json`. A digest says that a file did not change, not that its values make sense."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict, Field, ValidationError

from lth_deploy.documents import Count, Figure, Metrics, Section
from lth_deploy.errors import DataError

Position = Annotated[float, Field(allow_inf_nan=False)]


class TrialFigures(Section):
    """What result.json and summary.json both say of a trial.

    sparsity: the level that was requested. parent: the trial that its weights or its mask come from.
    seconds: of the training. hardware: that the training ended on. sparsity_prunable: measured share
    of zeros among the prunable weights. zero_macs: share of the multiplications with a zero weight.
    val, test: AP by kind of AP and metric, as a fraction.
    """

    name: str
    kind: str = "ticket"
    sparsity: Figure = None
    parent: str | None = None
    steps: Count | tuple[Count, Count] | None = None
    seconds: Figure = None
    hardware: str = ""
    sparsity_prunable: Figure = None
    zero_macs: Figure = None
    val: Metrics | None = None
    test: Metrics | None = None

    @property
    def zeros(self) -> float:
        """Share of zeros among the prunable weights: as measured, else as requested; 0 for a dense trial."""
        measured = self.sparsity_prunable if self.sparsity_prunable is not None else self.sparsity
        return min(max(measured or 0.0, 0.0), 1.0)

    def ap(self, split: str, kind: str, metric: str = "AP") -> float | None:
        """AP as a fraction on 'val' or 'test'; None where it was not measured."""
        metrics = self.test if split == "test" else self.val
        return (metrics or {}).get(kind, {}).get(metric)


class TrialResult(TrialFigures):
    """`result.json`.

    steps: first step and end of the training. positions: multiplications of each weight for one image,
    by parameter name, as measured on the dense model.
    """

    model_config = ConfigDict(strict=True)

    kind: str
    steps: Annotated[tuple[Count, Count], Field(strict=False)]
    positions: dict[str, Position]

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values, the scores last."""
        plain = super().as_json()
        scores = {key: plain.pop(key) for key in tuple(plain) if key in ("val", "test")}
        return {**plain, **scores}


def require_positions(positions: Mapping[str, float], layers: Iterable[str]) -> None:
    """Check that the dense trial counted the multiplications of every one of `layers`.

    Raises:
        DataError: the result of the dense trial lacks one; names it.
    """
    for layer in layers:
        if layer not in positions:
            raise DataError(
                f"the result of the dense trial lacks the positions of '{layer}'; restore its result.json, or delete "
                "the trial to run it again"
            )


def parse_trial_result(value: Any, path: Path) -> TrialResult:
    """The content `value` of the result.json at `path`, checked.

    Raises:
        DataError: a value is missing or has another type; names the first one.
    """
    try:
        return TrialResult.model_validate(value)
    except (ValidationError, RecursionError) as error:
        fault = error.errors()[0] if isinstance(error, ValidationError) else None
        place = ".".join(str(part) for part in fault["loc"]) if fault else ""
        reason = fault["msg"] if fault else "nested too deeply"
        raise DataError(f"{path} is no result of a trial: {place or 'the top'}: {reason}; restore the file") from error
