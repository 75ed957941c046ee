"""Multiplications are those of the definition, counted where the sizes are known."""

import numpy as np
import pytest

from lth_deploy.compiler.artifact.pack import pack
from lth_deploy.compiler.artifact.weight_layers import weight_layers
from lth_deploy.compiler.importing.imported import normalize
from lth_deploy.compiler.planning.mac_count import count_macs, positions, uses
from lth_deploy.errors import ArtifactError
from tests.compiler.onnx_models import detector, image

EXPECTED = {
    "stem.weight": 12 * 10,
    "depthwise.weight": 12 * 10,
    "shared.weight": 2 * 6 * 5,  # used twice on maps of 6 x 5
    "up.weight": 6 * 5,  # once for each input position
    "linear.weight": 1,
    "gemm.weight": 1,
}


def test_positions_follow_the_sizes() -> None:
    assert positions(normalize(detector()), image()) == EXPECTED
    doubled = positions(normalize(detector()), image(shape=(1, 3, 24, 20)))
    assert doubled["stem.weight"] == 4 * EXPECTED["stem.weight"]
    assert doubled["gemm.weight"] == 1


def test_batches_are_the_most_planes_that_one_node_takes() -> None:
    assert set(uses(normalize(detector()), image()).batches.values()) == {1}
    model = detector()
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "n"
    two = uses(normalize(model), image(shape=(2, 3, 12, 10)))
    assert two.batches == dict.fromkeys(EXPECTED, 2)
    assert two.positions == {name: 2 * times for name, times in EXPECTED.items()}


def test_packed_and_dense_models_count_the_same() -> None:
    packed, _ = pack(normalize(detector(0.9)))
    assert positions(normalize(packed), image()) == EXPECTED


def test_zero_macs_weigh_layers_by_their_positions() -> None:
    layers = weight_layers(detector(0.5))
    macs = count_macs(layers, EXPECTED)
    assert macs.total == sum(layer.elements * EXPECTED[layer.name] for layer in layers)
    assert macs.zero_share == pytest.approx(0.5, abs=0.05)
    assert count_macs(layers, {}).zero_share == 0.0


def test_feeds_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ArtifactError, match="does not run"):
        positions(normalize(detector()), {"image": np.zeros((1, 4, 8, 8), np.float32)})
