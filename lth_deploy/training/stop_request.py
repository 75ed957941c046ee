"""A request to end after a checkpoint: the signal USR2, as clusters send it before they take a machine away."""

import signal
import threading

_requested = threading.Event()


def accept_stop_requests() -> None:
    """From now on the signal USR2 lets a training write a checkpoint after its step and end, as a time limit does."""
    signal.signal(signal.SIGUSR2, lambda *_: _requested.set())


def stop_is_requested() -> bool:
    """Whether the signal has come."""
    return _requested.is_set()
