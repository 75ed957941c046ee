"""Zeros in blocks of 16 and 32 outputs: the coding of their blocks, in regions that a stock runtime computes."""

import numpy as np
import pytest
from onnx import ModelProto, numpy_helper

from lth_deploy.compiler.artifact.check_regions import program_of
from lth_deploy.compiler.artifact.inline_regions import is_region
from lth_deploy.formats.blocks import has_whole_blocks
from lth_deploy.kernels.program.text import text
from lth_deploy.structures import BLOCKS, Block
from tests.compiler.onnx_models import in_blocks
from tests.compiler.regions.quantized_graphs import QuantizedGraph
from tests.compiler.regions.region_graphs import Graph, assert_same, noise, regions_of


def with_blocks(model: ModelProto, block: Block) -> ModelProto:
    """The model with whole blocks of zeros in every weight that is made of them."""
    rng = np.random.default_rng(0)
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if tensor.name.endswith(".weight") and has_whole_blocks(values.shape, block):
            filled = np.where(values == 0, values.dtype.type(1), values)
            tensor.CopyFrom(numpy_helper.from_array(in_blocks(filled, block, 0.8, rng), tensor.name))
    return model


def codings(built: ModelProto) -> list[str]:
    """The lines of weights with more than one dimension, of the only region."""
    (node,) = [node for node in built.graph.node if is_region(node)]
    lines = text(program_of(node)).splitlines()
    assert lines[0] == "lth_region 5"
    return [line.split()[1] for line in lines if line.startswith("weight ") and "," in line.split()[3]]


@pytest.mark.parametrize("structure", ["16x4", "32x4"])
@pytest.mark.parametrize("quantized", [False, True])
def test_layers_have_the_coding_of_their_blocks_and_others_another(structure: str, quantized: bool) -> None:
    g = QuantizedGraph() if quantized else Graph()
    if isinstance(g, QuantizedGraph):
        first = g.qconv(g.bytes_of("x"), "a", (16, 64), scale=0.02, zero=0)
        last = g.qconv(first, "b", (64, 32), scale=0.05, zero=128)
        last = g.qconv(last, "c", (32, 8), 1, scale=0.04, zero=90)
    else:
        g.conv("x", "a", (16, 64), zeros=0.0)
        g.conv("a", "b", (64, 32), zeros=0.0)
        last = g.conv("b", "c", (32, 8), 1)
    model = with_blocks(g.model({"x": ("n", 16, "h", "w")}, [last]), BLOCKS[structure])
    packed, built, plan = regions_of(model, least=0.3)
    assert len(plan.regions) == 1
    a, b, c = codings(built)
    assert a.endswith(f":{structure}")
    assert b.endswith(f":{structure}")
    assert not c.endswith(f":{structure}"), "8 outputs are no whole number of blocks"
    assert_same(packed, built, {"x": noise(2, 16, 9, 11)})
