"""One small registry class for every kind of plug-in (detectors, criteria, formats, runtimes, decoders)."""

import difflib
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from lth_deploy.errors import UsageError

T = TypeVar("T")


class Registry(Generic[T]):
    """Names to implementations; a duplicate is a programming error, an unknown name a usage error."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, T] = {}

    def add(self, name: str, entry: T) -> T:
        """Register `entry` under `name`.

        Raises:
            ValueError: the name is taken.
        """
        if name in self._entries:
            raise ValueError(f"{self.kind} '{name}' is registered twice")
        self._entries[name] = entry
        return entry

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator form of `add`."""
        return lambda entry: self.add(name, entry)

    def get(self, name: str) -> T:
        """The entry called `name`.

        Raises:
            UsageError: nothing has that name; the message lists what there is.
        """
        if name not in self._entries:
            raise UsageError(f"unknown {self.kind} '{name}'{did_you_mean(name, self._entries)}")
        return self._entries[name]

    def names(self) -> list[str]:
        """All registered names, in order of registration."""
        return list(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)


def did_you_mean(word: str, choices: object) -> str:
    """A tail for an error message: the nearest valid word, and all of them."""
    valid = sorted(str(choice) for choice in choices)  # type: ignore[attr-defined]
    near = difflib.get_close_matches(word, valid, n=1)
    hint = f"; did you mean '{near[0]}'?" if near else ";"
    return f"{hint} valid: {', '.join(valid)}"
