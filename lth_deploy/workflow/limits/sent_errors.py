"""Exceptions as JSON values, so that what a child process raises is raised again in its parent."""

import builtins
import traceback
from pathlib import Path
from typing import Any, NoReturn

from lth_deploy import errors
from lth_deploy.errors import LthError, detail_of


def as_data(error: Exception) -> dict[str, Any]:
    """What the parent needs to raise `error` again."""
    found: dict[str, Any] = {"error": type(error).__name__, "message": str(error), "detail": detail_of(error)}
    if isinstance(error, OSError):
        found |= {"errno": error.errno, "strerror": error.strerror, "filename": _text(error.filename)}
    elif not isinstance(error, LthError):
        own = [frame for frame in traceback.extract_tb(error.__traceback__) if "lth_deploy" in frame.filename]
        place = f" in {Path(own[-1].filename).name}, line {own[-1].lineno}" if own else ""
        found["message"] = f"{error}{place}"
    return found


def raise_again(found: dict[str, Any]) -> NoReturn:
    """Raise an error that `as_data` described; one of another library as the built-in class of its name.

    Raises:
        Exception: always.
    """
    name, message = str(found["error"]), str(found["message"])
    if "errno" in found:
        raise OSError(found["errno"], found["strerror"], found["filename"])
    kind = getattr(errors, name, None)
    if isinstance(kind, type) and issubclass(kind, LthError):
        raised = kind.__new__(kind)  # some classes make their message of other arguments
        LthError.__init__(raised, message, detail=found["detail"])
        raise raised
    kind = getattr(builtins, name, None)
    if isinstance(kind, type) and issubclass(kind, Exception) and not issubclass(kind, UnicodeError):
        raise kind(message)
    raise RuntimeError(f"{name}: {message}")


def _text(filename: object) -> str | None:
    return None if filename is None else str(filename)
