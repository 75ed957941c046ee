"""What a source of detectors gives."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from torch import nn

from lth_deploy.detectors.exportable import ExportForm


@runtime_checkable
class Source(Protocol):
    """Builds detectors of one kind, and says how they are exported.

    A detector is an nn.Module of torchvision's detection protocol. In training mode it maps images, a list of float32
    [3, H, W] in 0..1, and targets, a list of dicts with boxes float32 [N, 4] as x1, y1, x2, y2 in pixels and labels
    int64 [N] from 1, to a dict of scalar losses. In evaluation mode it maps images to a list of dicts with boxes,
    labels and scores, in pixels of the images that it was given. It carries its `Layout`: the parts by which it is
    pruned and reported.
    """

    def build(self, spec: Any, classes: int, keypoints: int, *, load_weights: bool) -> nn.Module:
        """A detector in training mode; its fresh weights come from torch's global generator.

        spec: the recipe's section. load_weights: whether to fill in the weights that it names; a state is loaded right
        after where not.

        Raises:
            RecipeError: the recipe asks for what this source cannot give.
            DataError: weights cannot be read, or do not fit.
            MissingExtraError: packages are not installed.
        """

    def export_form(self, model: nn.Module) -> ExportForm:
        """What is traced of a built detector, in evaluation mode, and how a decoder reads its outputs."""


@dataclass(frozen=True)
class Deployed:
    """The form of a trained detector that is exported.

    module: finds what the trained one finds. names: of its layers, by those that they have in the trained one, where
    these differ.
    """

    module: nn.Module
    names: Mapping[str, str] = field(default_factory=dict)


@runtime_checkable
class Deploys(Protocol):
    """A source whose detectors are exported in another form than they are trained in."""

    def deployed(self, model: nn.Module, *, quantized: bool) -> Deployed:
        """The form to export of a trained detector, which is not touched.

        quantized: it was fine-tuned as int8 kernels compute, so that ranges belong to its layers.
        """


def deployed_form(source: Source, model: nn.Module, *, quantized: bool) -> Deployed:
    """See `Deploys`; the detector itself where its source has no other form."""
    return source.deployed(model, quantized=quantized) if isinstance(source, Deploys) else Deployed(model)
