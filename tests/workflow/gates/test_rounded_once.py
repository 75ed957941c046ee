"""Where INT8 differs from a stock runtime: at sums that the kernels form before they round, and nowhere else."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from lth_deploy.arrays import Array, Arrays
from lth_deploy.compiler.artifact.extract_region import ExtractedRegion, extract_regions, with_outputs
from lth_deploy.compiler.artifact.pack import pack
from lth_deploy.compiler.importing.imported import normalize
from lth_deploy.compiler.model.save import save_model
from lth_deploy.compiler.quantization.ort_static import quantize_dense
from lth_deploy.compiler.regions.codegen.build import build_regions, zeros_from
from lth_deploy.compiler.regions.codegen.probed_region import probed
from lth_deploy.compiler.regions.codegen.traced_function import Traced, trace
from lth_deploy.errors import MissingLibraryError
from lth_deploy.kernels import ops_library
from lth_deploy.kernels.program.rules import check
from lth_deploy.runtimes import RUNTIMES
from lth_deploy.structures import Block
from tests.compiler.onnx_models import in_blocks

CHANNELS, BLOCKS, SHAPE = 16, 3, (1, 16, 14, 18)


def network() -> ModelProto:
    """Blocks in which a 3x3 and a 1x1 layer of one tensor are added, with SiLU (RepConv), and a layer behind them."""
    rng = np.random.default_rng(0)
    nodes, tensors, x = [], dict[str, np.ndarray](), "x"

    def layer(source: str, made: str, size: int) -> None:
        weight = rng.standard_normal((CHANNELS, CHANNELS, size, size)).astype(np.float32) * np.float32(0.3 / size)
        tensors[f"{made}.w"] = in_blocks(weight, Block(1, 4), 0.6, rng)
        tensors[f"{made}.b"] = rng.standard_normal(CHANNELS).astype(np.float32)
        inputs, pads = [source, f"{made}.w", f"{made}.b"], [size // 2] * 4
        nodes.append(helper.make_node("Conv", inputs, [made], name=made, pads=pads))

    for block in range(BLOCKS):
        layer(x, f"wide{block}", 3)
        layer(x, f"narrow{block}", 1)
        nodes.append(helper.make_node("Add", [f"wide{block}", f"narrow{block}"], [f"sum{block}"]))
        nodes.append(helper.make_node("Sigmoid", [f"sum{block}"], [f"gate{block}"]))
        nodes.append(helper.make_node("Mul", [f"sum{block}", f"gate{block}"], [f"made{block}"]))
        x = f"made{block}"
    layer(x, "y", 1)
    graph = helper.make_graph(
        nodes,
        "sums",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, SHAPE)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, SHAPE)],
        [numpy_helper.from_array(value, name) for name, value in tensors.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def image(seed: int) -> Arrays:
    return {"x": np.random.default_rng(seed).standard_normal(SHAPE).astype(np.float32)}


@pytest.fixture
def region(tmp_path: Path) -> ExtractedRegion:
    try:
        ops_library()
    except MissingLibraryError as error:
        pytest.skip(str(error))
    pytest.importorskip("sympy", reason="the int8 extra is not installed")
    dense, quantized = tmp_path / "dense.onnx", tmp_path / "int8.onnx"
    onnx.save(network(), str(dense))
    # With weights of 7 bits a stock runtime saturates on no processor.
    quantize_dense(dense, [image(1), image(2)], quantized, reduce_range=True)
    made = build_regions(pack(normalize(onnx.load(str(quantized))))[0], zeros_from(0.3))[0]
    (found,) = extract_regions(made)
    return found


def of_kernels(region: ExtractedRegion, traced: Traced, folder: Path) -> Arrays:
    """The bytes that the kernels make, by the name of the tensor in the function."""
    assert region.program is not None
    made, found = check(region.program), dict[str, Array]()
    for model, names in probed(region):
        save_model(model, folder / "probed.onnx")
        values = RUNTIMES.get("lth_deploy").load(folder / "probed.onnx", threads=1).run(image(0))
        for number, name in names.items():
            grid, tensor = made[number].quantized, traced.fused.tensors[number]
            if grid is not None and tensor is not None:
                steps = np.rint(values[name].astype(np.float64) / float(np.float32(grid.scale)))
                found[tensor] = (steps + grid.zero).astype(np.uint8)
    return found


def of_stock(traced: Traced, wanted: list[str], given: Arrays, folder: Path) -> Arrays:
    """The bytes that a stock runtime makes of the function; tensors that are `given` are taken instead of computed."""
    model = ModelProto()
    model.CopyFrom(traced.model)
    own = {name: f"{name}.own" for name in given}
    for node in model.graph.node:
        node.output[:] = [own.get(name, name) for name in node.output]
    for name, value in given.items():
        model.graph.input.append(helper.make_tensor_value_info(name, TensorProto.UINT8, value.shape))
    names = [own.get(name, name) for name in wanted]
    save_model(with_outputs(model, names, dict.fromkeys(names, TensorProto.UINT8)), folder / "function.onnx")
    values = RUNTIMES.get("onnxruntime").load(folder / "function.onnx", threads=1).run({**image(0), **given})
    return {name: values[own.get(name, name)] for name in wanted}


def test_bytes_differ_by_a_step_at_the_first_sum_and_are_the_stock_runtimes_elsewhere(
    region: ExtractedRegion, tmp_path: Path
) -> None:
    traced = trace(region, {"x": SHAPE})
    kernels = of_kernels(region, traced, tmp_path)
    sums = [name for name in kernels if name.startswith("made")]
    assert len(sums) == BLOCKS
    names = list(kernels)
    alone = of_stock(traced, names, {}, tmp_path)
    first = names.index(sums[0])
    assert first >= 2
    assert all(np.array_equal(kernels[name], alone[name]) for name in names[:first])
    off = np.abs(kernels[sums[0]].astype(int) - alone[sums[0]])
    assert off.max() == 1
    assert not np.array_equal(kernels[names[-2]], alone[names[-2]])
    # Continued from the sums of the kernels, the stock runtime makes every other byte of theirs.
    continued = of_stock(traced, names, {name: kernels[name] for name in sums}, tmp_path)
    for name in names:
        if name in sums:
            assert np.abs(kernels[name].astype(int) - continued[name]).max() == 1
        else:
            assert np.array_equal(kernels[name], continued[name]), name
