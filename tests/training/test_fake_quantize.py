"""Rounding as ONNX Runtime rounds, and gradients that go straight through it."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch comes with the extra 'train'")

from lth_deploy.training.fake_quantize import (  # noqa: E402
    activation_grids,
    quantize_activation,
    quantize_bias,
    quantize_weight,
    weight_scales,
)


def grid(low: float, high: float) -> tuple[float, int]:
    scales, zeros = activation_grids(torch.tensor([[low, high]]))
    return float(scales[0]), int(zeros[0])


@pytest.mark.parametrize(
    ("low", "high", "scale", "zero"),
    [
        (-1.0, 1.55, 0.01, 100),
        (0.0, 2.55, 0.01, 0),
        (1.0, 2.55, 0.01, 0),  # zero is on the grid for padding
        (-2.55, -1.0, 0.01, 255),
        (0.0, 0.0, 1.0, 0),
    ],
)
def test_grids_hold_zero_exactly(low: float, high: float, scale: float, zero: int) -> None:
    assert grid(low, high) == (pytest.approx(scale, rel=1e-6), zero)


def test_activations_are_rounded_as_onnx_runtime_rounds_them() -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    from onnx import TensorProto, helper

    scale, zero = grid(-0.7, 3.1)
    values = np.random.default_rng(0).normal(0.5, 1.5, 20000).astype(np.float32)
    # Half steps are where implementations differ.
    values[:300] = (np.arange(300) - 40.5).astype(np.float32) * np.float32(scale)
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "grid",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [values.size])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [values.size])],
        [
            helper.make_tensor("s", TensorProto.FLOAT, [], [scale]),
            helper.make_tensor("z", TensorProto.UINT8, [], [zero]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (expected,) = session.run(None, {"x": values})
    got = quantize_activation(torch.from_numpy(values), torch.tensor(scale), torch.tensor(float(zero)))
    np.testing.assert_array_equal(got.numpy(), expected)


def test_clipped_activations_get_no_gradient() -> None:
    values = torch.tensor([-0.004, -0.006, 0.3, 2.55, 2.554, 2.556, 9.0], requires_grad=True)
    quantize_activation(values, torch.tensor(0.01), torch.tensor(0.0)).sum().backward()
    assert values.grad is not None
    # -0.004 rounds to a value of the grid, -0.006 to one below it.
    assert values.grad.tolist() == [1, 0, 1, 1, 1, 0, 0]


def test_weights_keep_their_largest_and_their_zeros() -> None:
    weight = torch.randn(5, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    weight[1] *= 1e-3
    weight[2] = 0
    weight[weight.abs() < 0.4e-3] = 0
    weight.requires_grad_(True)
    scales = weight_scales(weight)
    rounded = quantize_weight(weight, scales)
    steps = rounded / scales[:, None, None, None]
    assert steps.abs().amax((1, 2, 3)).tolist() == pytest.approx([127, 127, 0, 127, 127])
    torch.testing.assert_close(steps, steps.round(), atol=1e-4, rtol=0)
    assert not rounded[weight == 0].any()
    assert ((rounded - weight).abs() <= 0.5001 * scales[:, None, None, None]).all()
    (rounded * 3).sum().backward()
    assert weight.grad is not None
    assert (weight.grad == 3).all()


def test_a_transposed_layer_has_its_outputs_second() -> None:
    weight = torch.randn(5, 4, 2, 2, generator=torch.Generator().manual_seed(0))
    turned = weight.transpose(0, 1)
    scales = weight_scales(weight, axis=1)
    assert torch.equal(scales, weight_scales(turned))
    assert torch.equal(quantize_weight(weight, scales, axis=1).transpose(0, 1), quantize_weight(turned, scales))


def test_biases_are_whole_units() -> None:
    bias = torch.tensor([0.26, -1.0, 0.0], requires_grad=True)
    assert quantize_bias(bias, torch.tensor([0.1, 0.3, 0.2])).tolist() == pytest.approx([0.3, -0.9, 0.0])


def test_channels_that_pruning_emptied_keep_their_bias() -> None:
    weight = torch.zeros(2, 3)
    weight[1] = 0.5
    bias = torch.tensor([0.123456, 0.123456])
    got = quantize_bias(bias, 0.05 * weight_scales(weight))
    torch.testing.assert_close(got[0], bias[0])
    assert (got[1] - bias[1]).abs() <= 0.05 * 0.5 / 127


def test_what_is_not_a_number_shows() -> None:
    """A rounding that hides it would train on with broken weights."""
    one = torch.tensor(1.0)
    assert quantize_activation(torch.tensor([float("nan")]), one, one).isnan().all()
    assert (
        quantize_weight(torch.tensor([[float("nan"), 1.0]]), weight_scales(torch.tensor([[float("nan"), 1.0]])))
        .isnan()
        .all()
    )
