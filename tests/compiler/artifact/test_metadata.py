"""What an artifact says of itself survives the file, and nothing else is believed."""

from pathlib import Path

import pytest

from lth_deploy.compiler.artifact.load import load_model
from lth_deploy.compiler.artifact.metadata import (
    MAX_BYTES,
    ArtifactMetadata,
    ClassName,
    parse_metadata,
    read_metadata,
    write_metadata,
)
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
    told = parse_metadata({"lth_deploy": '{"predicted": {"w": [1.0, 2.0]}}'})
    assert told is not None
    assert told.rest is None
