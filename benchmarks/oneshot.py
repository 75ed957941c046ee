"""One-shot pruning of a trained detector from elsewhere: what reconstruction from a few images keeps of its AP.

    python -m benchmarks.oneshot MODEL.onnx --data ANN.json --images DIR --out FILE.json

The first half of the images, by name, is what layers are reconstructed on, without their annotations; AP is measured on
the other half, of global magnitude pruning and of reconstruction, with the paired bootstrap over images of their
difference.
"""

import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from onnx import ModelProto

from benchmarks.result_file import head
from benchmarks.scored_model import model_and_data, names_of
from lth_deploy import storage
from lth_deploy.compiler.artifact.load import load_model
from lth_deploy.compiler.importing.imported import normalize
from lth_deploy.compiler.model.save import save_model
from lth_deploy.compiler.one_shot.magnitude import prune_onnx
from lth_deploy.compiler.one_shot.reconstruct import OneShot
from lth_deploy.data.coco.load import load_coco
from lth_deploy.data.images import read_record
from lth_deploy.data.records import CocoDataset, ImageRecord
from lth_deploy.errors import DataError
from lth_deploy.evaluation.bootstrap import paired_bootstrap
from lth_deploy.evaluation.coco_rows import CompactDetections
from lth_deploy.workflow.artifact import open_artifact, read_model_file
from lth_deploy.workflow.evaluate import detect_all, score

SCHEMA = "lth-oneshot-benchmark/1"
LEVELS = (0.3, 0.5, 0.6)

Found = dict[int, CompactDetections]


def halves(dataset: CocoDataset) -> tuple[list[ImageRecord], CocoDataset]:
    """The first half of the images, and a data set of the others."""
    images = sorted(dataset.images, key=lambda record: record.file_name)
    half = len(images) // 2
    rest = {record.id: dataset.annotations[record.id] for record in images[half:]}
    return images[:half], replace(dataset, images=tuple(images[half:]), annotations=rest)


def detections(model: ModelProto, dataset: CocoDataset, decoder: str | None) -> Found:
    """What the model finds in the images."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        save_model(model, file)
        return detect_all(open_artifact(file, threads=1, decoder=decoder), dataset)[0]


def measure(file: Path, decoder: str | None, data: Path, images: Path, structure: str) -> dict[str, Any]:
    """AP of the original, and of both ways at each level."""
    model = load_model(file)
    seen, dataset = halves(load_coco(data, images))
    prepare = read_model_file(file, decoder).decoder.prepare
    began, processor = time.monotonic(), time.process_time()
    one_shot = OneShot(normalize(model), [prepare(read_record(record))[0] for record in seen], structure=structure)
    spent = {"seconds": round(time.monotonic() - began), "processor_seconds": round(time.process_time() - processor)}
    dense = score(dataset, detections(model, dataset, decoder)).metrics["bbox"]
    rows = []
    for level in LEVELS:
        plain = detections(prune_onnx(normalize(model), level)[0], dataset, decoder)
        processor = time.process_time()
        pruned, report = one_shot.prune(level)
        processor = time.process_time() - processor
        better = detections(pruned, dataset, decoder)
        found = {"magnitude": score(dataset, plain).metrics["bbox"], "obs": score(dataset, better).metrics["bbox"]}
        lost = {name: _ap(dense) - _ap(metrics) for name, metrics in found.items()}
        interval = paired_bootstrap(dataset.ground_truth(), better, plain, dataset.category_ids)
        rows.append(
            {
                "sparsity": report.sparsity,
                "bbox": found,
                "share_of_loss": lost["obs"] / lost["magnitude"],
                "difference": asdict(interval),
                "processor_seconds": round(processor),
                "layers": {name: asdict(loss) for name, loss in report.losses.items()},
            }
        )
        print(f"{level:.0%}: AP {dense['AP']:.3f} dense, {found}", rows[-1]["difference"], file=sys.stderr)
    return {"calibrated_on": len(seen), "evaluated_on": len(dataset.images), **spent, "dense": dense, "rows": rows}


def _ap(metrics: Mapping[str, float | None]) -> float:
    value = metrics["AP"]
    if value is None:
        raise DataError("the second half of the images has no objects; give others")
    return value


def main() -> None:
    parser = model_and_data(__doc__)
    parser.add_argument("--structure", default="single")
    arguments = parser.parse_args()
    found = measure(arguments.model, arguments.decoder, arguments.data, arguments.images, arguments.structure)
    result = {
        **head(SCHEMA, "benchmarks.oneshot"),
        **names_of(arguments),
        **found,
    }
    storage.write_json(arguments.out, result)


if __name__ == "__main__":
    main()
