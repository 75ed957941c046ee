"""Every hostile file is refused with an error of ours, quickly, and without touching other files."""

from pathlib import Path

import pytest

from lth_deploy.compiler.artifact.load import check_model, load_model
from lth_deploy.compiler.artifact.metadata import read_metadata
from lth_deploy.errors import ArtifactError, DataError
from lth_deploy.structures import Block
from tests.hostile.make_corpus import corpus, valid, valid_blocks, valid_int8_region, valid_region, valid_roi_align

FILES = corpus()


@pytest.mark.parametrize("name", FILES)
def test_hostile_file_is_refused(name: str, tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_bytes(FILES[name])
    with pytest.raises(ArtifactError) as caught:
        read_metadata(load_model(file))
    assert len(str(caught.value)) > 20


def test_the_files_they_were_made_of_are_sound() -> None:
    for model, operator in (
        (valid(0.5), "UnpackBitmask"),
        (valid(0.85), "UnpackGaps4"),
        (valid(0.85, "load"), "UnpackSteps8"),
        (valid_blocks(Block(1, 4), 0.85), "UnpackSteps8Blocks1x4"),
        (valid_blocks(Block(2, 4), 0.5, int8=True), "UnpackBitmaskBlocks2x4Int8"),
        (valid_region(), "Region0"),
        (valid_region("bf16"), "Region0"),
        (valid_int8_region(), "Region0"),
        (valid_roi_align(), "RoiAlign"),
    ):
        check_model(model)
        assert operator in [node.op_type for node in model.graph.node if node.domain]


def test_the_corpus_is_the_same_each_time() -> None:
    assert corpus() == FILES


def test_a_missing_file_is_no_artifact_error_but_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot read"):
        load_model(tmp_path / "absent.onnx")


def test_deeply_nested_graphs_are_refused() -> None:
    from onnx import helper

    model = valid(0.5)
    graph = helper.make_graph([], "innermost", [], [])
    for depth in range(24):
        node = helper.make_node("If", ["c"], [f"o{depth}"], then_branch=graph, else_branch=graph.__class__())
        graph = helper.make_graph([node], f"level{depth}", [], [])
    model.graph.node.extend(graph.node)
    with pytest.raises(ArtifactError, match="nested"):
        check_model(model)
