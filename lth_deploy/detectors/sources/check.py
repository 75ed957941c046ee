"""Whether a detector from elsewhere keeps to torchvision's protocol, seen on one batch before anything trains."""

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lth_deploy.errors import RecipeError


def hold_protocol(
    build: Callable[[], nn.Module], name: str, classes: int, images: Sequence[Tensor], targets: Sequence[Any]
) -> None:
    """Pass a batch through a detector in both modes.

    build: makes it, the same each time. name: what messages call it. classes: how many labels there are.

    Raises:
        RecipeError: names the part of the protocol that does not fit, what was found, and what is expected.
    """
    complaint = f"the detector '{name}'"
    with torch.random.fork_rng(devices=[]):
        model = build()
        _hold_same_weights(complaint, model, build())
        _hold_losses(complaint, model, images, targets)
        _hold_detections(complaint, model, images, classes)


def _hold_same_weights(complaint: str, first: nn.Module, second: nn.Module) -> None:
    other = second.state_dict()
    for name, tensor in first.state_dict().items():
        if name not in other or other[name].shape != tensor.shape or not torch.equal(tensor, other[name]):
            raise RecipeError(
                f"{complaint} is not the same when it is built twice from one seed: '{name}' differs; let it draw its "
                "weights from torch's global generator only, and build every layer in its constructor"
            )


def _hold_losses(complaint: str, model: nn.Module, images: Sequence[Tensor], targets: Sequence[Any]) -> None:
    model.train()
    losses = _called(complaint, "training", model, [image.clone() for image in images], copy.deepcopy(list(targets)))
    what = f"{complaint} in training mode, given images and targets,"
    if not isinstance(losses, dict) or not losses:
        found = "an empty dict" if isinstance(losses, dict) else _kind(losses)
        raise RecipeError(f"{what} returned {found}; return a dict of losses by name")
    for key, loss in losses.items():
        if not isinstance(key, str) or not isinstance(loss, Tensor):
            raise RecipeError(
                f"{what} returned {_kind(loss)} as loss {key!r}; each loss is a scalar tensor by its name"
            )
        if loss.ndim or not loss.is_floating_point():
            raise RecipeError(f"{what} returned loss '{key}' as {_kind(loss)}; each loss is a scalar of floats")
        if not bool(loss.isfinite()):
            raise RecipeError(
                f"{what} returned loss '{key}' as {float(loss.detach())} on the first batch; it must be finite"
            )
    total = torch.stack([loss.float() for loss in losses.values()]).sum()
    if not total.requires_grad:
        raise RecipeError(f"{what} returned losses that no parameter has part in; do not detach them")
    try:
        total.backward()  # type: ignore[no-untyped-call]
    except Exception as error:  # the detector is another package's, or the user's own
        raise RecipeError(f"{what} returned losses without a gradient: {type(error).__name__}: {error}") from error


def _hold_detections(complaint: str, model: nn.Module, images: Sequence[Tensor], classes: int) -> None:
    model.eval()
    with torch.no_grad():
        found = _called(complaint, "evaluation", model, [image.clone() for image in images])
    what = f"{complaint} in evaluation mode, given {len(images)} images,"
    if not isinstance(found, list) or len(found) != len(images):
        returned = f"a list of {len(found)}" if isinstance(found, list) else _kind(found)
        raise RecipeError(f"{what} returned {returned}; return a list with one dict for each image")
    for one in found:
        _hold_one(what, one, classes)


def _hold_one(what: str, one: object, classes: int) -> None:
    """Hold the detections of one image to shapes and types."""
    if not isinstance(one, Mapping):
        raise RecipeError(f"{what} returned {_kind(one)} for an image; return a dict with boxes, labels and scores")
    missing = [key for key in ("boxes", "labels", "scores") if key not in one]
    if missing:
        raise RecipeError(f"{what} returned a dict without {' and '.join(missing)}; found {', '.join(map(str, one))}")
    boxes, labels, scores = one["boxes"], one["labels"], one["scores"]
    count = len(scores) if isinstance(scores, Tensor) and scores.ndim == 1 else None
    for key, value, shape, whole in (
        ("scores", scores, (count,), False),
        ("boxes", boxes, (count, 4), False),
        ("labels", labels, (count,), True),
    ):
        kind = "integers" if whole else "floats"
        wanted = f"{kind} [N, 4]" if key == "boxes" else f"{kind} [N]"
        if not isinstance(value, Tensor) or count is None or tuple(value.shape) != shape or _is_whole(value) != whole:
            raise RecipeError(f"{what} returned {key} as {_kind(value)}; they are {wanted}, N for all three alike")
    if not bool(boxes.isfinite().all()) or not bool(scores.isfinite().all()):
        raise RecipeError(f"{what} returned boxes or scores that are not finite")
    wrong = labels[(labels < 1) | (labels > classes)]
    if len(wrong):
        raise RecipeError(f"{what} returned label {int(wrong[0])}; labels are 1 to {classes}; 0 would be background")


def _is_whole(value: Tensor) -> bool:
    return value.dtype in (torch.int64, torch.int32)


def _called(complaint: str, mode: str, model: nn.Module, *arguments: Any) -> Any:
    given = "images and targets" if len(arguments) > 1 else "images"
    try:
        return model(*arguments)
    except Exception as error:  # the detector is another package's, or the user's own
        raise RecipeError(
            f"{complaint} fails in {mode} mode on a list of {given}: {type(error).__name__}: {error}; images are "
            "float32 [3, H, W], targets have boxes [N, 4] and labels [N]"
        ) from error


def _kind(value: object) -> str:
    """A value in words: its type, and a tensor's elements and shape."""
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}"
    return f"a {type(value).__name__}"
