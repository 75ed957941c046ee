"""The gate of folding: a network whose norms are folded into convolutions computes what it did before."""

import itertools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from lth_deploy.errors import ParityError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from lth_deploy.data.records import CocoDataset

    Hook = Callable[[nn.Module, Any, Tensor], None]
    _Outputs = list[tuple[str, Tensor]]

FOLD_TOLERANCE = 1e-3
"""Share of the largest value; float32 rounding of a folded ResNet-50 stays a tenth of it."""


def hold_folding(trained: "nn.Module", folded: "nn.Module", dataset: "CocoDataset") -> None:
    """Hold a network with folded norms against the trained one: feature maps, and what heads make of them.

    These have neither NMS nor top-k, so they are compared element by element. A box head sees the whole image. Of a
    network with a `Layout`, each convolution is compared with the one before and its norm, on the same inputs.

    Raises:
        ParityError: they differ by more than `FOLD_TOLERANCE` of the largest value.
    """
    import torch

    from lth_deploy.data.images import read_record
    from lth_deploy.detectors.inference import to_input
    from lth_deploy.detectors.layout import layout_of

    image = to_input(torch.tensor(read_record(dataset.images[0])))
    with torch.inference_mode():
        if layout_of(trained) is None:
            pairs = zip(_raw_outputs(trained, image), _raw_outputs(folded, image), strict=True)
        else:
            pairs = zip(*_layer_outputs(trained, folded, image), strict=True)
        for (name, expected), (_, got) in pairs:
            deviation = float((expected - got).abs().max() / expected.abs().max().clamp(min=1e-12))
            if not deviation <= FOLD_TOLERANCE:
                raise ParityError(
                    f"folding the norms changes '{name}' by {deviation:.3g} of its largest value; at most "
                    f"{FOLD_TOLERANCE:.3g} is rounding; nothing was exported"
                )


def _raw_outputs(model: "nn.Module", image: "Tensor") -> Iterator[tuple[str, "Tensor"]]:
    import torch

    images = model.get_submodule("transform")([image])[0]
    features = model.get_submodule("backbone")(images.tensors)
    yield from (("backbone", level) for level in features.values())
    modules = dict(model.named_modules())
    for name in ("head", "rpn.head"):
        if name in modules:
            made = modules[name](list(features.values()))
            outputs = made.values() if isinstance(made, dict) else itertools.chain(*made)
            yield from ((name, output) for output in outputs)
    if "roi_heads.box_head" in modules:
        ((height, width),) = images.image_sizes
        whole = torch.tensor([[0.0, 0.0, width, height]])
        regions = modules["roi_heads.box_roi_pool"](features, [whole], images.image_sizes)
        yield "roi_heads.box_head", modules["roi_heads.box_head"](regions)


def _layer_outputs(trained: "nn.Module", folded: "nn.Module", image: "Tensor") -> "tuple[_Outputs, _Outputs]":
    """Outputs of norms while `trained` sees the image, and those of folded convolutions on what was before them."""
    from lth_deploy.detectors.fold_norm import norms_behind

    expected: _Outputs = []
    got: _Outputs = []

    def keep_norm(name: str) -> "Hook":
        return lambda module, inputs, output: expected.append((name, output.clone()))

    def keep_conv(name: str) -> "Hook":
        return lambda module, inputs, output: got.append((name, folded.get_submodule(name)(inputs[0])))

    hooks = []
    for conv, norm in norms_behind(trained).items():
        hooks.append(trained.get_submodule(conv).register_forward_hook(keep_conv(conv)))
        hooks.append(trained.get_submodule(norm).register_forward_hook(keep_norm(conv)))
    try:
        trained([image])
    finally:
        for hook in hooks:
            hook.remove()
    return expected, got
