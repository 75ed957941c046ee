"""Functions between quantized tensors by table: the bits of the same functions computed in float32, for every byte."""

from pathlib import Path

import numpy as np
import pytest

from lth_deploy.kernels.program.activations import ACTIVATIONS
from lth_deploy.kernels.program.text import text
from tests.kernels.byte_table_programs import CASES, table_node
from tests.kernels.held import hold
from tests.kernels.region_models import model_of, open_model, run_model


@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_a_table_gives_the_bits_of_its_function(kernels: Path, kind: str) -> None:
    node = table_node(kind)
    found = run_model(open_model(model_of(node.program, []), kernels), node.inputs)
    for number in range(CASES):
        by_table, by_floats = found[2 * number : 2 * number + 2]
        assert np.array_equal(by_table, by_floats), f"grid {number} of {text(node.program)}"
    assert any(len(np.unique(by_table)) > 20 for by_table in found[::2])
    hold(node.program, [], node.inputs, kernels)
