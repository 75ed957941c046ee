"""The sweep file: one base recipe, and the rows, axes and seeds that make many runs of it.

It is read as strictly as a recipe, and says nothing that a recipe does not: every run is a recipe with overrides.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from lth_deploy.config import strict_yaml
from lth_deploy.config.strict_yaml import Document
from lth_deploy.config.validation import Section, Seed, validate

MOST_RUNS = 1000

Overrides = dict[str, Any]
Axis = Annotated[list[Any], Field(min_length=1)] | Annotated[dict[str, Any], Field(min_length=1)]
Control = Literal["random", "reinit"]


class Resources(Section):
    """What one run takes of a cluster; what is not given is the launcher's choice. On this machine it says nothing."""

    gpus: Annotated[int, Field(ge=0, le=1024)] | None = None
    cpus: Annotated[int, Field(ge=1, le=4096)] | None = None
    memory_gb: Annotated[float, Field(gt=0)] | None = None
    hours: Annotated[float, Field(gt=0, le=8760)] | None = Field(
        None, description="after which a cluster with time limits stops the run, and begins it again at its checkpoint"
    )

    def over(self, other: "Resources") -> "Resources":
        """These, and where nothing is said the other's."""
        return Resources(**{**other.model_dump(exclude_none=True), **self.model_dump(exclude_none=True)})


class RowSpec(Section):
    """Runs that belong together; what is not given here is as the sweep has it."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ,_-]*$")] = "ticket"
    recipe: str | None = Field(None, description="a bundled recipe's name, or the path of a file")
    set: Overrides = Field({}, description="overrides of the recipe, key.path: value, after those of the sweep")
    axes: dict[str, Axis] | None = None
    seeds: list[Seed] | None = None
    controls: list[Control] | None = None
    resources: Resources = Resources()
    shown: bool = Field(True, description="whether these runs are in the plot; sources of others need not be")


class SweepSpec(Section):
    """A sweep: every row is run with every combination of its axes' values, and with every seed."""

    version: Literal[1] = 1
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
    recipe: str = Field(description="a bundled recipe's name, or the path of a file, relative to the sweep's folder")
    set: Overrides = Field({}, description="overrides of the recipe for all rows, key.path: value")
    axes: dict[str, Axis] = Field({}, description="key.path: its values, as a list or as label: value")
    seeds: list[Seed] = Field([0], min_length=1)
    controls: list[Control] = Field([], description="controls that each run's last ticket is compared with")
    resources: Resources = Field(Resources(), description="what each run takes of a cluster")
    x: str | None = Field(None, description="the axis along which AP is drawn; the first with numbers if not given")
    rows: list[RowSpec] = Field([], description="in the order in which they are run; one plain row if not given")

    @model_validator(mode="after")
    def _bounded(self) -> "SweepSpec":
        runs = sum(_size(self.axes_of(row)) * len(self.seeds_of(row)) for row in self.row_list())
        if runs > MOST_RUNS:
            raise ValueError(f"the axes multiply to {runs} runs, at most {MOST_RUNS} make a sweep; shorten them")
        return self

    @model_validator(mode="after")
    def _x_is_an_axis(self) -> "SweepSpec":
        axes = {key for row in self.row_list() for key in self.axes_of(row)}
        if self.x is not None and self.x not in axes:
            raise ValueError(
                f"x: '{self.x}' is no axis of this sweep; its axes are {', '.join(sorted(axes)) or 'none'}"
            )
        return self

    @model_validator(mode="after")
    def _seeds_are_seeds(self) -> "SweepSpec":
        keys = {*self.set, *(key for row in self.row_list() for key in (*row.set, *self.axes_of(row)))}
        own = {"training.seed": "seeds", "name": "name", "controls.random": "controls", "controls.reinit": "controls"}
        for key, instead in own.items():
            if key in keys:
                raise ValueError(f"'{key}' is given by the sweep's own key '{instead}'; use that")
        return self

    def row_list(self) -> list[RowSpec]:
        """The rows, of which there is always one."""
        return self.rows or [RowSpec()]

    def axes_of(self, row: RowSpec) -> dict[str, Axis]:
        """The axes of a row: its own where it has some."""
        return self.axes if row.axes is None else row.axes

    def seeds_of(self, row: RowSpec) -> list[int]:
        """The seeds of a row: its own where it has some."""
        return row.seeds or self.seeds

    def resources_of(self, row: RowSpec) -> Resources:
        """What a run of a row takes: what the row says goes before what the sweep says."""
        return row.resources.over(self.resources)

    def controls_of(self, row: RowSpec) -> list[Control]:
        """The kinds of controls of a row: its own where it names some, even none."""
        return self.controls if row.controls is None else row.controls


@dataclass(frozen=True)
class Sweep:
    """A sweep as it stands in a file. document: for the lines that errors point to; folder: where its paths begin."""

    spec: SweepSpec
    document: Document
    folder: Path


def load_sweep(path: Path) -> Sweep:
    """Read a sweep file; its recipes are read when its rows are made.

    Raises:
        RecipeError: file, line, key path, value and the nearest valid key of what is wrong.
    """
    document = strict_yaml.load(path)
    return Sweep(validate(SweepSpec, document), document, path.resolve().parent)


def _size(axes: dict[str, Axis]) -> int:
    size = 1
    for values in axes.values():
        size *= len(values)
    return size
