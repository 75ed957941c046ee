"""Initial weights: from a file, or from torchvision by name."""

import difflib
import logging
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
import torchvision
from torch import Tensor, nn

from lth_deploy.config.detector_spec import DetectorSpec
from lth_deploy.detectors.classes import fit_classes
from lth_deploy.detectors.entry import DETECTORS
from lth_deploy.detectors.groups import final_predictors
from lth_deploy.errors import DataError, RecipeError

log = logging.getLogger(__name__)

State = dict[str, Tensor]

EPSILON = 1e-5
"""What the norms of these detectors add to the variance."""
LISTED = 10


def load_initial_weights(model: nn.Module, spec: DetectorSpec, classes: int) -> None:
    """Fill a fresh detector with the weights its recipe names: none, backbone, torchvision, or a file.

    Raises:
        RecipeError: torchvision has no such weights, or they cannot go with the recipe's norm.
        DataError: the file or the download cannot be read, or does not fit.
    """
    if spec.weights == "none":
        if spec.norm == "frozen":
            log.warning(
                "detector.norm is 'frozen' and detector.weights 'none': nothing is normalized; "
                "use norm 'batch' to train from scratch"
            )
        return
    if spec.weights in ("backbone", "torchvision") and spec.norm == "group":
        raise RecipeError(
            f"detector.weights '{spec.weights}' were trained with batch norm and detector.norm is 'group'; "
            "use norm 'batch' or 'frozen', or weights 'none'"
        )
    if spec.weights == "backbone":
        load_backbone(model, _download(spec.backbone), f"torchvision's {spec.backbone}")
    elif spec.weights == "torchvision":
        load_detector(model, _published(spec), "torchvision's weights", classes)
    else:
        load_file(model, Path(spec.weights), classes)


def load_file(model: nn.Module, path: Path, classes: int) -> None:
    """Load a detector's or a classifier's weights from a `.safetensors` or a torch file.

    Torch files are read without executing code from them. A classifier's file fills the backbone.

    Raises:
        DataError: the file is missing, damaged, holds more than tensors, or does not fit.
    """
    state = read_state(path)
    if any(name.startswith("backbone.") for name in state):
        load_detector(model, state, str(path), classes)
    else:
        load_backbone(model, state, str(path))


def load_file_whole(model: nn.Module, path: Path, classes: int) -> None:
    """Load a file that holds every tensor of a detector from elsewhere, by the names that it has there.

    Raises:
        DataError: the file is missing, damaged, holds more than tensors, or does not fit.
    """
    load_detector(model, read_state(path), str(path), classes)


def read_state(path: Path) -> State:
    """The tensors of a weights file by name.

    Raises:
        DataError: the file is missing, damaged, or holds more than tensors.
    """
    require_file(path)
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file as load_safetensors

            content: Any = load_safetensors(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    # Each reader has exceptions of its own; a truncated archive can raise any of these.
    except (pickle.UnpicklingError, RuntimeError, ValueError, KeyError, EOFError, OSError) as error:
        raise DataError(
            f"{path}: not a weights file that can be read safely: {_unsafe(error)}; save the tensors alone, with "
            "torch.save(model.state_dict(), ...) or safetensors"
        ) from error
    except Exception as error:
        if type(error).__module__.startswith("safetensors"):
            raise DataError(f"{path}: not a safetensors file ({error})") from error
        raise
    return _tensors(content, path)


def require_file(path: Path) -> None:
    """Refuse weights that are not there.

    Raises:
        DataError: there is no file of this name.
    """
    if not path.is_file():
        raise DataError(
            f"{path}: no such weights file; give a path or 'none', and of torchvision's detectors 'backbone' or "
            "'torchvision'"
        )


def _unsafe(error: Exception) -> str:
    """Why torch did not read a file, without its advice to read it unsafely."""
    if isinstance(error, pickle.UnpicklingError):
        found = re.search(r"GLOBAL ([\w.]*\w)", str(error))
        return f"it refers to {found[1]}" if found else "it holds more than tensors, or is damaged"
    first = str(error).splitlines()[0] if str(error) else type(error).__name__
    return "it is damaged" if first.isdigit() else first


def load_detector(model: nn.Module, state: State, origin: str, classes: int) -> None:
    """Load weights of a whole detector.

    Final predictors trained for other classes stay fresh, and the log says so; anything else must fit.

    Raises:
        DataError: names or shapes differ; the message lists them.
    """
    own = model.state_dict()
    state = fit_classes(model, state, classes)
    predictors = final_predictors(model)
    fresh = {
        name
        for name, value in state.items()
        if name in own and value.shape != own[name].shape and name.rpartition(".")[0] in predictors
    }
    if fresh:
        log.warning(
            "%s: %d tensors of the final predictors are for other classes and stay fresh: %s",
            origin,
            len(fresh),
            ", ".join(sorted(fresh)),
        )
    _load(model, {name: value for name, value in state.items() if name not in fresh}, origin, fresh)


def load_backbone(model: nn.Module, state: State, origin: str) -> None:
    """Load a classifier's weights into the backbone; its classification layers are left out.

    Raises:
        DataError: names or shapes differ; the message lists them.
    """
    if hasattr(model.get_submodule("backbone"), "body"):
        body = model.get_submodule("backbone.body")
        kept = {name: value for name, value in state.items() if not name.startswith("fc.")}
        if not hasattr(body, "layer4"):
            head = model.get_submodule("roi_heads.box_head")
            last = {name: kept.pop(name) for name in list(kept) if name.startswith("layer4.")}
            _load(head, last, origin, set())
    else:
        body = model.get_submodule("backbone.features")
        kept = _split_mobilenet(state, body)
    _load(body, kept, origin, set())


def _split_mobilenet(state: State, features: nn.Module) -> State:
    """Rename a MobileNet's blocks to SSDLite's two halves, which meet inside a block."""
    cut = len(list(features.get_submodule("0").children())) - 1
    renamed: State = {}
    for name, value in state.items():
        head, _, rest = name.partition(".")
        block, _, inner = rest.partition(".")
        if head != "features" or not block.isdigit():
            continue
        if int(block) < cut:
            renamed[f"0.{block}.{inner}"] = value
        elif int(block) > cut:
            renamed[f"1.{int(block) - cut}.{inner}"] = value
        else:
            part, _, tail = inner.removeprefix("block.").partition(".")
            first = part == "0"
            renamed[f"0.{cut}.{tail}" if first else f"1.0.{int(part)}.{tail}"] = value
    return renamed


def _load(module: nn.Module, state: State, origin: str, left_out: set[str]) -> None:
    own = module.state_dict()
    shapes = [
        f"{name} has {tuple(value.shape)}, the recipe's network {tuple(own[name].shape)}"
        for name, value in state.items()
        if name in own and value.shape != own[name].shape
    ]
    if shapes:
        _refuse(origin, "shapes differ", shapes)
    # Not strict, because torchvision renames keys of older files while loading.
    result = module.load_state_dict(state, strict=False)
    missing = set(result.missing_keys) - left_out
    missing = {name for name in missing if not name.endswith("num_batches_tracked")}
    if missing:
        listed = [f"{name}{_nearest(name, result.unexpected_keys)}" for name in sorted(missing)[:LISTED]]
        _refuse(origin, "tensors are missing", [*listed, *sorted(missing)[LISTED:]])
    if result.unexpected_keys:
        _refuse(origin, "tensors have no place in the recipe's network", sorted(result.unexpected_keys))


def _nearest(name: str, others: list[str]) -> str:
    """What else a file may call a tensor, for a message."""
    near = difflib.get_close_matches(name, others, n=1, cutoff=0.8)
    return f" (the file has '{near[0]}')" if near else ""


def _refuse(origin: str, what: str, items: list[str]) -> None:
    rest = f" and {len(items) - LISTED} more" if len(items) > LISTED else ""
    raise DataError(
        f"{origin}: {what}: {'; '.join(items[:LISTED])}{rest}; "
        "make the detector of the recipe that of the weights, or use other weights"
    )


def _tensors(content: Any, path: Path) -> State:
    for key in ("model", "state_dict"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not content:
        raise DataError(f"{path}: holds a {type(content).__name__}, not tensors by name; save a state_dict")
    state: State = {}
    for name, value in content.items():
        if not isinstance(value, Tensor):
            raise DataError(f"{path}: entry '{name}' is a {type(value).__name__}, not a tensor")
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise DataError(f"{path}: tensor '{name}' has values that are not finite; use another file")
        # Files of DataParallel trainings carry the wrapper's name.
        state[str(name).removeprefix("module.")] = value
    return state


def _published(spec: DetectorSpec) -> State:
    detector = DETECTORS.get(spec.name)
    name = detector.published.get(spec.backbone) if spec.layout == "fpn" else None
    if name is None:
        published = {other: DETECTORS.get(other).published for other in DETECTORS}
        offers = ", ".join(f"{other} on {backbone}" for other, names in published.items() for backbone in names)
        layout = " in layout 'c4'" * (spec.layout == "c4")
        raise RecipeError(
            f"detector.weights: torchvision publishes none for {spec.name} on {spec.backbone}{layout}; "
            f"it has {offers}; or use weights 'backbone'"
        )
    state = _download(name)
    if detector.published_without_epsilon:
        # The networks here add it to the variance; taking it off beforehand gives the same function.
        state = {key: value - EPSILON if key.endswith("running_var") else value for key, value in state.items()}
    return state


def _download(name: str) -> State:
    weights = torchvision.models.get_model_weights(name)
    # Detectors: only the first version has the network that is built here.
    chosen = weights["COCO_V1"] if "COCO_V1" in weights.__members__ else weights["IMAGENET1K_V1"]
    try:
        state: State = chosen.get_state_dict(progress=False, check_hash=True)
    except (URLError, OSError, RuntimeError) as error:
        raise DataError(
            f"cannot download torchvision's weights {chosen.url} ({error}); "
            "fetch the file by other means and name it in detector.weights"
        ) from error
    return state
