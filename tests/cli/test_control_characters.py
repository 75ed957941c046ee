"""Names from files reach the terminal without the characters that steer it."""

from pathlib import Path

import onnx
import pytest
from onnx import ModelProto

from lth_deploy.commands.output import shown
from tests.cli.running import Cli
from tests.compiler.onnx_models import detector

STEERING = "\x1b[2J\u202e\r\x07"


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("plain", "plain"),
        ("Zelle \u00e4 \U0001f600", "Zelle \u00e4 \U0001f600"),
        ("two\nlines", "two\nlines"),
        (STEERING, "\\x1b[2J\\u202e\\r\\x07"),
        ("a\x00b\x9b", "a\\x00b\\x9b"),
        ("\ud800", "\\ud800"),
    ],
)
def test_what_does_not_print_is_escaped(text: str, plain: str) -> None:
    assert shown(text) == plain


def _renamed(model: ModelProto, old: str, new: str) -> ModelProto:
    for node in model.graph.node:
        for at, name in enumerate(node.input):
            node.input[at] = new if name == old else name
    for tensor in model.graph.initializer:
        tensor.name = new if tensor.name == old else tensor.name
    return model


def test_a_layers_name_does_not_steer_the_terminal(cli: Cli, tmp_path: Path) -> None:
    onnx.save(_renamed(detector(0.8), "stem.weight", f"stem{STEERING}"), str(tmp_path / "net.onnx"))
    seen = cli("inspect", tmp_path / "net.onnx")
    assert seen.code == 0, seen.err
    assert "stem\\x1b[2J\\u202e" in seen.out
    assert not any(character in seen.out + seen.err for character in STEERING.replace("[2J", ""))


def test_an_errors_quotation_does_not_steer_the_terminal(cli: Cli, tmp_path: Path) -> None:
    model = detector(0.8)
    entry = model.metadata_props.add()
    entry.key, entry.value = "lth_deploy", '{"\\u001b[2J": 1}'
    onnx.save(model, str(tmp_path / "net.onnx"))
    seen = cli("inspect", tmp_path / "net.onnx")
    assert seen.code == 3
    assert "\\x1b[2J" in seen.err
    assert "\x1b" not in seen.err
