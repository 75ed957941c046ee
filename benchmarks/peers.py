"""The contenders of a benchmark of whole networks: our files and the dense engines beside them, each opened once."""

import sys
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from lth_deploy import inspect
from lth_deploy.arrays import Feeds
from lth_deploy.compiler.quantization.ort_static import quantize_dense
from lth_deploy.errors import ArtifactError
from lth_deploy.measure.machine import describe_machine
from lth_deploy.runtimes import RUNTIMES, Session
from lth_deploy.runtimes.ncnn import Ncnn
from lth_deploy.runtimes.openvino import OpenVino

Shapes = dict[str, tuple[int, ...]] | None
Files = dict[tuple[str, float | None, str | None], Path]
"""By what computes it, share of zeros and structure."""


@dataclass
class Candidate:
    """A session and its samples."""

    name: str
    sparsity: float | None
    structure: str | None
    run: Callable[[], list[np.ndarray]]
    load_s: float
    predicted: float | None
    samples: list[float]
    error: float | None = None


def quantize_peer(dense: Path, feeds: Sequence[Feeds], out: Path, keep_float: Collection[str] = ()) -> None:
    """Write the dense file in INT8 as engines run it fastest.

    Outputs of the last layers are quantized as well, as ONNX Runtime's quantizer leaves them: it computes a layer
    with float outputs in floats. In our files they stay float.
    """
    narrow = not describe_machine().exact_u8s8
    quantize_dense(dense, feeds, out, reduce_range=narrow, keep_float=keep_float, float_outputs=False)


def openvino_candidates(
    files: Files, feeds: dict[str, np.ndarray], threads: int, open_sizes: bool = True
) -> list[Candidate]:
    """OpenVINO on the dense files, in every precision that the processor has, with fixed and with open sizes."""
    kinds = [*((precision, "dense", precision) for precision in OpenVino().precisions()), ("int8", "int8", "fp32")]
    fixed = {name: value.shape for name, value in feeds.items()}
    candidates = []
    for name, values, precision in kinds:
        for words, shapes in (("", None), (" static", fixed)) if open_sizes else ((" static", fixed),):

            def load(path: Path = files[values, None, None], how: str = precision, to: Shapes = shapes) -> Session:
                return OpenVino().load(path, threads=threads, precision=how, shapes=to)

            candidates += dense_peer(f"openvino {name}{words}", load, feeds)
    return candidates


def ncnn_candidates(files: Files, feeds: dict[str, np.ndarray], threads: int) -> list[Candidate]:
    """The engine ncnn on the dense file in fp32, for images of one size: it knows no others."""
    fixed = {name: value.shape for name, value in feeds.items()}
    return dense_peer(
        "ncnn fp32", lambda: Ncnn().load(files["dense", None, None], threads=threads, shapes=fixed), feeds
    )


def dense_peer(name: str, load: Callable[[], Session], feeds: dict[str, np.ndarray]) -> list[Candidate]:
    """A dense engine that took the file, or a message that it is left out and nothing."""
    began = time.perf_counter()
    try:
        session = load()
    except ArtifactError as error:
        print(f"left out: {name}: {error}", file=sys.stderr)
        return []
    load_s = time.perf_counter() - began
    return [Candidate(name, None, None, partial(outputs_of, session, feeds), load_s, None, [])]


def outputs_of(session: Session, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    return list(session.run(feeds).values())


def opened(
    name: str,
    level: float | None,
    structure: str | None,
    engine: str,
    path: Path,
    feeds: dict[str, np.ndarray],
    threads: int,
) -> Candidate:
    began = time.perf_counter()
    session = RUNTIMES.get(engine).load(path, threads=threads)
    load_s = time.perf_counter() - began
    times = inspect(path).predicted_ms if engine == "lth_deploy" else None
    predicted = None if times is None else round(times[1] / times[0], 3)
    return Candidate(name, level, structure, partial(outputs_of, session, feeds), load_s, predicted, [])
