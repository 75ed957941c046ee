"""JSON of other programs, as checked models."""

from typing import TypeVar

from pydantic import BaseModel, ValidationError

from lth_deploy.errors import DataError

M = TypeVar("M", bound=BaseModel)


def checked_json(model: type[M], text: str | bytes, source: str, writer: str) -> M:
    """The model that a text holds; `writer` is the command that makes such texts.

    Raises:
        DataError: not JSON, another schema, or a wrong value; the message names `source` and the place.
    """
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(str(part) for part in fault["loc"]) or "the top"
        raise DataError(
            f"{source}: {fault['msg']} at {place} ({error.error_count()} faults in all); "
            f"give a file that {writer} wrote"
        ) from error
