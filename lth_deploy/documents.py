"""JSON files that this package writes and reads again: one list of fields for both, as checked data.

A writer sets every field. A reader accepts files of older versions: a field that is missing has its
default. Figures that are not finite become None, and a value of the wrong type is refused with its
place in the file. Characters that nobody can see (control codes, lone surrogates) become spaces, so
that texts fit in HTML, SVG and UTF-8.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, model_validator

from lth_deploy import storage
from lth_deploy.errors import DataError

M = TypeVar("M", bound=BaseModel)

_DEEPEST = 32


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else value


Figure = Annotated[float | None, AfterValidator(_finite)]
# Beyond 2**53 a count has the same float as its neighbors, and divisions would overflow.
Count = Annotated[int, Field(ge=0, le=2**53)]
# Kind of AP (bbox, segm, keypoints) to metric (AP, AP50, ...) to a fraction; None without such objects.
Metrics = dict[str, dict[str, Figure]]


class Section(BaseModel):
    """A part of a file; keys that it does not declare are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values: the fields that were set, in the order of their declaration."""
        return self.model_dump(mode="json", exclude_unset=True)


TOLERANT = "tolerant"
"""The context of a validation that accepts whatever it can; `load_document` validates so."""


@dataclass(frozen=True)
class IfMissing:
    """The value that tolerant reading gives to a required key that a file lacks."""

    value: Any


class StrictSection(BaseModel):
    """A part of a file whose keys must be those that it declares, unless it is read tolerantly.

    Strict: an unknown key, a missing key and a figure that is not finite are faults. Tolerant: unknown keys
    are ignored, and a missing key has the value of its `IfMissing`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _tolerate(cls, value: Any, info: ValidationInfo) -> Any:
        if info.context != TOLERANT or not isinstance(value, dict):
            return value
        declared = {field.alias or name: field for name, field in cls.model_fields.items()}
        marks = {key: mark for key, field in declared.items() for mark in field.metadata if isinstance(mark, IfMissing)}
        missing = {key: mark.value for key, mark in marks.items() if key not in value}
        return {**missing, **{key: item for key, item in value.items() if key in declared}}


def one_line(text: str) -> str:
    """The text without line breaks and control characters: Pillow refuses them beside an anchor."""
    return "".join(character if character.isprintable() else " " for character in text)


def load_document(path: Path, model: type[M], schema: str) -> tuple[M, dict[str, Any]]:
    """Read and check one file, tolerantly; returns the model, and the same as clean JSON data.

    Raises:
        DataError: not JSON, another schema, or a value of the wrong type, with its place.
    """
    document = _clean(storage.read_json(path), path)
    found = document.get("schema") if isinstance(document, dict) else type(document).__name__
    if found != schema:
        raise DataError(f"{path}: schema '{schema}' is needed, found {found!r}; give a file of that kind")
    try:
        return model.model_validate(document, context=TOLERANT), document
    except ValidationError as error:
        faults = [f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}" for fault in error.errors()[:5]]
        raise DataError(f"{path}: {'; '.join(faults)}; write the file again or correct it") from error


def _clean(value: Any, path: Path, depth: int = 0) -> Any:
    """A copy of JSON data without unprintable characters, and None for figures that are not finite."""
    if depth > _DEEPEST:
        raise DataError(f"{path}: nested more than {_DEEPEST} levels deep; this is no file of this package")
    if isinstance(value, str):
        return one_line(value)
    if isinstance(value, float):
        return _finite(value)
    if isinstance(value, list):
        return [_clean(item, path, depth + 1) for item in value]
    if isinstance(value, dict):
        return {one_line(key): _clean(item, path, depth + 1) for key, item in value.items()}
    return value
