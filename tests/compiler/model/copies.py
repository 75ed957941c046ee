"""How often a model is copied: calls of protobuf are watched by the profiler of the interpreter, nothing is patched."""

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from google.protobuf.message import Message

_INTO_MESSAGES = ("CopyFrom", "MergeFrom", "ParseFromString", "MergeFromString")
_INTO_LISTS = ("append", "extend", "add", "MergeFrom")


@contextmanager
def counted_copies(least: int) -> Iterator[Counter[str]]:
    """Count, by place, calls that store at least so many bytes in a message, and those that serialize as many."""
    found: Counter[str] = Counter()
    lengths: list[int] = []

    def watch(frame: FrameType, event: str, called: Any) -> None:
        if event not in ("c_call", "c_return"):
            return
        name, owner = getattr(called, "__name__", ""), getattr(called, "__self__", None)
        if isinstance(owner, Message):
            stored = event == "c_return" and name in _INTO_MESSAGES
            written = event == "c_call" and name == "SerializeToString"
            if (stored or written) and owner.ByteSize() >= least:
                note(frame, "serialized" if written else "copied")
        elif name in _INTO_LISTS and type(owner).__name__ == "RepeatedCompositeContainer":
            if event == "c_call":
                lengths.append(len(owner))
            elif sum(each.ByteSize() for each in owner[lengths.pop() :]) >= least:
                note(frame, "copied")

    def note(frame: FrameType, what: str) -> None:
        code = frame.f_code
        found[f"{what} in {code.co_filename.rpartition('lth_deploy/')[2]}:{code.co_name}"] += 1

    before = sys.getprofile()
    sys.setprofile(watch)
    try:
        yield found
    finally:
        sys.setprofile(before)
