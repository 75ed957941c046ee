"""Last layers and transformer decoders are found by dataflow: names and positions in the file say nothing."""

import numpy as np
from onnx import GraphProto, NodeProto, helper, numpy_helper

from lth_deploy.compiler.model.last_layers import last_layers
from lth_deploy.compiler.quantization.transformer_decoder import transformer_decoder

WEIGHTED = ("Conv", "Gemm", "MatMul")


def graph(nodes: list[NodeProto], constants: tuple[str, ...]) -> GraphProto:
    tensors = [numpy_helper.from_array(np.ones((2, 2), np.float32), name) for name in constants]
    shown = [helper.make_tensor_value_info(nodes[-1].output[0], 1, None)]
    return helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", 1, None)], shown, tensors)


def layers_of(made: GraphProto) -> set[str]:
    constants = {tensor.name for tensor in made.initializer}
    return {node.output[0] for node in made.node if node.op_type in WEIGHTED and node.input[1] in constants}


def test_predictors_are_last_also_where_their_boxes_choose_what_a_second_stage_sees() -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["features"]),
        helper.make_node("Conv", ["features", "w"], ["scores"]),
        helper.make_node("Conv", ["features", "w"], ["deltas"]),
        helper.make_node("TopK", ["scores", "k"], ["best", "places"]),
        helper.make_node("Gather", ["deltas", "places"], ["boxes"]),
        helper.make_node("RoiAlign", ["features", "boxes", "batch"], ["crops"]),
        helper.make_node("Gemm", ["crops", "w"], ["hidden"]),
        helper.make_node("Gemm", ["hidden", "w"], ["logits"]),
    ]
    made = graph(nodes, ("w",))
    assert [node.output[0] for node in last_layers(made, layers_of(made))] == ["scores", "deltas", "logits"]


def test_a_layer_behind_a_layer_is_not_last_whatever_stands_between() -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"]),
        helper.make_node("Sigmoid", ["a"], ["gate"]),
        helper.make_node("Mul", ["x", "gate"], ["b"]),
        helper.make_node("Conv", ["b", "w"], ["c"]),
        helper.make_node("Exp", ["c"], ["y"]),
    ]
    made = graph(nodes, ("w",))
    assert [node.output[0] for node in last_layers(made, layers_of(made))] == ["c"]


def attention(source: str, prefix: str) -> list[NodeProto]:
    """Queries and keys by weights, their product, and a projection of it."""
    return [
        helper.make_node("MatMul", [source, "w"], [f"{prefix}.q"]),
        helper.make_node("MatMul", [source, "w"], [f"{prefix}.k"]),
        helper.make_node("MatMul", [f"{prefix}.q", f"{prefix}.k"], [f"{prefix}.scores"]),
        helper.make_node("Softmax", [f"{prefix}.scores"], [f"{prefix}.shares"]),
        helper.make_node("MatMul", [f"{prefix}.shares", source], [f"{prefix}.mixed"]),
        helper.make_node("Gemm", [f"{prefix}.mixed", "w"], [f"{prefix}.out"]),
    ]


def test_a_decoder_is_attention_that_no_convolution_follows() -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"]),
        *attention("a", "encoder"),
        helper.make_node("Conv", ["encoder.out", "w"], ["b"]),
        *attention("b", "decoder"),
        helper.make_node("Gemm", ["decoder.out", "w"], ["y"]),
    ]
    made = graph(nodes, ("w",))
    found = transformer_decoder(made, layers_of(made))
    assert found == {"decoder.q", "decoder.k", "decoder.out", "y"}


def test_scores_that_choose_the_queries_of_a_decoder_belong_to_it() -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"]),
        helper.make_node("MatMul", ["a", "w"], ["memory"]),
        helper.make_node("MatMul", ["memory", "w"], ["scores"]),
        helper.make_node("TopK", ["scores", "k"], ["best", "places"]),
        helper.make_node("Gather", ["memory", "places"], ["queries"]),
        *attention("queries", "decoder"),
    ]
    made = graph(nodes, ("w",))
    found = transformer_decoder(made, layers_of(made))
    assert found == {"memory", "scores", "decoder.q", "decoder.k", "decoder.out"}


def test_a_layer_that_reads_the_largest_scores_of_a_decoder_belongs_to_it() -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"]),
        *attention("a", "decoder"),
        helper.make_node("TopK", ["decoder.out", "k"], ["best", "places"]),
        helper.make_node("MatMul", ["best", "w"], ["quality"]),
    ]
    made = graph(nodes, ("w",))
    assert "quality" in transformer_decoder(made, layers_of(made))


def test_without_attention_matrix_products_are_no_decoder() -> None:
    nodes = [helper.make_node("Conv", ["x", "w"], ["a"]), helper.make_node("Gemm", ["a", "w"], ["y"])]
    made = graph(nodes, ("w",))
    assert transformer_decoder(made, layers_of(made)) == set()
