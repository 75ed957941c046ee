"""Each family of the zoo through `export --onnx` with no flag that describes it, in two runtimes, and decoded."""

import os
from pathlib import Path

import numpy as np
import pytest

from benchmarks.networks import feeds_for
from benchmarks.zoo_models import ZOO, zoo_file
from lth_deploy.runtimes import RUNTIMES
from lth_deploy.workflow.artifact import open_artifact
from lth_deploy.workflow.export.from_onnx import OnnxJob, export_onnx
from tests.decoders.models import photo

pytestmark = pytest.mark.slow

MAPS_ONLY = frozenset({"ssdlite320", "mobilenetv3_fpn", "csp_yolo", "attention_yolo"})
"""Cut in front of their boxes: what torchvision makes of whole detectors is in tests/decoders."""

SELECTING = frozenset({"rtdetrv2_r18", "dfine_n", "deim_n", "efficientdet_d0"})
"""The scores of these without training are nearly equal, so that a rounding picks or orders other boxes: of their
outputs nothing can be compared. Their regions, and their scores by which they pick, are compared by the gates of
`export`."""

LARGER = frozenset({"yolox_s"})
"""A family that is here in a smaller size too."""


@pytest.mark.parametrize("name", [name for name in ZOO if name not in LARGER])
def test_a_family_is_packed_runs_in_both_runtimes_and_is_decoded(
    name: str, tmp_path: Path, in_this_process: None
) -> None:
    if name not in MAPS_ONLY and not os.environ.get("CI"):
        pytest.importorskip("libreyolo")
    dense = zoo_file(name, tmp_path)
    made = export_onnx(dense, OnnxJob(sparsity=0.8), out=tmp_path / "export")
    assert made.kernel_deviation is not None
    assert made.kernel_deviation < 1e-3
    assert made.sparsity > 0.79
    assert made.bytes < 0.5 * dense.stat().st_size
    feeds = feeds_for(dense, ZOO[name].size, 0)
    stock, kernels = (
        RUNTIMES.get(engine).load(made.artifact, threads=1).run(feeds) for engine in ("onnxruntime", "lth_deploy")
    )
    for output, expected in stock.items() if name not in SELECTING else ():
        scale = float(np.abs(expected).max()) or 1.0
        assert np.abs(kernels[output] - expected).max() <= 2e-3 * scale, output
    if name not in MAPS_ONLY:
        opened = open_artifact(made.artifact, threads=1)
        assert len(opened.file.class_names) == 80
        found = opened.predict(photo(120, 160))
        assert np.isfinite(found.boxes).all()
