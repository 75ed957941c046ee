"""The configuration of a detector of transformers: from a folder, from the hub, or from the recipe."""

import json
from collections.abc import Mapping
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

from lth_deploy.config.foreign_specs import TransformersSpec
from lth_deploy.errors import DataError, RecipeError
from lth_deploy.registry import did_you_mean

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
PLAIN = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))

STATISTICS = {
    "rt_detr": PLAIN,
    "rt_detr_v2": PLAIN,
    "d_fine": PLAIN,
    "detr": IMAGENET,
    "deformable_detr": IMAGENET,
    "yolos": IMAGENET,
}
"""Mean and deviation of pixels in 0..1 that the image processor of each architecture takes off, by its type."""

Statistics = tuple[tuple[float, ...], tuple[float, ...]]


def configuration(spec: TransformersSpec, classes: int) -> Any:
    """The configuration object of transformers, for `classes` classes.

    Raises:
        RecipeError: the recipe names an architecture or a key that there is not.
        DataError: the model cannot be found or read.
    """
    labels = {number: f"class {number + 1}" for number in range(classes)}
    given = dict(spec.config)
    kind = given.pop("model_type", None)
    if spec.model is not None:
        config = _read(spec.model, spec.revision)
        if kind not in (None, config.model_type):
            raise RecipeError(f"detector.config.model_type is '{kind}', that of {spec.model} is '{config.model_type}'")
        kind = config.model_type
    if kind not in STATISTICS:
        raise RecipeError(
            f"detector.config.model_type: '{kind}' is not known here{did_you_mean(str(kind), STATISTICS)}"
        )
    if spec.model is not None:
        known = config.to_dict()
        _check_keys("detector.config", given, known)
        given = {**known, **given}
        given.pop("model_type", None)
    return _made(kind, {**given, "id2label": labels, "label2id": {name: number for number, name in labels.items()}})


def image_statistics(spec: TransformersSpec, kind: str) -> Statistics:
    """Mean and deviation on a scale of 0 to 1, from the image processor of the model where it has one.

    Raises:
        DataError: its file is damaged.
    """
    if spec.model is None:
        return STATISTICS[kind]
    said = _processor(spec.model, spec.revision)
    if said.get("do_normalize") is False:
        return PLAIN
    own = STATISTICS[kind] if said.get("do_normalize") is None else IMAGENET
    found = tuple(
        _triple(spec.model, key, said.get(key, one)) for key, one in zip(("image_mean", "image_std"), own, strict=True)
    )
    return found[0], found[1]


def _triple(model: str, key: str, values: Any) -> tuple[float, ...]:
    numbers = (
        isinstance(values, list | tuple) and len(values) == 3 and all(isinstance(one, int | float) for one in values)
    )
    if not numbers or (key == "image_std" and min(values) <= 0):
        raise DataError(f"{model}: preprocessor_config.json has {key} {values!r:.80}; three numbers are expected")
    return tuple(float(one) for one in values)


def _made(kind: str, values: Mapping[str, Any]) -> Any:
    auto: Any = import_module("transformers").AutoConfig
    try:
        plain = auto.for_model(kind)
        _check_keys("detector.config", values, plain.to_dict())
        return auto.for_model(kind, **values)
    except (RecipeError, MemoryError):
        raise
    except Exception as error:  # each class of configuration checks its values in its own way
        raise refused_config(error) from error


def refused_config(error: Exception) -> RecipeError:
    """That transformers does not take the configuration of a recipe, in one line."""
    said = " ".join(str(error).split())
    return RecipeError(f"detector.config: transformers refuses it: {type(error).__name__}: {said}")


def _check_keys(where: str, given: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    """Transformers takes any key and ignores those that it does not know."""
    for key in given:
        if key not in known and key not in ("id2label", "label2id", "use_pretrained_backbone", "num_labels"):
            raise RecipeError(f"{where}: '{key}' is no key of this architecture{did_you_mean(key, known)}")


@lru_cache(maxsize=4)
def _read(model: str, revision: str | None) -> Any:
    auto: Any = import_module("transformers").AutoConfig
    try:
        return auto.from_pretrained(model, revision=revision, trust_remote_code=False)
    except MemoryError:
        raise
    except Exception as error:  # each class of configuration checks its values in its own way
        raise DataError(_unread(model, error)) from error


@lru_cache(maxsize=4)
def _processor(model: str, revision: str | None) -> Mapping[str, Any]:
    cached_file: Any = import_module("transformers.utils").cached_file
    try:
        file = cached_file(
            model, "preprocessor_config.json", revision=revision, _raise_exceptions_for_missing_entries=False
        )
        if file is None:
            return {}
        with open(file, encoding="utf-8") as stream:  # noqa: PTH123  (a name from another package)
            found = json.load(stream)
    except (OSError, ValueError) as error:
        raise DataError(_unread(model, error)) from error
    return found if isinstance(found, dict) else {}


def _unread(model: str, error: Exception) -> str:
    said = str(error).strip()
    # Behind the first line of an OSError, transformers gives advice.
    first = said.partition("\n")[0] if isinstance(error, OSError) else " ".join(said.split())
    first = first or type(error).__name__
    if Path(model).is_absolute() and not Path(model).is_dir():
        first = "there is no such folder"
    return (
        f"detector.model '{model}' cannot be read: {first}; name a model of the hub or a folder with config.json, or "
        "write its configuration into detector.config with weights: none"
    )
