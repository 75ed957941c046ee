"""What a runtime must offer."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from lth_deploy.arrays import Arrays, Feeds
from lth_deploy.registry import Registry

FP32 = "fp32"


class Session(Protocol):
    """A loaded model."""

    def run(self, feeds: Feeds, *, give_back: bool = False) -> Arrays:
        """All outputs by name.

        give_back: whether memory that large inputs needed goes back to the system after the run, where the engine
        would keep it; the next run is slower then.
        """

    def describe(self) -> dict[str, str]:
        """At least `name`, `version` and `threads` of the engine that runs it."""


class Runtime(Protocol):
    """An engine.

    takes_packed: whether it accepts packed artifacts; others get the dense twin, and are dense peers in a
    benchmark. fixes_shapes: whether `load` takes shapes; needs_shapes: whether it must, where a file leaves some open.
    """

    name: str
    takes_packed: bool
    fixes_shapes: bool
    needs_shapes: bool

    def version(self) -> str:
        """The engine's version.

        Raises:
            MissingExtraError: the engine is not installed.
        """

    def precisions(self) -> tuple[str, ...]:
        """In what it can compute the operators of an fp32 file on this processor, fp32 first.

        Raises:
            MissingExtraError: the engine is not installed.
        """

    def load(
        self, path: Path, *, threads: int = 0, precision: str = FP32, shapes: Mapping[str, Sequence[int]] | None = None
    ) -> Session:
        """A session on the CPU with `threads` threads (0: the engine's own choice).

        precision: one of `precisions()`. shapes: of inputs by name, which then are fixed; None leaves open
        what the file leaves open.

        Raises:
            MissingExtraError: the engine is not installed.
            UsageError: a precision or shapes that the engine does not offer.
            ArtifactError: the engine refuses the file; the message says why.
        """


RUNTIMES: Registry[Runtime] = Registry("engine")
