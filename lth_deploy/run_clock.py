"""A limit on the time of each run of a model, for processes that run models from strangers.

A run is native code, which nothing in its process can interrupt. So the system ends the process: nobody catches the
signal of the timer.
"""

import signal
from types import TracebackType

_seconds = 0.0


def limit_runs(seconds: float) -> None:
    """From now on a `TimedRun` of this process that takes longer ends it by SIGALRM; 0 removes the limit."""
    global _seconds
    _seconds = seconds
    signal.signal(signal.SIGALRM, signal.SIG_DFL)


class TimedRun:
    """`with TimedRun():` around what loads or runs a model; it does nothing in processes without a limit."""

    __slots__ = ("_before",)

    def __enter__(self) -> None:
        # A run inside a run, such as that of a decoder's image, stops the outer clock and sets it again.
        self._before = signal.setitimer(signal.ITIMER_REAL, _seconds)[0] if _seconds else 0.0

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if _seconds:
            signal.setitimer(signal.ITIMER_REAL, self._before)
