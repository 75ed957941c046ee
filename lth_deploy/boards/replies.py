"""Replies of a consumer, checked: what a board sends is not trusted."""

from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lth_deploy.boards.conditions import Conditions, Core
from lth_deploy.errors import BoardError
from lth_deploy.measure.machine import Machine

Milliseconds = Annotated[float, Field(gt=0)]
Bytes = Annotated[int, Field(ge=0, le=2**53)]
M = TypeVar("M", bound=BaseModel)


class _Reply(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)


class Hello(_Reply):
    """Of a consumer that was just started. board: the name of the machine, "" where it has none."""

    protocol: int
    machine: Machine
    emulated: bool
    board: str = ""
    cores: tuple[Core, ...] = ()


class Version(_Reply):
    """Of an engine that was loaded, now or before."""

    version: str


class Loaded(_Reply):
    """A session was opened."""

    load_ms: Milliseconds


class Output(_Reply):
    """type: ONNX's number of it."""

    name: str
    type: int
    dims: tuple[Annotated[int, Field(ge=0, le=2**31)], ...]


class Ran(_Reply):
    """One run; the bytes of the outputs follow the reply, in this order."""

    ms: Milliseconds
    outputs: tuple[Output, ...]


class ImageRead(_Reply):
    """An image file was read: from the file to pixels, and from those to the values of an input."""

    read_ms: Annotated[float, Field(ge=0)]
    prepare_ms: Annotated[float, Field(ge=0)]


class Missing(_Reply):
    """Files by their SHA-256 that a folder has not, and the bytes that are free there."""

    missing: tuple[str, ...]
    free: Bytes


class Block(_Reply):
    """Runs one after the other on the same inputs; before: ahead of the untimed ones."""

    samples_ms: Annotated[tuple[Milliseconds, ...], Field(min_length=1)]
    before: Conditions
    after: Conditions


class Window(_Reply):
    """A part of a long time without pauses."""

    runs: Annotated[int, Field(ge=1)]
    took_ms: Milliseconds
    after: Conditions


class Sustained(_Reply):
    """A long time without pauses."""

    windows: Annotated[tuple[Window, ...], Field(min_length=1)]


class Moment(_Reply):
    """Conditions now."""

    conditions: Conditions


class Memory(_Reply):
    """The largest resident set of the consumer so far."""

    peak_rss_bytes: Bytes


def checked(kind: type[M], reply: object, host: str) -> M:
    """A reply as what it should be.

    Raises:
        BoardError: it is something else.
    """
    try:
        return kind.model_validate(reply)
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(map(str, fault["loc"]))
        raise BoardError(f"{host} sent what its consumer does not send: {place}: {fault['msg']}") from error
