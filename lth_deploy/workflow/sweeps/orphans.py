"""Ending the run of a row with its sweep, even where the sweep was killed and could not say so."""

import os
import signal
import threading


def end_with_parent() -> None:
    """End this process and its group once the other end of the standard input is closed, as a parent's death does."""
    threading.Thread(target=_wait, name="end with the sweep", daemon=True).start()


def _wait() -> None:
    while os.read(0, 1):
        pass
    os.killpg(os.getpgrp(), signal.SIGTERM)
