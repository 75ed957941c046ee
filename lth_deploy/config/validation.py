"""A parsed YAML document against a pydantic model, with errors that point into the file."""

import copy
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from lth_deploy.config import strict_yaml
from lth_deploy.config.strict_yaml import Document, KeyPath
from lth_deploy.errors import RecipeError
from lth_deploy.registry import did_you_mean

M = TypeVar("M", bound=BaseModel)
Share = Annotated[float, Field(ge=0.0, lt=1.0)]
Positive = Annotated[int, Field(gt=0)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]

UNKNOWN_KIND = "unknown_kind"
"""Type of the fault of a value that says what its section is: of an unknown kind, no other key is right or wrong."""

_VARIABLE = re.compile(r"\$(\w+|\{[^}]*\})")


class Section(BaseModel):
    """A part of a recipe: unknown keys are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def validate(model: type[M], document: Document, overrides: list[str] | None = None, *, option: str = "--set ") -> M:
    """Validate `document`, with `overrides` written as `key.path=value` laid over it.

    Types are taken as they are written: "3" is text and `true` is no number. `option` is what stands before an
    override on the command line, for errors.

    Raises:
        RecipeError: file, line, key path, value and the nearest valid key of everything that is wrong.
    """
    if not isinstance(document.value, dict):
        raise RecipeError(f"{document.source}: keys with values are needed, found {document.value!r:.60}")
    value = copy.deepcopy(document.value)
    places = {_apply(value, override, option): f"{option}{override}" for override in overrides or []}
    try:
        return model.model_validate(value, strict=True)
    except ValidationError as error:
        messages = [_explain(fault, value, document, places, model) for fault in _telling(error.errors(), value)]
        raise RecipeError("\n".join(dict.fromkeys(messages))) from error


def absolute_path(text: str, base: Path, where: str, check_variables: bool) -> str:
    """The path `text` seen from the folder `base`, with `~` and `${VARIABLES}` filled in.

    Raises:
        RecipeError: a variable is not set, and `check_variables` asks for it; the message begins with `where`.
    """
    unset = unset_variables(text)
    if unset and check_variables:
        raise RecipeError(
            f"{where}: '{text}' uses the environment variable {unset[0]}, which is not set; "
            f"set it, for instance: export {unset[0]}=/folder/of/your/data"
        )
    # A path whose variable is unknown cannot be completed: it stays as it was written.
    path = Path(os.path.expandvars(text)).expanduser()
    return text if unset else str(path if path.is_absolute() else (base / path).resolve())


def unset_variables(text: str) -> list[str]:
    """The environment variables in a path that are not set."""
    return [name.strip("{}") for name in _VARIABLE.findall(text) if name.strip("{}") not in os.environ]


def _telling(faults: list[ErrorDetails], value: Any) -> list[ErrorDetails]:
    """The faults without those of other keys in a section of an unknown kind."""
    unknown = [_key_path(fault, value) for fault in faults if fault["type"] == UNKNOWN_KIND]
    sections = {path[:-1] for path in unknown}
    return [one for one in faults if (path := _key_path(one, value)) in unknown or path[:-1] not in sections]


def _apply(value: dict[str, Any], override: str, option: str) -> KeyPath:
    """Lay one override over `value`; the path of its key."""
    key, separator, text = override.partition("=")
    *parents, last = key.split(".")
    if not separator or not all((*parents, last)):
        raise RecipeError(f"{option}{override}: write it as key.path=value")
    for part in parents:
        value = value.setdefault(part, {})
        if not isinstance(value, dict):
            raise RecipeError(f"{option}{override}: '{part}' holds the value {value!r:.60}, not keys")
    value[last] = strict_yaml.parse(text, f"{option}{key}").value
    return (*parents, last)


def _explain(
    fault: ErrorDetails, value: Any, document: Document, places: dict[KeyPath, str], model: type[BaseModel]
) -> str:
    path = _key_path(fault, value)
    name = ".".join(str(part) for part in path) or "the file as a whole"
    text = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "extra_forbidden":
        text = f"unknown key{did_you_mean(str(path[-1]), _keys_at(model, path[:-1], value))}"
    elif fault["type"] == "missing":
        text = "this key is missing and has no default"
    elif not isinstance(fault["input"], dict):
        text += f"; found {fault['input']!r:.120}"
    return f"{_place(path, document, places)}: {name}: {text}"


def _key_path(fault: ErrorDetails, value: Any) -> KeyPath:
    """The fault's location without what is no key of the file: pydantic's names of union members."""
    path: list[str | int] = []
    for part in fault["loc"]:
        if isinstance(value, dict) and part in value:
            value = value[part]
        elif isinstance(value, list) and isinstance(part, int):
            value = value[part] if part < len(value) else None
        else:
            continue
        path.append(part)
    if fault["type"] == "missing":
        path.append(fault["loc"][-1])
    return tuple(path)


def _place(path: KeyPath, document: Document, places: dict[KeyPath, str]) -> str:
    """Where a value was written: an override, or a line of the file."""
    for end in range(len(path), 0, -1):
        if path[:end] in places:
            return places[path[:end]]
    return f"{document.source}, line {document.line_of(path)}" if document.lines else document.source


def _keys_at(model: type[BaseModel], path: KeyPath, value: Any) -> list[str]:
    for part in path:
        field = model.model_fields.get(str(part))
        value = value.get(part) if isinstance(value, dict) else None
        nested = list(_models_in(field.annotation)) if field else []
        if not nested:
            return []
        model = next((one for one in nested if _is_meant(one, value)), nested[0])
    return list(model.model_fields)


def _is_meant(model: type[BaseModel], value: Any) -> bool:
    """Whether a member of a union takes `value`: whether each key that can have one value only has it."""
    fixed = {key: get_args(field.annotation) for key, field in model.model_fields.items()}
    given = value.items() if isinstance(value, dict) else ()
    annotations = {key: field.annotation for key, field in model.model_fields.items()}
    return all(
        one in fixed[key] for key, one in given if get_origin(annotations.get(key)) is Literal and len(fixed[key]) == 1
    )


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in getattr(annotation, "__args__", ()):
        yield from _models_in(argument)
