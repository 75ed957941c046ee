"""Command line of measurements that score an ONNX file on a data set."""

import argparse
from pathlib import Path
from typing import Any


def model_and_data(description: str | None) -> argparse.ArgumentParser:
    """A parser with the file, its decoder, a COCO data set, and the file for the results."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--decoder")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    return parser


def names_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """What results say of the model and the data set."""
    return {"model": arguments.model.name, "data": f"{arguments.data.parent.parent.name}/{arguments.data.name}"}
