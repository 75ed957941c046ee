"""How a benchmark measures on hosts."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lth_deploy.boards.conditions import Class

Reader = Literal["host", "board"]


@dataclass(frozen=True)
class BoardOptions:
    """Which hosts, and how.

    hosts: `local`, USER@NAME for ssh, adb:SERIAL. cores: the class that rows are pinned to. sustain: seconds, one
    long run without pauses of each row for each. remove: whether the copied files go afterwards. folder: where they lie
    there, None for the usual place. bundle: a folder with programs of the user's own. cool_down: seconds that a
    throttled host may rest before a round is repeated. power_command: words of a command here that prints the watts of
    the only host, () for none. ncnn_library: the shared library of ncnn for hosts, None for their own. read_images:
    where image files are decoded, resized and normalized.
    """

    hosts: tuple[str, ...]
    cores: Class = "big"
    sustain: tuple[float, ...] = ()
    remove: bool = False
    folder: str | None = None
    bundle: Path | None = None
    power_command: tuple[str, ...] = ()
    cool_down: float = 120.0
    ncnn_library: Path | None = None
    read_images: Reader = "host"
