"""Detectors of the user's own: an nn.Module of torchvision's detection protocol, made by a function that is named."""

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from torch import nn

from lth_deploy.config.foreign_specs import ModuleSpec
from lth_deploy.detectors.exportable import ExportForm, whole_detector
from lth_deploy.detectors.layout import Layout, set_layout
from lth_deploy.detectors.sources.describe import described
from lth_deploy.detectors.weights import load_file_whole
from lth_deploy.errors import RecipeError
from lth_deploy.registry import did_you_mean


class UserModule:
    """See `Source`. The function runs when a recipe names it: it is the user's own code, on the user's own word."""

    def build(self, spec: ModuleSpec, classes: int, keypoints: int, *, load_weights: bool) -> nn.Module:
        """See `Source`.

        Raises:
            RecipeError: there is no such function, it fails, or what it returns is no detector.
            DataError: the weights cannot be read, or do not fit.
        """
        model = _called(_function(spec.factory), spec, classes)
        if not isinstance(model, nn.Module):
            raise RecipeError(
                f"detector.factory '{spec.factory}' returned a {type(model).__name__}; return an nn.Module of "
                "torchvision's detection protocol"
            )
        model.train()
        set_layout(model, Layout(tuple(_paths(spec.parts, model)), tuple(_predictors(spec.predictors, model))))
        described(model, spec, classes)
        if load_weights and spec.weights != "none":
            load_file_whole(model, Path(spec.weights), classes)
        return model

    def export_form(self, model: nn.Module) -> ExportForm:
        """The whole detector, from the pixels of an image to its detections."""
        return whole_detector(model)


SOURCE = UserModule()


def _function(factory: str) -> Callable[..., Any]:
    name, _, path = factory.partition(":")
    try:
        found: Any = import_module(name)
    except ModuleNotFoundError as error:
        raise RecipeError(
            f"detector.factory '{factory}': there is no module '{error.name}'; install its package, or name the folder "
            "that holds it in the environment variable PYTHONPATH"
        ) from error
    except (Exception, SystemExit) as error:  # the module is the user's own
        raise RecipeError(
            f"detector.factory '{factory}': importing '{name}' failed with {type(error).__name__}: {error}; repair it"
        ) from error
    for part in path.split("."):
        if not hasattr(found, part):
            public = [other for other in vars(found) if not other.startswith("_")]
            raise RecipeError(f"detector.factory '{factory}': '{name}' has no '{part}'{did_you_mean(part, public)}")
        found = getattr(found, part)
    if not callable(found):
        raise RecipeError(f"detector.factory '{factory}' is a {type(found).__name__}, no function; name one")
    function: Callable[..., Any] = found
    return function


def _called(function: Callable[..., Any], spec: ModuleSpec, classes: int) -> Any:
    try:
        return function(classes, **spec.options)
    except (Exception, SystemExit) as error:  # the function is the user's own
        given = ", ".join([str(classes), *(f"{key}={value!r}" for key, value in spec.options.items())])
        raise RecipeError(
            f"detector.factory '{spec.factory}' failed when called with ({given}): {type(error).__name__}: {error}; it "
            "is given the number of classes and detector.options"
        ) from error


def _paths(parts: Mapping[Any, str], model: nn.Module) -> list[tuple[str, str]]:
    for part, path in parts.items():
        _hold_present(f"detector.parts: {part}", path, model)
    return list(parts.items())


def _predictors(names: list[str], model: nn.Module) -> list[str]:
    for name in names:
        _hold_present("detector.predictors", name, model)
    return names


def _hold_present(key: str, path: str, model: nn.Module) -> None:
    names = [name for name, _ in model.named_modules() if name]
    if path not in names:
        raise RecipeError(f"{key}: the detector has no submodule '{path}'{did_you_mean(path, names)}")
