"""What the rest of the package has to know of a detector that is none of torchvision's: its parts, by names."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import nn

_ATTRIBUTE = "_lth_layout"


@dataclass(frozen=True)
class Layout:
    """The parts of one detector.

    parts: names of groups of layers, and the submodule that each is; of submodules inside of each other the inner one
    counts. predictors: layers, or submodules of layers, whose outputs are logits and box deltas. constants: layers
    whose weights are numbers of the architecture; they are neither pruned nor quantized. training_only: submodules that
    have part in the losses alone; nothing of them is pruned, quantized or exported. norms: by the name of a
    convolution, that of the batch norm which alone reads its output.
    """

    parts: tuple[tuple[str, str], ...] = ()
    predictors: tuple[str, ...] = ()
    constants: tuple[str, ...] = ()
    training_only: tuple[str, ...] = ()
    norms: Mapping[str, str] = field(default_factory=dict)

    def is_deployed(self, name: str) -> bool:
        """Whether a module or parameter of this name has part in detections."""
        return not name.startswith(tuple(f"{path}." for path in self.training_only))


def layout_of(model: nn.Module) -> Layout | None:
    """The layout of a detector from elsewhere; None of torchvision's, whose parts have fixed names."""
    found = getattr(model, _ATTRIBUTE, None)
    return found if isinstance(found, Layout) else None


def set_layout(model: nn.Module, layout: Layout) -> None:
    """Let copies of `model`, too, have this layout."""
    setattr(model, _ATTRIBUTE, layout)
