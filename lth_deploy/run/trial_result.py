"""What a trial's result.json may hold. Digests say that a file did not change, not that its values have a meaning."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lth_deploy.errors import DataError

Figure = Annotated[float, Field(allow_inf_nan=False)] | None
Count = Annotated[int, Field(ge=0, le=2**53)]
Metrics = dict[str, dict[str, Figure]] | None


class _TrialResult(BaseModel):
    """Types of the keys that are read; which of them a result has depends on what wrote it."""

    model_config = ConfigDict(extra="allow", strict=True)

    name: str = ""
    kind: str = ""
    parent: str | None = None
    hardware: str = ""
    sparsity: Figure = None
    sparsity_prunable: Figure = None
    zero_macs: Figure = None
    seconds: Figure = None
    steps: Annotated[list[Count], Field(min_length=2, max_length=2)] | None = None
    positions: dict[str, Figure] = {}
    val: Metrics = None
    test: Metrics = None


class Values(dict[str, Any]):
    """Values of a file by key; one that is missing is a fault of the file."""

    def __init__(self, values: dict[str, Any], source: str) -> None:
        super().__init__(values)
        self._source = source

    def __missing__(self, key: str) -> Any:
        raise DataError(f"{self._source} lacks '{key}'; restore the file, or delete its trial to run it again")


def checked_result(value: Any, path: Path) -> dict[str, Any]:
    """The content of a result.json, whose values have the types that readers rely on.

    Raises:
        DataError: the first value of another type, with its place; later, a missing one when it is read.
    """
    try:
        _TrialResult.model_validate(value)
    except (ValidationError, RecursionError) as error:
        fault = error.errors()[0] if isinstance(error, ValidationError) else None
        place = ".".join(str(part) for part in fault["loc"]) if fault else ""
        said = fault["msg"] if fault else "nested too deeply"
        raise DataError(f"{path} is no result of a trial: {place or 'the top'}: {said}; restore the file") from error
    result = Values(value, str(path))
    if "positions" in result:
        result["positions"] = Values(result["positions"], f"{path}, positions,")
    return result
