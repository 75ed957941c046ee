"""Configurations and checkpoints of detectron2 that do not go together are refused, by name."""

import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lth_deploy.detectors.detectron2.checkpoint import read_checkpoint
from lth_deploy.detectors.detectron2.convert import convert
from lth_deploy.errors import DataError
from tests.detectors.detectron2.formula import CASES, fill, reference, write_config

SHAPES = {name: tuple(shape) for name, shape in reference("retinanet")["shapes"].items()}


def refusal(folder: Path, state: dict[str, Any], name: str = "retinanet") -> str:
    path = folder / "weights.pth"
    torch.save(state, path)
    with pytest.raises(DataError) as caught:
        convert(write_config(folder, CASES[name]), path)
    return str(caught.value)


def test_a_missing_and_a_strange_tensor_are_named_with_the_nearest(tmp_path: Path) -> None:
    state = fill(SHAPES)
    state["head.cls_score.weights"] = state.pop("head.cls_score.weight")
    message = refusal(tmp_path, state)
    assert "lacks what torchvision calls head.classification_head.cls_logits.weight" in message
    assert "has no place for head.cls_score.weights" in message


def test_another_shape_is_named(tmp_path: Path) -> None:
    state = fill(SHAPES)
    state["backbone.fpn_output3.bias"] = torch.zeros(17)
    message = refusal(tmp_path, state)
    assert "backbone.fpn.layer_blocks.0.0.bias has (17,), the configuration (16,)" in message


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("pixel_mean", torch.tensor([123.675, 116.28, 103.53]).reshape(3, 1, 1), "was trained with MODEL.PIXEL_MEAN"),
        ("pixel_std", torch.tensor([58.0, 57.0, 57.0]).reshape(3, 1, 1), "was trained with MODEL.PIXEL_STD"),
        ("anchor_generator.cell_anchors.1", torch.zeros(9, 4), "has other anchors at level 1"),
    ],
)
def test_what_changes_predictions_without_a_shape_is_compared(
    name: str, value: torch.Tensor, message: str, tmp_path: Path
) -> None:
    assert message in refusal(tmp_path, {**fill(SHAPES), name: value})


def test_what_repeats_the_configuration_is_accepted(tmp_path: Path) -> None:
    config = write_config(tmp_path, CASES["retinanet"])
    state = {**fill(SHAPES), "pixel_mean": torch.tensor([103.53, 116.28, 123.675]).reshape(3, 1, 1)}
    path = tmp_path / "weights.pth"
    torch.save(state, path)
    assert convert(config, path).settings.classes == 3


def test_a_pickle_of_the_model_zoo_is_read(tmp_path: Path) -> None:
    state = OrderedDict((name, value.numpy()) for name, value in fill(SHAPES).items())
    for protocol in (2, 4):
        path = tmp_path / f"model_final_{protocol}.pkl"
        path.write_bytes(pickle.dumps({"model": state, "__author__": "Detectron2 Model Zoo"}, protocol))
        found = read_checkpoint(path)
        assert found.keys() == state.keys()
        assert all(np.array_equal(found[name].numpy(), value) for name, value in state.items())


def test_orders_and_types_of_arrays_survive_a_pickle(tmp_path: Path) -> None:
    arrays = {
        "fortran": np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)),
        "half": np.arange(4, dtype=np.float16),
        "counts": np.array([3, 4], dtype=np.int64),
        "empty": np.zeros((0, 3), dtype=np.float32),
    }
    path = tmp_path / "weights.pkl"
    path.write_bytes(pickle.dumps(arrays, 2))
    found = read_checkpoint(path)
    assert all(np.array_equal(found[name].numpy(), value) for name, value in arrays.items())


class _Runs:
    def __reduce__(self) -> Any:
        return (print, ("a pickle must not run this",))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"model": {"w": _Runs()}}, "it calls builtins.print"),
        ({"model": {"w": np.array([object()])}}, "an array of type"),
        ({"model": {"w": np.array([1.0], dtype=">f4")}}, "big-endian"),
        ({"model": {"w": np.array(["text"])}}, "an array of type"),
    ],
)
def test_a_pickle_that_holds_more_than_arrays_is_refused(
    content: Any, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "weights.pkl"
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(DataError, match="not a checkpoint that can be read safely") as caught:
        read_checkpoint(path)
    assert reason in str(caught.value)
    assert capsys.readouterr().out == ""


def test_an_array_with_other_bytes_than_its_shape_needs_is_refused(tmp_path: Path) -> None:
    text = pickle.dumps({"w": np.arange(4, dtype=np.float32)}, 4)
    path = tmp_path / "weights.pkl"
    path.write_bytes(text.replace(b"K\x04\x85", b"K\x05\x85"))
    with pytest.raises(DataError, match=r"an array of shape \(5,\) in 16 bytes"):
        read_checkpoint(path)


@pytest.mark.parametrize("cut", [1, 10, 200])
def test_a_damaged_pickle_is_refused(cut: int, tmp_path: Path) -> None:
    path = tmp_path / "weights.pkl"
    path.write_bytes(pickle.dumps({"w": np.arange(100, dtype=np.float32)})[:-cut])
    with pytest.raises(DataError, match="not a checkpoint"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"blobs": {"conv1_w": np.zeros(3)}}, "a backbone of Caffe2"),
        ([1, 2], "a backbone of Caffe2 or something else"),
        ({"model": {}}, "holds no tensors"),
        ({"model": {"w": "text"}}, "entry 'w' is a str"),
        ({"model": {"w": np.array([np.nan])}}, "not finite"),
    ],
)
def test_other_pickles_are_no_detectors(content: Any, message: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.pkl"
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(DataError, match=message):
        read_checkpoint(path)
