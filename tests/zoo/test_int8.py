"""What of a real DETR becomes int8: its backbone and encoder, and nothing of its decoder."""

import os
from pathlib import Path

import pytest

from benchmarks.zoo_models import zoo_file
from lth_deploy.compiler.artifact.load import load_model
from lth_deploy.compiler.importing.imported import import_model
from lth_deploy.compiler.quantization.plan import Plan, PlannedModel
from lth_deploy.compiler.quantization.quantize_ticket import decoder_weights
from lth_deploy.compiler.quantization.trunk import name_nodes

pytestmark = pytest.mark.slow

DECODER_OF = {"rtdetrv2_r18": "/model/decoder/", "dfine_n": "/model/decoder/"}
"""How the exporter names the nodes of the decoder; its projections of the maps are convolutions."""


@pytest.mark.parametrize("name", DECODER_OF)
def test_the_decoder_of_a_detr_stays_float_and_all_before_it_is_int8(name: str, tmp_path: Path) -> None:
    if not os.environ.get("CI"):
        pytest.importorskip("libreyolo")
    imported = import_model(load_model(zoo_file(name, tmp_path))).normalized
    model = imported.edited(lambda copy: name_nodes(copy.graph))
    kept = decoder_weights(model.proto)
    int8 = {node.name for node in PlannedModel(model).parts(Plan(kept)).trunk.layers}
    weights = {tensor.name for tensor in model.proto.graph.initializer}
    layers = [node for node in model.proto.graph.node if node.op_type in ("Conv", "Gemm", "MatMul")]
    layers = [node for node in layers if node.input[1] in weights]
    inside = {node.name for node in layers if node.op_type != "Conv" and node.name.startswith(DECODER_OF[name])}
    assert len(inside) > 20
    assert int8 == {node.name for node in layers} - inside
