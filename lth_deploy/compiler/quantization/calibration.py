"""Calibration feeds for ONNX Runtime's quantizer: sound, not all alike, and each with work for every head."""

import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from lth_deploy.arrays import Feeds
from lth_deploy.compiler.model.ort_session import run
from lth_deploy.engine_messages import log_severity
from lth_deploy.errors import DataError, MissingExtraError
from lth_deploy.progress import progress

log = logging.getLogger(__name__)


def check_feeds(feeds: Sequence[Feeds], *, one_size: bool, purpose: str = "INT8 calibration") -> None:
    """Refuse calibration images that say nothing about ranges; one_size: the method stacks what they make.

    Raises:
        DataError: there are none, or all are alike, or of one color, or not of one size.
    """
    if not feeds:
        raise DataError(f"{purpose}: there are no images; give --calibrate a folder with some tens of them")
    digests = {b"".join(hashlib.sha256(array.tobytes()).digest() for array in feed.values()) for feed in feeds}
    if len(digests) < 2:
        raise DataError(
            f"{purpose}: the {len(feeds)} images are all alike, which is too little to go by; give "
            "different images of what the detector will see"
        )
    if all(array.min() == array.max() for feed in feeds for array in feed.values() if array.size > 1):
        raise DataError(f"{purpose}: every image has one color only; give images of what the detector will see")
    sizes = {tuple(array.shape for array in feed.values()) for feed in feeds}
    if one_size and len(sizes) > 1:
        raise DataError(
            f"{purpose}: the images have {len(sizes)} sizes, and entropy and percentile need one; give images "
            "of one size, or use the method minmax"
        )


class Screened:
    """Calibration feeds without those on which a head sees no object: the range of nothing is an error."""

    def __init__(self, model: Path, feeds: Iterable[Feeds], step: Callable[[], None]) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = log_severity()
        self._session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        self._outputs = [output.name for output in self._session.get_outputs()]
        self._feeds, self._step = feeds, step
        self.used = 0
        self.skipped = 0

    def __iter__(self) -> Iterator[Feeds]:
        for feeds in self._feeds:
            self._step()
            if all(output.size for output in run(self._session, self._outputs, feeds).values()):
                self.used += 1
                yield feeds
            else:
                self.skipped += 1
        if not self.used:
            raise DataError(
                f"INT8 calibration: the model finds no object in any of the {self.skipped} images, so its heads "
                "have no ranges; give images with objects"
            )
        if self.skipped:
            log.info("INT8 calibration left out %d images without detections", self.skipped)


def screened(model: Path, feeds: Sequence[Feeds]) -> list[Feeds]:
    """The feeds on which every head sees an object; see `Screened`."""
    with progress("INT8 calibration", total=len(feeds)) as step:
        return list(Screened(model, feeds, step))


def reader(quantization: Any, source: Screened) -> Any:
    """The feeds as ONNX Runtime's quantizer wants them; `quantization` is its module."""

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        """One image at a time; a reader is rewound by no one."""

        def __init__(self) -> None:
            self._iterator = iter(source)

        def get_next(self) -> Feeds | None:
            """The next feeds, or None at the end."""
            return next(self._iterator, None)

    return Reader()


def quantizer() -> Any:
    """ONNX Runtime's module.

    Raises:
        MissingExtraError: it misses a package.
    """
    try:
        from onnxruntime import quantization
    except ImportError as error:
        raise MissingExtraError(error.name or "sympy", "int8", "static INT8") from error
    return quantization
