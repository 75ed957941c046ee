"""RoiAlign in a host of our own: against double precision on every instruction set, and with damaged nodes."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.kernels.hosts import build_host, run_host
from tests.kernels.node_files import read_arrays, write_file
from tests.kernels.roi_nodes import ROI_NODES, RoiNode, exact_roi_align, roi_node, write_roi_node


@pytest.fixture(scope="module")
def plain() -> Path:
    return build_host("plain")


def _run(host: Path, node: RoiNode, folder: Path, isa: str | None = None) -> np.ndarray[Any, np.dtype[np.float32]]:
    run_host(host, "run", write_roi_node(folder / "node", node), folder / "out", 2, isa=isa)
    (found,) = read_arrays(folder / "out")
    return found


@pytest.mark.parametrize("name", ROI_NODES)
def test_every_instruction_set_computes_it(
    name: str, plain: Path, instruction_sets: dict[str, Path], tmp_path: Path
) -> None:
    exact, bound = exact_roi_align(ROI_NODES[name])
    for isa in instruction_sets:
        if "emulated" not in isa:
            found = _run(plain, ROI_NODES[name], tmp_path, isa)
            assert found.shape == exact.shape
            assert found.any()
            assert (np.abs(found - exact) <= bound).all(), isa


@pytest.mark.parametrize("name", ["a thousand boxes", "adaptive"])
def test_threads_change_no_bit(name: str, plain: Path, tmp_path: Path) -> None:
    run_host(plain, "threads", 6, write_roi_node(tmp_path / "node", ROI_NODES[name]))


def test_an_instruction_set_of_others_is_refused(plain: Path, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"'mmx' is not available on this machine; use one of: .*portable"):
        _run(plain, ROI_NODES["one box"], tmp_path, "mmx")


@pytest.mark.parametrize(("boxes", "channels"), [(0, 3), (30, 0), (0, 0)])
def test_without_boxes_or_channels_there_is_no_output(boxes: int, channels: int, plain: Path, tmp_path: Path) -> None:
    node = roi_node((4, 6, 6), boxes)
    node = dataclasses.replace(node, pictures=node.pictures[:, :channels])
    assert _run(plain, node, tmp_path).shape == (boxes, channels, 7, 7)


def _inputs(**changed: object) -> list[Any]:
    node = dataclasses.replace(ROI_NODES["one box"], **changed)  # type: ignore[arg-type]
    return [node.pictures, node.boxes, node.images]


@pytest.mark.parametrize(
    ("text", "inputs", "message"),
    [
        (("mode=avg\n", ""), _inputs(), "no such attribute: mode"),
        (("mode=avg", "mode=" + "a" * 65), _inputs(), "more than 64 bytes"),
        (("height=7", "height=0"), _inputs(), "output_height is 0, it lies between 1 and 256"),
        (("width=7", "width=9223372036854775807"), _inputs(), "output_width is 9223372036854775807"),
        (("ratio=2", "ratio=-1"), _inputs(), "sampling_ratio is -1, it lies between 0 and 16"),
        (("scale=0.25", "scale=-1"), _inputs(), "no positive number"),
        (("scale=0.25", "scale=inf"), _inputs(), "no positive number"),
        (("", ""), _inputs()[:2], "2 inputs and 1 outputs, a RoiAlign has 3 and 1"),
        (("", ""), _inputs(pictures=np.zeros((3, 8, 8), np.float32)), r"input 0 has the shape \[3, 8, 8\]"),
        (("", ""), _inputs(pictures=np.zeros((1, 3, 8, 8), np.int32)), "a type that does not fit"),
        (("", ""), _inputs(pictures=np.zeros((2, 3, 0, 8), np.float32)), "there are boxes and no pixels"),
        (("", ""), _inputs(boxes=np.zeros((1, 5), np.float32)), r"\[1, 5\] and their images \[1\]"),
        (("", ""), _inputs(boxes=np.zeros((2, 4), np.float32)), r"\[2, 4\] and their images \[1\]"),
        (("", ""), _inputs(images=np.array([2])), "box 0 is of image 2, there are 2"),
        (("", ""), _inputs(images=np.array([-(2**63)])), "box 0 is of image -9223372036854775808"),
        (
            ("=7", "=256"),
            _inputs(boxes=np.zeros((600, 4), np.float32), images=np.zeros(600, np.int64)),
            r"\[600, 64, 256, 256\], more than 2\^31 - 1 elements",
        ),
    ],
)
def test_what_breaks_a_rule_is_refused(
    text: tuple[str, str], inputs: list[Any], message: str, plain: Path, tmp_path: Path
) -> None:
    file = write_file(tmp_path / "node", "RoiAlign", 1, ROI_NODES["one box"].text.replace(*text), inputs)
    with pytest.raises(AssertionError, match=f"lth_deploy, node 'a node': .*{message}"):
        run_host(plain, "run", file, tmp_path / "out", 1)


@pytest.mark.parametrize("isa", [None, "portable"])
def test_damaged_nodes_are_refused_or_computed_as_the_oracle_does(isa: str | None, plain: Path, tmp_path: Path) -> None:
    files = [write_roi_node(tmp_path / name, node) for name, node in ROI_NODES.items() if "thousand" not in name]
    tally = json.loads(run_host(plain, "mutate", 1000, 10**6, *files, folder=tmp_path, isa=isa))
    assert sum(tally.values()) == 1000
    assert min(tally["refused"], tally["unfit"], tally["compared"]) > 150
