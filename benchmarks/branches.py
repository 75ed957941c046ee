"""Pairs of a 3x3 and a 1x1 convolution against the one convolution that computes their sum, in pruned networks.

    python -m benchmarks.branches --cpu-time --out benchmarks/results/branches-CPU.json

YOLOv9-t of libreyolo, untrained, without the suppression of boxes, pruned by magnitude to equal shares in all layers,
those of the pairs too. One convolution has a weight wherever one of its pair has one. Every candidate runs once a round
and the order is drawn; a ratio is the median over rounds of the time with pairs over the time with one convolution.
Outputs are compared with those of the pairs.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import nn

from benchmarks.filters import multiplications
from benchmarks.networks import feeds_for
from benchmarks.peers import Candidate, opened
from benchmarks.result_file import head, ratio
from benchmarks.torso import largest_error, measure
from lth_deploy import storage
from lth_deploy.arrays import Feeds
from lth_deploy.compiler.artifact.metadata import ArtifactMetadata, write_metadata
from lth_deploy.compiler.importing.imported import normalize
from lth_deploy.compiler.model.capture import TracedNames, capture
from lth_deploy.compiler.model.save import save_model
from lth_deploy.compiler.planning.mac_count import uses
from lth_deploy.config.foreign_specs import LibreyoloSpec
from lth_deploy.config.target import Target
from lth_deploy.detectors import build_detector
from lth_deploy.detectors.fold_norm import fold_norm
from lth_deploy.detectors.sources import source_of
from lth_deploy.detectors.sources.merged_branches import merged_branches
from lth_deploy.pruning.ranking.allocation import prune
from lth_deploy.pruning.ranking.criteria import magnitude
from lth_deploy.pruning.ranking.rank import ones
from lth_deploy.pruning.scope import ranked_layers, scoped_layers
from lth_deploy.structures import STRUCTURES
from lth_deploy.training.state import TrainingState
from lth_deploy.workflow.export.tune_regions import emit_chosen

SCHEMA = "lth-branches-benchmark/1"
FORMS = ("pairs", "merged")
OPSET = 18


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--size", type=int, default=320)
    parser.add_argument("--levels", nargs="+", type=float, default=[0.0, 0.8, 0.9])
    parser.add_argument("--structures", nargs="+", default=["single", "in4"])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--cpu-time", action="store_true")
    options = parser.parse_args(arguments)
    about = {**head(SCHEMA, "benchmarks.branches"), "clock": "processor time" if options.cpu_time else "wall"}
    about |= {"network": "YOLOv9-t of libreyolo, 80 classes, without NMS", "size": options.size}
    with tempfile.TemporaryDirectory(prefix="lth-branches-") as folder:
        rows = [row for case in _cases(options) for row in compare(Path(folder), options, *case)]
    storage.write_json(options.out, {**about, "rows": rows})
    return 0


def _cases(options: argparse.Namespace) -> list[tuple[str, float]]:
    """Structure and level; without zeros there is one structure."""
    cases = [("single", 0.0)] if 0.0 in options.levels else []
    return cases + [(structure, level) for structure in options.structures for level in options.levels if level]


def compare(folder: Path, options: argparse.Namespace, structure: str, level: float) -> list[dict[str, Any]]:
    """Both forms of one network, in stock ONNX Runtime and with the kernels, timed in turns."""
    model = pruned(options, structure, level)
    candidates: dict[tuple[str, str], Candidate] = {}
    files: dict[tuple[str, str], Path] = {}
    for form in FORMS:
        source = folder / f"{structure}-{level}-{form}.onnx"
        write_graph(source, merged_branches(model) if form == "merged" else model, options.size)
        feeds = feeds_for(source, options.size, 9)
        for engine, format_ in (("onnxruntime", "dense"), ("lth_deploy", "packed")):
            file = folder / f"{source.stem}-{format_}.onnx"
            emitted(source, file, Target.model_validate({"values": "fp32", "format": format_}), feeds)
            files[form, engine] = file
            candidates[form, engine] = opened(f"{engine}, {form}", level, structure, engine, file, feeds, 1)
    expected = candidates["pairs", "onnxruntime"].run()
    for one in candidates.values():
        one.error = largest_error(one.run(), expected)
    clock = time.process_time if options.cpu_time else time.perf_counter
    measure(list(candidates.values()), options.rounds, 1, clock)
    return [
        described(one, candidates["pairs", engine], files[form, engine], multiplications(files[form, engine], feeds))
        for (form, engine), one in candidates.items()
    ]


def emitted(source: Path, file: Path, target: Target, feeds: Feeds) -> None:
    """Write a graph as a run's is written: import would make one convolution of each pair."""
    model = normalize(onnx.load(str(source)))
    emitted = emit_chosen(model, target, uses(model, feeds), feeds).model
    write_metadata(emitted, ArtifactMetadata(values="fp32", format=target.format))
    save_model(emitted, file)


def pruned(options: argparse.Namespace, structure: str, level: float) -> nn.Module:
    """The network in evaluation mode, with this share of zeros in each layer."""
    torch.manual_seed(0)
    spec = LibreyoloSpec(source="libreyolo", model="yolov9_t", size=[options.size, options.size])
    detector = build_detector(spec, 80, 0, load_weights=False).eval()
    scoped = scoped_layers(detector, "default")
    layers = ranked_layers(scoped, dict.fromkeys((one.name for one in scoped), 1.0))
    masks = prune(layers, ones(layers), level, magnitude, "per_layer", STRUCTURES[structure])
    zeros = {name: torch.from_numpy(mask) for name, mask in masks.items()}
    TrainingState.capture(0, detector).masked(zeros).restore(detector)
    return detector


def write_graph(path: Path, model: nn.Module, size: int) -> None:
    """Trace the network between pixels and boxes."""
    spec = LibreyoloSpec(source="libreyolo", model="yolov9_t", size=[size, size])
    form = source_of(spec).export_form(fold_norm(model).module)
    names = TracedNames(form.input_name, form.output_names, {})
    graph = capture(form.module, np.full((1, 3, size, size), 0.5, np.float32), OPSET, names)
    onnx.save(normalize(graph).proto, str(path))


def described(one: Candidate, pairs: Candidate, file: Path, macs: int) -> dict[str, Any]:
    """A row of the results, printed too."""
    gain, middle, size = ratio(pairs.samples, one.samples), statistics.median(one.samples), file.stat().st_size
    print(
        f"{one.structure:7} {one.sparsity or 0.0:4.0%} {one.name:20} {middle:7.2f} ms  x{gain:.3f}  "
        f"{macs / 1e6:.1f} million multiplications  {size / 1e6:.3f} MB  error {one.error}"
    )
    return {
        "form": one.name,
        "structure": one.structure,
        "sparsity": one.sparsity,
        "times_as_fast_as_pairs": round(gain, 4),
        "multiplications_by_weights": macs,
        "bytes": size,
        "median_ms": round(middle, 3),
        "largest_relative_error": one.error,
        "samples_ms": [round(ms, 3) for ms in one.samples],
    }


if __name__ == "__main__":
    sys.exit(main())
