"""Whole filters against single weights: what removed channels save in stock ONNX Runtime, and with the kernels.

    python -m benchmarks.filters --cpu-time --out benchmarks/results/filters-CPU.json

The backbone, pyramid and head of a RetinaNet on ResNet-18, untrained, pruned by magnitude to equal shares in all
layers: time does not depend on which filters go. `export --onnx` removes the dead channels. Every candidate runs once a
round and the order is drawn; a ratio is the median over rounds of the dense time over the candidate's. Outputs are
compared with those of the same weights before the removal.
"""

import argparse
import io
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import onnx
import torch
from torch import nn

from benchmarks.networks import feeds_for
from benchmarks.peers import Candidate, opened
from benchmarks.result_file import head, ratio
from benchmarks.torso import largest_error, measure
from lth_deploy import export_onnx, storage
from lth_deploy.compiler.artifact.load import load_model
from lth_deploy.compiler.artifact.weight_layers import weight_layers
from lth_deploy.compiler.importing.imported import normalize
from lth_deploy.compiler.planning.mac_count import positions
from lth_deploy.config.detector_spec import DetectorSpec
from lth_deploy.config.target import Target
from lth_deploy.detectors import build_detector
from lth_deploy.detectors.fold_norm import fold_norm
from lth_deploy.pruning.ranking.allocation import prune
from lth_deploy.pruning.ranking.coupled_filters import coupled_layers, with_dependents
from lth_deploy.pruning.ranking.criteria import magnitude
from lth_deploy.pruning.ranking.rank import ones
from lth_deploy.pruning.scope import ranked_layers, scoped_layers
from lth_deploy.structures import STRUCTURES
from lth_deploy.training.state import TrainingState

SCHEMA = "lth-filters-benchmark/1"
OPSET = 18


class RawOutputs(nn.Module):
    """A one-stage detector from a normalized image to class logits and box deltas."""

    def __init__(self, detector: nn.Module) -> None:
        super().__init__()
        self.detector = cast(Any, detector)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """[N, 3, H, W] to logits and deltas, each [N, anchors, values]."""
        return tuple(self.detector.head(list(self.detector.backbone(image).values())).values())


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--width", type=int, default=64, help="channels of pyramid and head")
    parser.add_argument("--size", type=int, default=320)
    parser.add_argument("--levels", nargs="+", type=float, default=[0.3, 0.5, 0.7])
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--cpu-time", action="store_true")
    options = parser.parse_args(arguments)
    about = {**head(SCHEMA, "benchmarks.filters"), "clock": "processor time" if options.cpu_time else "wall"}
    about |= {"network": f"RetinaNet ResNet-18, width {options.width}, without NMS", "size": options.size}
    with tempfile.TemporaryDirectory(prefix="lth-filters-") as folder:
        rows = compare(Path(folder), options)
    storage.write_json(options.out, {**about, "rows": rows})
    return 0


def compare(folder: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    """All candidates, timed in turns."""
    dense = folder / "dense.onnx"
    export_pruned(dense, options, None, 0.0)
    feeds = feeds_for(dense, options.size, 9)
    files: dict[int, Path] = {0: dense}
    candidates = [opened("onnxruntime", None, None, "onnxruntime", dense, feeds, 1)]
    for structure in ("filter", "single"):
        for level in options.levels:
            source = folder / f"{structure}-{level}.onnx"
            export_pruned(source, options, structure, level)
            exact = opened("before", level, structure, "onnxruntime", source, feeds, 1)
            for engine, format_ in (("onnxruntime", "dense"), ("lth_deploy", "packed")):
                target = Target.model_validate({"values": "fp32", "format": format_})
                file = export_onnx(source, target=target, out=folder / f"{source.stem}-{format_}").artifact
                found = opened(engine, level, structure, engine, file, feeds, 1)
                found.error = largest_error(found.run(), exact.run())
                files[len(candidates)] = file
                candidates.append(found)
    measure(candidates, options.rounds, 1, time.process_time if options.cpu_time else time.perf_counter)
    counted = {number: multiplications(file, feeds) for number, file in files.items()}
    return [
        described(one, candidates[0], files[number], counted[number] / counted[0])
        for number, one in enumerate(candidates)
    ]


def export_pruned(path: Path, options: argparse.Namespace, structure: str | None, level: float) -> None:
    """Write the network, with this share of zeros in each layer; None: dense."""
    torch.manual_seed(0)
    spec = {"name": "retinanet", "backbone": "resnet18", "fpn_width": options.width, "norm": "batch"}
    detector = build_detector(DetectorSpec.model_validate(spec), 3, 0, load_weights=False).eval()
    if structure is not None:
        scoped = scoped_layers(detector, "default")
        coupled = coupled_layers(detector, scoped) if structure == "filter" else {}
        layers = ranked_layers(scoped, dict.fromkeys((one.name for one in scoped), 1.0), coupled=coupled)
        masks = prune(layers, ones(layers), level, magnitude, "per_layer", STRUCTURES[structure])
        held = with_dependents(detector, masks) if structure == "filter" else masks
        zeros = {name: torch.from_numpy(mask) for name, mask in held.items()}
        TrainingState.capture(0, detector).masked(zeros).restore(detector)
    buffer = io.BytesIO()
    torch.onnx.export(
        RawOutputs(fold_norm(detector).module),
        (torch.zeros(1, 3, options.size, options.size),),
        cast(Any, buffer),
        dynamo=False,
        opset_version=OPSET,
        input_names=["image"],
    )
    onnx.save(normalize(onnx.load_model_from_string(buffer.getvalue())).proto, str(path))


def multiplications(file: Path, feeds: dict[str, Any]) -> int:
    """Multiplications by weights that are not zero, for one picture."""
    model = normalize(load_model(file))
    times = positions(model, feeds)
    return sum(
        times.get(layer.name, 0) * int((layer.stored.weights() != 0).sum()) for layer in weight_layers(model.proto)
    )


def described(one: Candidate, dense: Candidate, file: Path, macs: float) -> dict[str, Any]:
    """A row of the results, printed too."""
    gain, middle, size = ratio(dense.samples, one.samples), statistics.median(one.samples), file.stat().st_size
    print(
        f"{one.structure or 'dense':7} {one.sparsity or 0.0:4.0%} {one.name:12} {middle:7.2f} ms  x{gain:.2f}  "
        f"multiplications {macs:.0%}  {size / 1e6:.2f} MB  error {one.error}"
    )
    return {
        "engine": one.name,
        "structure": one.structure,
        "sparsity": one.sparsity,
        "times_as_fast": round(gain, 3),
        "multiplications_left": round(macs, 4),
        "bytes": size,
        "median_ms": round(middle, 3),
        "largest_relative_error": one.error,
        "samples_ms": [round(ms, 3) for ms in one.samples],
    }


if __name__ == "__main__":
    sys.exit(main())
