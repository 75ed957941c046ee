"""What packing and plain magnitude pruning do to a trained detector from elsewhere: bytes and AP.

    python -m benchmarks.foreign MODEL.onnx --data ANN.json --images DIR --out FILE.json

The model is packed as it is with fp32 and fp16 values, whose AP must equal the original's to 1e-4, and pruned by
global magnitude at several levels without any retraining, which is what a ticket search has to beat.
"""

import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.scored_model import model_and_data, names_of
from lth_deploy import storage
from lth_deploy.config.target import Target
from lth_deploy.measure.machine import describe_machine
from lth_deploy.run.directory import versions
from lth_deploy.workflow.evaluate import evaluate
from lth_deploy.workflow.export.from_onnx import OnnxJob, export_onnx

CASES = ((None, "fp32"), (None, "fp16"), (0.3, "fp16"), (0.5, "fp16"), (0.8, "fp16"))


def measure(model: Path, decoder: str | None, data: Path, images: Path) -> list[dict[str, Any]]:
    """One row for the original and one for each case."""

    def metrics(file: Path) -> dict[str, float | None]:
        return evaluate(file, data, images, decoder=decoder).ap.metrics["bbox"]

    rows: list[dict[str, Any]] = [{"name": "original", "bytes": model.stat().st_size, "bbox": metrics(model)}]
    for sparsity, values in CASES:
        with tempfile.TemporaryDirectory() as folder:
            target = Target(values=values)  # type: ignore[arg-type]
            made = export_onnx(model, OnnxJob(sparsity=sparsity), target=target, out=Path(folder))
            rows.append(
                {
                    "name": f"{100 * made.sparsity:.0f} % zeros, {values}",
                    "bytes": made.bytes,
                    "deviation": made.deviation,
                    "bbox": metrics(made.artifact),
                }
            )
        print(rows[-1], file=sys.stderr)
    return rows


def main() -> None:
    parser = model_and_data(__doc__)
    arguments = parser.parse_args()
    rows = measure(arguments.model, arguments.decoder, arguments.data, arguments.images)
    result = {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": "python -m benchmarks.foreign",
        **names_of(arguments),
        "machine": describe_machine().model_dump(),
        "versions": versions(),
        "rows": rows,
    }
    storage.write_json(arguments.out, result)


if __name__ == "__main__":
    main()
