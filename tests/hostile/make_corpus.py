"""Writes packed files that each break one rule of export/FORMAT.md or export/REGION.md, for every validator to refuse.

Usage: python -m tests.hostile.make_corpus FOLDER
"""

import sys
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import numpy as np
from onnx import AttributeProto, FunctionProto, ModelProto, TensorProto, helper, numpy_helper

from lth_deploy.compiler.artifact.domain import DOMAIN, METADATA_KEY
from lth_deploy.compiler.artifact.pack import pack
from lth_deploy.compiler.artifact.roi_align import fast_roi_align
from lth_deploy.compiler.artifact.value_types import ValueType
from lth_deploy.compiler.importing.imported import normalize
from lth_deploy.compiler.regions.codegen.build import build_regions, zeros_from
from lth_deploy.formats import Preference
from lth_deploy.structures import Block
from tests import roi_align_models
from tests.compiler.onnx_models import conv, in_blocks, quantized_conv, sparse

SHAPE = (64, 64, 3, 3)

Edits = Mapping[str, Callable[[ModelProto], object]]


def valid(zeros: float, prefer: Preference = "size") -> ModelProto:
    """One packed Conv: a bitmask at half zeros, gaps of 4 bits at 85 percent, steps when fast loading is preferred."""
    rng = np.random.default_rng(0)
    weights = rng.standard_normal(SHAPE).astype(np.float32)
    weights[rng.random(SHAPE) < zeros] = 0
    return pack(normalize(conv(weights)), prefer=prefer)[0]


def valid_blocks(block: Block, zeros: float, int8: bool = False) -> ModelProto:
    """One packed Conv of blocks, in float32, or in int8 behind a DequantizeLinear."""
    rng = np.random.default_rng(0)
    if int8:
        weights = in_blocks(rng.integers(1, 127, SHAPE).astype(np.int8), block, zeros, rng)
        return pack(normalize(quantized_conv(weights)))[0]
    return pack(normalize(conv(in_blocks(rng.standard_normal(SHAPE).astype(np.float32), block, zeros, rng))))[0]


def tensor(model: ModelProto, suffix: str) -> TensorProto:
    return next(one for one in model.graph.initializer if one.name == f"w.{suffix}")


def change(suffix: str, edit: Callable[[np.ndarray], np.ndarray]) -> Callable[[ModelProto], None]:
    def apply(model: ModelProto) -> None:
        one = tensor(model, suffix)
        one.CopyFrom(numpy_helper.from_array(edit(numpy_helper.to_array(one).copy()), one.name))

    return apply


def with_element(index: int, value: float) -> Callable[[np.ndarray], np.ndarray]:
    def edit(array: np.ndarray) -> np.ndarray:
        array[index] = value
        return array

    return edit


def shape_of(*shape: int) -> Callable[[ModelProto], None]:
    def apply(model: ModelProto) -> None:
        node = next(node for node in model.graph.node if node.domain == DOMAIN)
        node.attribute[0].CopyFrom(helper.make_attribute("shape", list(shape), attr_type=AttributeProto.INTS))

    return apply


def node_edit(edit: Callable[..., object]) -> Callable[[ModelProto], None]:
    return lambda model: edit(next(node for node in model.graph.node if node.domain == DOMAIN)) and None


def _external(model: ModelProto) -> None:
    one = tensor(model, "values")
    one.ClearField("raw_data")
    one.data_location = TensorProto.EXTERNAL
    one.external_data.add(key="location", value="../../etc/passwd")


def _nested_domain(model: ModelProto) -> None:
    function = model.functions[0]
    function.node.add(op_type=function.name, domain=DOMAIN, input=list(function.input), output=["again"])


def _metadata(text: str) -> Callable[[ModelProto], None]:
    return lambda model: model.metadata_props.add(key=METADATA_KEY, value=text) and None


def _metadata_twice(model: ModelProto) -> None:
    _metadata("{}")(model)
    _metadata("{}")(model)


MANY = 1 << 40

COMMON: dict[str, Callable[[ModelProto], None]] = {
    "value_nan": change("values", with_element(3, np.nan)),
    "value_infinite": change("values", with_element(3, np.inf)),
    "value_zero": change("values", with_element(3, 0.0)),
    "values_short": change("values", lambda a: a[:-1]),
    "values_long": change("values", lambda a: np.append(a, a[:1])),
    "values_empty": change("values", lambda a: a[:0]),
    "values_double": change("values", lambda a: a.astype(np.float64)),
    "values_matrix": change("values", lambda a: a[None]),
    "shape_smaller": shape_of(64, 64, 3, 2),
    "shape_larger_than_the_file": shape_of(1 << 14, 1 << 14, 3, 3),
    "shape_claims_memory": shape_of(1 << 14, 1 << 13, 1, 1),
    "shape_overflows": shape_of(MANY, MANY, MANY, 3),
    "shape_negative": shape_of(-64, -64, 3, 3),
    "shape_zero": shape_of(0, 64, 3, 3),
    "shape_empty": shape_of(),
    "shape_of_high_rank": shape_of(*SHAPE, *[1] * 40),
    "shape_missing": node_edit(lambda node: node.attribute.pop()),
    "shape_is_text": node_edit(lambda n: n.attribute[0].CopyFrom(helper.make_attribute("shape", "64"))),
    "operator_unknown": node_edit(lambda node: setattr(node, "op_type", "UnpackEverything")),
    "input_missing": node_edit(lambda node: node.input.pop()),
    "input_unknown": node_edit(lambda node: node.input.__setitem__(0, "nothing")),
    "input_not_constant": node_edit(lambda node: node.input.__setitem__(0, "x")),
    "input_twice": node_edit(lambda node: node.input.__setitem__(1, node.input[0])),
    "output_twice": node_edit(lambda node: node.output.append("more")),
    "function_missing": lambda model: model.functions.pop() and None,
    "function_calls_itself": _nested_domain,
    "data_in_another_file": _external,
    "opset_missing": lambda model: model.opset_import.pop(0) and None,
    "opset_too_old": lambda model: setattr(model.opset_import[0], "version", 12),
    "domain_not_imported": lambda model: model.opset_import.pop(1) and None,
    "domain_of_another_version": lambda model: setattr(model.opset_import[1], "version", 2),
    "file_version_too_old": lambda model: setattr(model, "ir_version", 7),
    "metadata_no_json": _metadata("{"),
    "metadata_unknown_key": _metadata('{"run":"rm"}'),
    "metadata_newer_version": _metadata('{"version":2}'),
    "metadata_deep": _metadata("[" * 100_000),
    "metadata_twice": _metadata_twice,
}
BITMASK: dict[str, Callable[[ModelProto], None]] = {
    "bits_short": change("bits", lambda a: a[:-1]),
    "bits_long": change("bits", lambda a: np.append(a, np.uint8(0))),
    "bits_all_set": change("bits", lambda a: np.full_like(a, 255)),
    "bits_none_set": change("bits", lambda a: np.zeros_like(a)),
    "bits_signed": change("bits", lambda a: a.view(np.int8)),
    "bits_one_flipped": change("bits", lambda a: np.concatenate([a[:1] ^ 1, a[1:]])),
}
GAPS: dict[str, Callable[[ModelProto], None]] = {
    "gaps_short": change("gaps", lambda a: a[:-1]),
    "gaps_only_escapes": change("gaps", lambda a: np.full_like(a, 255)),
    "gaps_all_zero": change("gaps", lambda a: np.zeros_like(a)),
    "gaps_trailing_escapes": change("gaps", lambda a: np.append(a, np.full(8, 255, np.uint8))),
    "gaps_beyond_the_end": change("gaps", lambda a: np.concatenate([np.full(4096, 255, np.uint8), a])),
    "gaps_wide": change("gaps", lambda a: a.astype(np.uint16)),
    "gaps_empty": change("gaps", lambda a: a[:0]),
}


STEPS: dict[str, Callable[[ModelProto], None]] = {
    "steps_short": change("steps", lambda a: a[:-1]),
    "steps_long": change("steps", lambda a: np.append(a, np.uint8(0))),
    "steps_longest": change("steps", lambda a: np.full_like(a, 255)),
    "steps_wide": change("steps", lambda a: a.astype(np.int16)),
    "steps_empty": change("steps", lambda a: a[:0]),
    "steps_beyond_the_end": change("steps", with_element(-1, 255)),
}


BLOCKS: dict[str, Callable[[ModelProto], None]] = {
    "block_zero": change("values", lambda a: np.concatenate([np.zeros_like(a[:8]), a[8:]])),
    "block_broken": change("values", lambda a: a[:-1]),
    "block_missing": change("values", lambda a: a[:-8]),
    "shape_not_of_whole_blocks": shape_of(4096, 9),
    "shape_of_one_dimension": shape_of(64 * 64 * 9),
}
INT8: dict[str, Callable[[ModelProto], None]] = {
    "values_float": change("values", lambda a: a.astype(np.float32)),
    "values_unsigned": change("values", lambda a: a.view(np.uint8)),
    "operator_of_floats": node_edit(lambda node: setattr(node, "op_type", node.op_type.removesuffix("Int8"))),
    "operator_of_other_blocks": node_edit(lambda node: setattr(node, "op_type", node.op_type.replace("2x4", "4x2"))),
}
FLOAT_ONLY = ("value_nan", "value_infinite", "value_zero")
"""Faults that integers cannot have, or that are none in a block."""


def valid_region(values: ValueType = "fp32") -> ModelProto:
    """One region of two packed convolutions with a bias, whose weights are stored as `values`."""
    rng = np.random.default_rng(0)
    weights = {"w": sparse(rng, SHAPE, 0.85), "v": sparse(rng, (32, 64, 1, 1), 0.85), "b": sparse(rng, (64,), 0.0)}
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "w", "b"], ["h"], "first"),
            helper.make_node("Relu", ["h"], ["r"], "relu"),
            helper.make_node("Conv", ["r", "v"], ["y"], "second"),
        ],
        "two",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 64, "h", "w_"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 32, "oh", "ow"])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    return build_regions(pack(normalize(model), values=values)[0], zeros_from(0.5))[0]


def valid_int8_region() -> ModelProto:
    """One region between bytes: two convolutions with int8 weights, the first with a bias."""
    rng = np.random.default_rng(0)
    scales = {name: np.full(channels, 0.01, np.float32) for name, channels in (("w", 64), ("v", 32))}
    tensors: dict[str, np.ndarray] = {
        "w": in_blocks(rng.integers(1, 127, SHAPE).astype(np.int8), Block(1, 4), 0.85, rng),
        "v": in_blocks(rng.integers(1, 127, (32, 64, 1, 1)).astype(np.int8), Block(1, 4), 0.5, rng),
        "b": rng.integers(-999, 999, 64).astype(np.int32),
        "w.scale": scales["w"],
        "v.scale": scales["v"],
        "b.scale": np.float32(0.02) * scales["w"],
        "scale": np.float32(0.02).reshape(()),
        "zero": np.uint8(128).reshape(()),
    }
    activation = ["scale", "zero"]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", *activation], ["x.q"]),
        helper.make_node("DequantizeLinear", ["x.q", *activation], ["x.dq"]),
        *(
            helper.make_node("DequantizeLinear", [name, f"{name}.scale"], [f"{name}.dq"], axis=0)
            for name in ("w", "b", "v")
        ),
        helper.make_node("Conv", ["x.dq", "w.dq", "b.dq"], ["h"], "first"),
        helper.make_node("QuantizeLinear", ["h", *activation], ["h.q"]),
        helper.make_node("DequantizeLinear", ["h.q", *activation], ["h.dq"]),
        helper.make_node("Conv", ["h.dq", "v.dq"], ["z"], "second"),
        helper.make_node("QuantizeLinear", ["z", *activation], ["z.q"]),
        helper.make_node("DequantizeLinear", ["z.q", *activation], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "bytes",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 64, "h", "w_"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 32, "oh", "ow"])],
        [numpy_helper.from_array(value, name) for name, value in tensors.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    return build_regions(pack(normalize(model))[0], zeros_from(0.3))[0]


def named(name: str, edit: Callable[[np.ndarray], np.ndarray]) -> Callable[[ModelProto], None]:
    """Change the initializer of this name."""

    def apply(model: ModelProto) -> None:
        one = next(tensor for tensor in model.graph.initializer if tensor.name == name)
        one.CopyFrom(numpy_helper.from_array(edit(numpy_helper.to_array(one).copy()), name))

    return apply


def program_edit(old: str, new: str) -> Callable[[ModelProto], None]:
    def apply(model: ModelProto) -> None:
        attribute = model.graph.node[0].attribute[0]
        assert old.encode() in attribute.s
        attribute.s = attribute.s.replace(old.encode(), new.encode(), 1)

    return apply


def _body(model: ModelProto) -> FunctionProto:
    return next(function for function in model.functions if function.name == "Region0")


def body_edit(edit: Callable[[FunctionProto], object]) -> Callable[[ModelProto], None]:
    return lambda model: edit(_body(model)) and None


def _second_function(model: ModelProto) -> None:
    model.functions.add().CopyFrom(_body(model))


def _unused_function(model: ModelProto) -> None:
    copy = model.functions.add()
    copy.CopyFrom(_body(model))
    copy.name = "Region5"


def _without_function(model: ModelProto) -> None:
    model.functions.remove(_body(model))


def _other_coding(model: ModelProto) -> None:
    node = next(node for node in _body(model).node if node.domain == DOMAIN)
    node.attribute[0].ints[0] += 1


def _same_node_twice(model: ModelProto) -> None:
    node = model.graph.node.add()
    node.CopyFrom(model.graph.node[0])
    node.output[0] = "again"


def _region_in_a_region(model: ModelProto) -> None:
    body = _body(model)
    body.node.add(op_type="Region1", domain=DOMAIN, input=list(body.input), output=["again"])


def _caller_may_replace(model: ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info("b", TensorProto.FLOAT, [64]))


REGION: dict[str, Callable[[ModelProto], None]] = {
    "program_of_another_version": program_edit("lth_region 1", "lth_region 2"),
    "program_empty": lambda m: setattr(m.graph.node[0].attribute[0], "s", b"") and None,
    "program_zeros": lambda m: setattr(m.graph.node[0].attribute[0], "s", b"\0" * 4096) and None,
    "program_not_ascii": lambda m: setattr(m.graph.node[0].attribute[0], "s", "lth_region \u00b9\n".encode()) and None,
    "program_long": lambda m: setattr(m.graph.node[0].attribute[0], "s", b"inputs 1\n" * 200_000) and None,
    "program_spaces": program_edit("conv t0", "conv  t0"),
    "program_reads_ahead": program_edit("conv t0", "conv t2"),
    "program_channels": program_edit("channels=64", "channels=63"),
    "program_kernel": program_edit("kernel=3,3", "kernel=3,2"),
    "program_pads": program_edit("pads=0,0,0,0", "pads=3,0,0,0"),
    "program_stride": program_edit("stride=1,1", "stride=0,1"),
    "program_groups": program_edit("groups=1", "groups=7"),
    "program_weight_missing": program_edit("w1 ", "w7 "),
    "program_output_missing": program_edit("output t2\n", ""),
    "program_dims": program_edit("64,64,3,3", "64,64,3,9"),
    "program_dims_overflow": program_edit("64,64,3,3", "999999999999999999,64,3,3"),
    "program_value_type": program_edit("f32", "f16"),
    "program_bias_longer": program_edit("f32 64 at", "f32 65 at"),
    "attribute_missing": lambda m: m.graph.node[0].attribute.pop() and None,
    "attribute_more": lambda m: m.graph.node[0].attribute.append(helper.make_attribute("more", 1)),
    "attribute_integer": lambda m: m.graph.node[0].attribute[0].CopyFrom(helper.make_attribute("program", 1)),
    "operator_out_of_range": lambda m: setattr(m.graph.node[0], "op_type", "Region64"),
    "operator_not_decimal": lambda m: setattr(m.graph.node[0], "op_type", "Region00"),
    "input_dropped": lambda m: m.graph.node[0].input.pop() and None,
    "input_left_out": lambda m: m.graph.node[0].input.__setitem__(2, ""),
    "input_twice": lambda m: m.graph.node[0].input.__setitem__(1, m.graph.node[0].input[2]),
    "input_not_constant": lambda m: m.graph.node[0].input.__setitem__(1, "x"),
    "input_replaceable": _caller_may_replace,
    "output_more": lambda m: m.graph.node[0].output.append("more"),
    "node_twice": _same_node_twice,
    "values_nan": change("values", with_element(3, np.nan)),
    "values_short": change("values", lambda a: a[:-1]),
    "gaps_beyond_the_end": change("gaps", lambda a: np.concatenate([np.full(4096, 255, np.uint8), a])),
    "function_missing": _without_function,
    "function_twice": _second_function,
    "function_unused": _unused_function,
    "function_decodes_otherwise": _other_coding,
    "function_holds_a_region": _region_in_a_region,
    "function_of_another_domain": body_edit(lambda f: f.node.add(op_type="Run", domain="com.other", output=["q"])),
    "function_input_missing": body_edit(lambda f: f.input.pop()),
    "function_attribute_missing": body_edit(lambda f: f.attribute.pop()),
    "unpacking_missing": lambda m: m.functions.remove(next(f for f in m.functions if f.name.startswith("Unpack"))),
    "domain_of_another_version": lambda model: setattr(model.opset_import[1], "version", 2),
}


BF16_REGION: dict[str, Callable[[ModelProto], None]] = {
    "program_of_an_older_version": program_edit("lth_region 6", "lth_region 5"),
    "program_value_type": program_edit("bf16", "f16"),
    "program_groups": program_edit("groups=1", "groups=2"),
    "program_bias_for_weight": program_edit("w0 w1", "w1 w0"),
    "values_nan": change("values", with_element(3, np.nan)),
    "values_infinite": change("values", with_element(3, np.inf)),
    "values_short": change("values", lambda a: a[:-1]),
    "values_half": change("values", lambda a: a.astype(np.float16)),
    "values_integer": change("values", lambda a: a.view(np.uint16)),
    "bias_half": named("b", lambda a: a.astype(np.float16)),
}
INT8_REGION: dict[str, Callable[[ModelProto], None]] = {
    "scale_zero": named("w.scale", with_element(3, 0)),
    "scale_negative": named("w.scale", with_element(3, -0.01)),
    "scale_nan": named("w.scale", with_element(3, np.nan)),
    "scale_huge": named("w.scale", with_element(3, 1e30)),
    "scales_short": named("w.scale", lambda a: a[:-1]),
    "scales_half": named("w.scale", lambda a: a.astype(np.float16)),
    "bias_huge": named("b", with_element(3, -(2**31) + 1)),
    "bias_float": named("b", lambda a: a.astype(np.float32)),
    "weight_least": change("values", with_element(0, -128)),
    "weight_float": change("values", lambda a: a.astype(np.float32)),
    "program_scale_zero": program_edit("u8:0.0199999996:128", "u8:0:128"),
    "program_scale_negative": program_edit("u8:0.0199999996:128", "u8:-1:128"),
    "program_scale_nan": program_edit("u8:0.0199999996:128", "u8:nan:128"),
    "program_scale_huge": program_edit("u8:0.0199999996:128", "u8:1e+30:128"),
    "program_scale_written_longer": program_edit("u8:0.0199999996:128", "u8:0.01999999960:128"),
    "program_zero_too_large": program_edit("u8:0.0199999996:128", "u8:0.0199999996:256"),
    "program_reads_floats": program_edit("qconv t1", "qconv t0"),
    "program_returns_bytes": program_edit("output t4", "output t3"),
    "program_bias_for_scales": program_edit("w0 w1 w2", "w0 w2 w1"),
    "program_other_blocks": program_edit(":1x4 ", ":2x4 "),
}


def valid_roi_align() -> ModelProto:
    """A RoiAlign under our name."""
    return fast_roi_align(roi_align_models.model({**roi_align_models.TORCHVISION, **roi_align_models.BINS}))


def _said(name: str, value: object) -> Callable[[ModelProto], None]:
    """Gives the RoiAlign another attribute."""

    def apply(model: ModelProto) -> None:
        (said,) = (one for one in model.graph.node[-1].attribute if one.name == name)
        said.CopyFrom(helper.make_attribute(name, value))

    return apply


ROI_ALIGN: dict[str, Callable[[ModelProto], None]] = {
    "function_missing": lambda m: m.ClearField("functions"),
    "function_twice": lambda m: m.functions.add().CopyFrom(m.functions[0]),
    "function_computes_otherwise": lambda m: setattr(m.functions[0].node[0].attribute[0], "ref_attr_name", "mode"),
    "function_of_another_opset": lambda m: setattr(m.functions[0].opset_import[0], "version", 16),
    "bins_too_many": _said("output_width", 1 << 40),
    "bins_negative": _said("output_height", -1),
    "samples_negative": _said("sampling_ratio", -1),
    "scale_nan": _said("spatial_scale", float("nan")),
    "scale_negative": _said("spatial_scale", -0.25),
    "mode_max": _said("mode", "max"),
    "mode_number": _said("mode", 1),
    "bins_text": _said("output_width", "seven"),
    "bins_list": _said("output_height", [7, 7]),
    "samples_fraction": _said("sampling_ratio", 0.5),
    "scale_integer": _said("spatial_scale", 1),
    "attribute_missing": lambda m: m.graph.node[-1].attribute.pop(),
}


def corpus() -> dict[str, bytes]:
    """File name to content: every one must be refused."""
    files: dict[str, bytes] = {}

    def add(prefix: str, sound: ModelProto, edits: Edits, without: Collection[str] = ()) -> None:
        for name in (name for name in edits if name not in without):
            model = ModelProto()
            model.CopyFrom(sound)
            edits[name](model)
            files[f"{prefix}_{name}.onnx"] = model.SerializeToString(deterministic=True)

    bitmask = valid(0.5)
    add("bitmask", bitmask, {**COMMON, **BITMASK})
    add("gaps4", valid(0.85), {**COMMON, **GAPS})
    add("steps8", valid(0.85, "load"), {**COMMON, **STEPS})
    add("blocks", valid_blocks(Block(1, 4), 0.85), {**COMMON, **STEPS, **BLOCKS}, {"value_zero"})
    add(
        "int8",
        valid_blocks(Block(2, 4), 0.5, int8=True),
        {**COMMON, **BITMASK, **BLOCKS, **INT8},
        FLOAT_ONLY,
    )
    add("region", valid_region(), REGION)
    add("bf16_region", valid_region("bf16"), BF16_REGION)
    add("int8_region", valid_int8_region(), INT8_REGION)
    add("roi_align", valid_roi_align(), ROI_ALIGN)
    sound = bitmask.SerializeToString(deterministic=True)
    files["empty.onnx"] = b""
    files["noise.onnx"] = np.random.default_rng(0).bytes(4096)
    files["text.onnx"] = b"version https://example.org/spec/v1\n"
    for share in (1, 5, 9):
        files[f"cut_at_{share}0_percent.onnx"] = sound[: len(sound) * share // 10]
    return files


def write_corpus(folder: Path) -> list[Path]:
    """Write all files into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, content in corpus().items():
        (folder / name).write_bytes(content)
        paths.append(folder / name)
    return paths


if __name__ == "__main__":
    print(f"{len(write_corpus(Path(sys.argv[1])))} files")
