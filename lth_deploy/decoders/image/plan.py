"""From the size of an image to everything that makes an input of it: for machines that read image files themselves."""

from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from lth_deploy.arrays import Arrays
from lth_deploy.decoders.image.preprocessing import Placement, Preprocessing


@dataclass(frozen=True)
class InputPlan:
    """name, dtype, layout: of the input for the image. how: it is resized and normalized.

    inner: height and width of the resized image. where: it lies in the input. others: values of all other inputs.
    """

    name: str
    dtype: str
    layout: str
    how: Preprocessing
    inner: tuple[int, int]
    where: Placement
    others: Arrays = field(default_factory=dict)


@runtime_checkable
class PlansInput(Protocol):
    """A decoder that says what `prepare` computes."""

    def plan(self, height: int, width: int) -> tuple[InputPlan, Any]:
        """What makes the inputs of an image of this size, and the context that `prepare` returns for it."""


def planner_of(decoder: object) -> PlansInput | None:
    """The decoder, where it says what its own `prepare` computes; None where that is code of the user's."""

    def owner(name: str) -> type | None:
        return next((kind for kind in type(decoder).__mro__ if name in vars(kind)), None)

    return decoder if isinstance(decoder, PlansInput) and owner("plan") is owner("prepare") else None
