"""How a benchmark measures."""

from dataclasses import dataclass
from pathlib import Path

from lth_deploy.workflow.benchmark.fixed_shape import Shapes
from lth_deploy.workflow.boards.options import BoardOptions


@dataclass(frozen=True)
class BenchmarkOptions:
    """How to measure.

    engines: None for stock ONNX Runtime, for files with regions the kernels where they were built, and for the dense
    model every installed peer of ONNX Runtime. threads: one table's rows for each number. seconds: timed for each row.
    images: how many images AP is scored on (None: all). timed_images: how many of them are timed, in turn.
    loads: fresh processes for each row.
    shapes: of the inputs by name, for engines that fix shapes; None for that of all images, where they have one.
    calibration: images for INT8, taken from calibration_folder. imports: JSON files of other benchmarks and of
    consumers whose rows are appended. verify: refuse files that are not those that the gates of their exports passed.
    boards: hosts that are measured in place of this process.
    """

    engines: tuple[str, ...] | None = None
    threads: tuple[int, ...] = (1,)
    seconds: float = 5.0
    int8: bool = False
    calibration: int = 32
    calibration_folder: Path | None = None
    shapes: Shapes | None = None
    images: int | None = None
    timed_images: int = 4
    loads: int = 3
    bootstrap: int = 1000
    decoder: str | None = None
    imports: tuple[Path, ...] = ()
    command: tuple[str, ...] | None = None
    verify: bool = False
    boards: BoardOptions | None = None
