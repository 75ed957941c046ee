"""Processes that are started together and released line by line, so that they do the same thing at one moment."""

import subprocess


def tell(racer: "subprocess.Popen[str]", line: str) -> None:
    """Write a line to the standard input of a process."""
    assert racer.stdin is not None
    racer.stdin.write(line + "\n")
    racer.stdin.flush()
