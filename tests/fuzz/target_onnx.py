"""ONNX files through `inspect`, `export --onnx`, `evaluate` and `predict`."""

from functools import cache
from pathlib import Path
from random import Random

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper, numpy_helper

from tests.fuzz.case import Case
from tests.fuzz.mutate_onnx import damaged_model

NAME = "onnx"


def prepare(folder: Path) -> None:
    """Small models of every kind: float, sparse, packed, with regions, quantized, with functions and subgraphs."""
    for name, model in _models().items():
        onnx.save(model, str(folder / f"{name}.onnx"))
    from tests.tiny_artifact import save_data, save_decoder

    save_data(folder / "data", images=2)
    save_decoder(folder)
    (folder / "weights.bin").write_bytes(bytes(range(256)) * 64)


def _models() -> dict[str, ModelProto]:
    from lth_deploy.compiler.artifact.metadata import ArtifactMetadata, ClassName, write_metadata
    from lth_deploy.structures import Block
    from tests.compiler.onnx_models import detector, quantized_conv
    from tests.hostile.make_corpus import valid, valid_blocks, valid_int8_region, valid_region, valid_roi_align
    from tests.tiny_artifact import CLASSES, IDS, tiny_model

    made = {
        "detector": detector(0.8, width=8),
        "detector9": detector(0.5, opset=9, width=4),
        "quantized": quantized_conv(np.arange(-60, 84).reshape(8, 2, 3, 3).astype(np.int8)),
        "packed": valid(0.85),
        "blocks": valid_blocks(Block(2, 4), 0.5, int8=True),
        "region": valid_region(),
        "bf16_region": valid_region("bf16"),
        "int8_region": valid_int8_region(),
        "roi_align": valid_roi_align(),
        "tiny": tiny_model(zeros=0.8),
        "mixed": _mixed(),
    }
    classes = [ClassName(id=number, name=name) for number, name in zip(IDS, CLASSES, strict=True)]
    write_metadata(made["tiny"], ArtifactMetadata(decoder="lth", classes=classes))
    return made


def _mixed() -> ModelProto:
    """What other exporters write: an If, a Loop, a Constant, a function, half floats, a Resize, sizes from Shape."""
    rng = np.random.default_rng(3)
    weight = rng.standard_normal((4, 3, 3, 3)).astype(np.float16)
    branch = helper.make_graph(
        [helper.make_node("Relu", ["a"], ["b"])], "then", [], [helper.make_empty_tensor_value_info("b")]
    )
    other = helper.make_graph(
        [helper.make_node("Identity", ["a"], ["b"])], "else", [], [helper.make_empty_tensor_value_info("b")]
    )
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on_"]), helper.make_node("Mul", ["x_", "half"], ["y_"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("x_", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("on_", TensorProto.BOOL, []),
            helper.make_tensor_value_info("y_", TensorProto.FLOAT, None),
        ],
    )
    function = helper.make_function(
        "local", "Act", ["p"], ["q"], [helper.make_node("HardSwish", ["p"], ["q"])], [helper.make_opsetid("", 18)]
    )
    nodes = [
        helper.make_node("Cast", ["w16"], ["w"], to=TensorProto.FLOAT),
        helper.make_node("Conv", ["image", "w"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("If", ["on"], ["b"], then_branch=branch, else_branch=other),
        helper.make_node("Loop", ["times", "on", "b"], ["c"], body=body),
        helper.make_node("Constant", [], ["scales"], value=numpy_helper.from_array(np.float32([1, 1, 2, 2]), "v")),
        helper.make_node("Resize", ["c", "", "scales"], ["d"], mode="nearest"),
        helper.make_node("Act", ["d"], ["e"], domain="local"),
        helper.make_node("Shape", ["e"], ["size"]),
        helper.make_node("Slice", ["size", "zero", "two"], ["outer"]),
        helper.make_node("Concat", ["outer", "rest"], ["shape"], axis=0),
        helper.make_node("Reshape", ["e", "shape"], ["out"]),
    ]
    constants = {
        "w16": weight,
        "on": np.array(True),
        "times": np.array(2),
        "half": np.float32(0.5),
        "zero": np.array([0]),
        "two": np.array([2]),
        "rest": np.array([-1]),
    }
    graph = helper.make_graph(
        nodes,
        "mixed",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, "h", "w_"])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("local", 1)]
    return helper.make_model(graph, opset_imports=opsets, functions=[function], ir_version=9)


@cache
def _loaded(file: Path) -> ModelProto:
    return onnx.load(str(file))


def draw(seeds: Path, random: Random) -> Case:
    """A damaged model under one of the verbs that read models."""
    names = sorted(file.name for file in seeds.glob("*.onnx"))
    verb = random.choices(("inspect", "export", "predict", "evaluate"), (6, 4, 2, 1))[0]
    name = "tiny.onnx" if verb in ("predict", "evaluate") and random.random() < 0.7 else random.choice(names)
    model = damaged_model(_loaded(seeds / name), random)
    given: dict[str, str] = {"weights.bin": "weights.bin"}
    codes = {0, 2, 3}
    if verb == "inspect":
        arguments = ["inspect", "model.onnx", *(["--json"] if random.random() < 0.3 else [])]
    elif verb == "export":
        arguments = ["--quiet", "export", "--onnx", "model.onnx", "--out", "out", "--no-profile"]
        values = (["--values", one] for one in ("fp16", "bf16"))
        arguments += random.choice([[], [], ["--sparsity", "0.7"], ["--format", "coo"], *values])
        codes |= {4, 5}  # 5: no layer gains by bf16
    else:
        given |= {f"images/{number}.png": f"data/images/{number}.png" for number in (1, 2)}
        given |= {"data.json": "data/annotations.json"}
        if verb == "predict":
            arguments = ["predict", "model.onnx", "images/1.png", "--out", "out"]
        else:
            arguments = ["evaluate", "model.onnx", "--data", "data.json", "--images", "images"]
        if random.random() < 0.3:
            given["named.py"] = "named.py"
            arguments += ["--decoder", "named.py:make"]
    return Case(NAME, tuple(arguments), {"model.onnx": model}, given, frozenset(codes))
