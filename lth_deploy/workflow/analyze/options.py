"""How sources are analyzed."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class AnalyzeOptions:
    """Settings of `analyze`.

    split: 'test' or 'val'; test where there is one if None. trials: names of trials beside the control; () for all.
    limit: only the first so many images. samples: of the bootstrap over images. data, images: COCO annotations and
    images for ONNX files; those of the first run if None. engine, decoder: of ONNX files.
    """

    split: str | None = None
    trials: tuple[str, ...] = ()
    limit: int | None = None
    samples: int = 1000
    device: str = "auto"
    data: Path | None = None
    images: Path | None = None
    engine: str = "onnxruntime"
    decoder: str | None = None
    command: tuple[str, ...] = ()
