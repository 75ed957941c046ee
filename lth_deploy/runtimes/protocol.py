"""What a runtime must offer."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from lth_deploy.registry import Registry

Array = np.ndarray[Any, Any]


class Session(Protocol):
    """A loaded model."""

    def run(self, feeds: Mapping[str, Array], *, give_back: bool = False) -> dict[str, Array]:
        """All outputs by name.

        give_back: whether memory that large inputs needed goes back to the system after the run, where the engine
        would keep it; the next run is slower then.
        """

    def describe(self) -> dict[str, str]:
        """At least `name`, `version` and `threads` of the engine that runs it."""


class Runtime(Protocol):
    """An engine. takes_packed: whether it accepts packed artifacts; others get the dense twin."""

    name: str
    takes_packed: bool

    def version(self) -> str:
        """The engine's version.

        Raises:
            MissingExtraError: the engine is not installed.
        """

    def load(self, path: Path, *, threads: int = 0) -> Session:
        """A session on the CPU with `threads` threads (0: the engine's own choice).

        Raises:
            MissingExtraError: the engine is not installed.
            ArtifactError: the engine refuses the file; the message says why.
        """


RUNTIMES: Registry[Runtime] = Registry("engine")
