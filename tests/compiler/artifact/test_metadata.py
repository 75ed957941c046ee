"""What an artifact says of itself survives the file, and nothing else is believed."""

import re
from pathlib import Path
from typing import Any

import pytest

from lth_deploy.compiler.artifact.load import load_model
from lth_deploy.compiler.artifact.metadata import (
    MAX_BYTES,
    ArtifactMetadata,
    ClassName,
    Quantization,
    parse_metadata,
    read_metadata,
    write_metadata,
)
from lth_deploy.compiler.artifact.metadata_builder import MetadataBuilder, PassResults, with_changes
from lth_deploy.compiler.artifact.pack import LayerReport
from lth_deploy.compiler.model.save import save_model, to_bytes
from lth_deploy.errors import ArtifactError
from tests.compiler.onnx_models import detector

FULL = ArtifactMetadata(
    decoder="lth",
    classes=[ClassName(id=3, name="platelet"), ClassName(id=90, name="Ünï")],
    keypoints=["top"],
    preprocessing={"color": "RGB", "scale": 255},
    recipe_digest="ab" * 32,
    level="level_80",
    sparsity=0.8,
    values="fp16",
    positions={"stem.weight": 120},
    rest=(2.5, 7.0),
)


def test_metadata_survives_the_file(tmp_path: Path) -> None:
    model = detector()
    model.metadata_props.add(key="author", value="someone")
    write_metadata(model, FULL)
    save_model(model, tmp_path / "model.onnx")
    again = load_model(tmp_path / "model.onnx")
    assert read_metadata(again) == FULL
    assert {entry.key: entry.value for entry in again.metadata_props}["author"] == "someone"


def test_writing_twice_leaves_one_entry() -> None:
    model = detector()
    write_metadata(model, FULL)
    once = to_bytes(model)
    write_metadata(model, FULL)
    assert to_bytes(model) == once


def test_a_model_from_elsewhere_has_none() -> None:
    assert read_metadata(detector()) is None


def test_metadata_beyond_the_cap_is_refused_on_both_sides() -> None:
    model = detector()
    huge = FULL.model_copy(update={"preprocessing": {"text": "x" * MAX_BYTES}})
    with pytest.raises(ArtifactError, match="bytes"):
        write_metadata(model, huge)
    model.metadata_props.add(key="lth_deploy", value=" " * (MAX_BYTES + 1))
    with pytest.raises(ArtifactError, match="characters"):
        read_metadata(model)


@pytest.mark.parametrize("rest", ["[1.0]", "[1.0, -0.5]", "[1.0, NaN]", "[1.0, Infinity]", '["1", "x"]', "3"])
def test_a_rest_that_is_no_pair_of_times_is_refused(rest: str) -> None:
    with pytest.raises(ArtifactError, match="rest"):
        parse_metadata({"lth_deploy": f'{{"rest": {rest}}}'})


def test_a_file_without_a_rest_is_read() -> None:
    read = parse_metadata({"lth_deploy": '{"predicted": {"w": [1.0, 2.0]}}'})
    assert read is not None
    assert read.rest is None


def _layer(name: str, **changes: Any) -> LayerReport:
    plain: dict[str, Any] = {"op_type": "Conv", "shape": (8,), "elements": 8, "zeros": 4, "uses": 1, "coding": "dense"}
    plain |= {"value_type": "fp32", "bytes": 32, "dense_bytes": 32, "entropy_bytes": 8.0, "reason": None}
    return LayerReport(name=name, **{**plain, **changes})


def _builder(base: ArtifactMetadata = FULL, **changes: Any) -> MetadataBuilder:
    layers = [_layer("a", dense_because="too few zeros"), _layer("b" * 600, sparse_ms=0.123456, dense_ms=1.0)]
    found: dict[str, Any] = {"layers": layers, "positions": {"a": 9, "b" * 600: 4}, "input_shapes": {"x": (1, 3, 8, 8)}}
    return MetadataBuilder(base, PassResults(**{**found, **changes}))


def test_an_export_describes_its_artifact_and_the_dense_file_beside_it() -> None:
    earlier = FULL.model_copy(update={"removed_channels": {"a": (2, 8), "c": (1, 4)}})
    quantization = Quantization(method="minmax", images=3)
    builder = _builder(earlier, removed_channels={"a": (3, 6)}, unpredicted_ms=(1.0, 2.0), quantization=quantization)
    artifact, dense = builder.artifact(sparsity=0.5, control_sha256="ab"), builder.dense()
    assert (artifact.sparsity, artifact.control_sha256, artifact.rest) == (0.5, "ab", (1.0, 2.0))
    assert artifact.dense_because == {"a": "too few zeros"}
    assert artifact.predicted == {"b" * 512: (0.1235, 1.0)}
    assert artifact.positions == dense.positions == {"a": 9, "b" * 512: 4}
    assert artifact.removed_channels == {"a": (5, 8), "c": (1, 4)}
    assert artifact.quantization == quantization
    assert (dense.format, dense.values, dense.level, dense.sparsity, dense.rest) == ("dense", "fp32", None, None, None)
    assert not dense.predicted
    assert dense.quantization is None
    assert dense.classes == artifact.classes == FULL.classes


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"removed_channels": {"a": (-1, 8)}}, "removed_channels.a.0"),
        ({"unpredicted_ms": (float("nan"), 1.0)}, "rest.0"),
        ({"input_shapes": {"x": (-1, 3)}}, "predicted_for.x.0"),
    ],
)
def test_what_the_schema_does_not_allow_is_not_written(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(ArtifactError, match=re.escape(field)):
        _builder(**changes).artifact()
    with pytest.raises(ArtifactError, match="tint"):
        with_changes(FULL, tint="red")
