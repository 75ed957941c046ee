"""One-shot pruning of a trained detector from elsewhere: what reconstruction from a few images keeps of its AP.

    python -m benchmarks.oneshot MODEL.onnx --data ANN.json --images DIR --out FILE.json

The first half of the images, by name, is what layers are reconstructed on and int8 ranges come from, without their
annotations; AP is measured on the other half, of every structure, share of zeros and value type, with the paired
bootstrap over images of its difference from the dense model. For single weights, global magnitude stands beside it.
A run that was interrupted goes on where it ended: what is done lies in `--state`. The result is written after each
row, so that a long run can be looked at.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from onnx import ModelProto

from benchmarks.result_file import head
from benchmarks.scored_model import model_and_data, names_of
from lth_deploy import storage
from lth_deploy.compiler.artifact.load import load_model
from lth_deploy.compiler.importing.imported import normalize
from lth_deploy.compiler.model.normalized_model import NormalizedModel
from lth_deploy.compiler.model.save import save_model
from lth_deploy.compiler.one_shot.magnitude import PruneReport, prune_onnx
from lth_deploy.compiler.one_shot.reconstruct import OneShot
from lth_deploy.config.target import Target
from lth_deploy.data.coco.load import load_coco
from lth_deploy.data.images import read_record
from lth_deploy.data.records import CocoDataset, ImageRecord
from lth_deploy.evaluation.bootstrap import Interval, paired_bootstrap
from lth_deploy.evaluation.coco_rows import CompactDetections
from lth_deploy.workflow.artifact import open_artifact, read_model_file
from lth_deploy.workflow.evaluate import detect_all, score
from lth_deploy.workflow.export.quantization import quantize

SCHEMA = "lth-oneshot-benchmark/2"
LEVELS = (0.3, 0.5, 0.6)
STRUCTURES = ("single", "in4", "2x4")
VALUES = ("fp32", "int8")

Found = dict[int, CompactDetections]


def halves(dataset: CocoDataset) -> tuple[list[ImageRecord], CocoDataset]:
    """The first half of the images, and a data set of the others."""
    images = sorted(dataset.images, key=lambda record: record.file_name)
    half = len(images) // 2
    rest = {record.id: dataset.annotations[record.id] for record in images[half:]}
    return images[:half], replace(dataset, images=tuple(images[half:]), annotations=rest)


@dataclass(frozen=True)
class Study:
    """A detector, the images that it is pruned on, those that it is evaluated on, and where results wait."""

    file: Path
    decoder: str | None
    seen: Sequence[ImageRecord]
    dataset: CocoDataset
    state: Path

    @cached_property
    def model(self) -> NormalizedModel:
        """The detector as it is."""
        return normalize(load_model(self.file))

    @cached_property
    def feeds(self) -> list[Any]:
        """Inputs of the images that it is pruned on."""
        prepare = read_model_file(self.file, self.decoder).decoder.prepare
        return [prepare(read_record(record))[0] for record in self.seen]

    @cached_property
    def dense(self) -> Found:
        """What the dense model finds in the images that it is evaluated on."""
        return self.detections(self.model.proto)

    def detections(self, model: ModelProto) -> Found:
        """What a model finds in the images that it is evaluated on."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "model.onnx"
            save_model(model, file)
            return detect_all(open_artifact(file, threads=1, decoder=self.decoder), self.dataset)[0]

    def metrics(self, found: Found) -> Mapping[str, float | None]:
        """AP and its companions."""
        return score(self.dataset, found).metrics["bbox"]

    def difference(self, found: Found, other: Found) -> dict[str, Any]:
        """Interval of AP(found) - AP(other)."""
        made: Interval = paired_bootstrap(self.dataset.ground_truth(), found, other, self.dataset.category_ids)
        return asdict(made)

    def remembered(self, name: str, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What `work` makes, or has made in a run before."""
        file = self.state / f"{name}.json"
        if not file.exists():
            storage.write_json(file, work())
        made: dict[str, Any] = json.loads(file.read_text())
        return made


class Structure:
    """The models of one structure, made when they are first wanted."""

    def __init__(self, study: Study, name: str) -> None:
        self._study, self.name = study, name

    @cached_property
    def _one_shot(self) -> OneShot:
        return OneShot(self._study.model, self._study.feeds, structure=self.name)

    def pruned(self, level: float) -> tuple[NormalizedModel, dict[str, Any]]:
        """The model with this share of zeros, and what it took."""
        file = self._study.state / f"{self.name}-{level:g}.onnx"
        made: list[NormalizedModel] = []

        def prune() -> dict[str, Any]:
            one_shot, processor = self._one_shot, time.process_time()
            model, report = one_shot.prune(level)
            made.append(model)
            save_model(model.proto, file)
            return _account(report) | {"processor_seconds": round(time.process_time() - processor)}

        account = self._study.remembered(f"{self.name}-{level:g}-pruning", prune)
        return (made[0] if made else normalize(load_model(file))), account


def _account(report: PruneReport) -> dict[str, Any]:
    return {"sparsity": report.sparsity, "layers": {name: asdict(loss) for name, loss in report.losses.items()}}


def measured(study: Study, model: NormalizedModel, values: str) -> dict[str, Any]:
    """AP of a model in one value type, beside the dense detector in floats."""
    extra: dict[str, Any] = {}
    if values == "int8":
        account = quantize(model, study.feeds, Target(values="int8"))
        model, extra = account.graph, {"quantization": account.quantization.model_dump(exclude={"errors"})}
    found = study.detections(model.proto)
    return {"bbox": dict(study.metrics(found)), "from_dense": study.difference(found, study.dense), **extra}


def by_magnitude(study: Study, level: float, pruned: NormalizedModel) -> dict[str, Any]:
    """AP with as many zeros by global magnitude, and how far reconstruction is from it."""
    plain = study.detections(prune_onnx(study.model, level)[0].proto)
    better = study.difference(study.detections(pruned.proto), plain)
    return {"bbox": dict(study.metrics(plain)), "obs_from_magnitude": better}


def rows(
    study: Study, structures: Sequence[str], levels: Sequence[float], values: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """Every row of the result, in order; each is done once."""
    for kind in values:
        done = study.remembered(f"dense-{kind}", lambda kind=kind: measured(study, study.model, kind))  # type: ignore[misc]
        yield {"structure": None, "level": 0.0, "values": kind, **done}
    for name in structures:
        structure = Structure(study, name)
        for level in levels:
            model, account = structure.pruned(level)
            for kind in values:
                row = study.remembered(
                    f"{name}-{level:g}-{kind}",
                    lambda model=model, kind=kind: measured(study, model, kind),  # type: ignore[misc]
                )
                yield {"structure": name, "level": level, "values": kind, **row, **(account if kind == "fp32" else {})}
            if name == "single":
                plain = study.remembered(
                    f"magnitude-{level:g}",
                    lambda level=level, model=model: by_magnitude(study, level, model),  # type: ignore[misc]
                )
                yield {"structure": "single by magnitude", "level": level, "values": "fp32", **plain}


def _say(row: Mapping[str, Any]) -> None:
    print(
        f"{row['structure']} {row['level']:.0%} {row['values']}: AP {row['bbox']['AP']:.3f}, {row.get('from_dense')}",
        file=sys.stderr,
        flush=True,
    )


def main() -> None:
    parser = model_and_data(__doc__)
    parser.add_argument("--structures", nargs="+", default=list(STRUCTURES))
    parser.add_argument("--levels", nargs="+", type=float, default=list(LEVELS))
    parser.add_argument("--values", nargs="+", default=list(VALUES), choices=VALUES)
    parser.add_argument("--state", type=Path, help="folder of what is done; default beside the result")
    arguments = parser.parse_args()
    started = head(SCHEMA, "benchmarks.oneshot")
    seen, dataset = halves(load_coco(arguments.data, arguments.images))
    inputs = storage.sha256(arguments.model)[:12] + "-" + storage.sha256(arguments.data)[:12]
    state = (arguments.state or arguments.out.with_suffix(".state")) / inputs
    state.mkdir(parents=True, exist_ok=True)
    study = Study(arguments.model, arguments.decoder, seen, dataset, state)
    done: list[dict[str, Any]] = []
    result = {
        **started,
        **names_of(arguments),
        "calibrated_on": len(seen),
        "evaluated_on": len(dataset.images),
        "rows": done,
    }
    for row in rows(study, arguments.structures, arguments.levels, arguments.values):
        _say(row)
        done.append(row)
        storage.write_json(arguments.out, result)


if __name__ == "__main__":
    main()
