from typing import Any

import pytest
from torch import nn

from lth_deploy.detectors.groups import final_predictors, layer_groups, prunable_modules, shortcuts, stem
from tests.tiny_detectors import CLASSES, FAMILIES, KEYPOINTS, batch, tiny_detector, torch

PARTS = {
    "faster_rcnn": {"backbone", "fpn", "rpn", "box_head", "predictor"},
    "faster_rcnn/c4": {"backbone", "rpn", "box_head", "predictor"},
    "mask_rcnn": {"backbone", "fpn", "rpn", "box_head", "mask_head", "predictor"},
    "keypoint_rcnn": {"backbone", "fpn", "rpn", "box_head", "keypoint_head", "predictor"},
    "retinanet": {"backbone", "fpn", "dense_head", "predictor"},
    "fcos": {"backbone", "fpn", "dense_head", "predictor"},
    "ssdlite": {"backbone", "dense_head", "predictor"},
}


@pytest.mark.parametrize("name", FAMILIES)
def test_every_layer_has_a_part_and_every_part_a_layer(name: str) -> None:
    model = tiny_detector(name)
    found = layer_groups(model)
    assert list(found) == list(prunable_modules(model))
    assert set(found.values()) == PARTS[name]


@pytest.mark.parametrize("name", FAMILIES)
def test_prunable_layers_hold_every_weight_of_two_or_more_axes(name: str) -> None:
    model = tiny_detector(name)
    weights = {f"{layer}.weight" for layer in prunable_modules(model)}
    assert weights == {key for key, value in model.named_parameters() if value.dim() >= 2}


@pytest.mark.parametrize("name", FAMILIES)
def test_final_predictors_are_the_layers_that_no_learned_layer_follows(name: str) -> None:
    model = tiny_detector(name)
    inputs: list[torch.Tensor] = []
    outputs: dict[str, list[torch.Tensor]] = {}
    for layer, module in prunable_modules(model).items():
        module.register_forward_hook(_record(inputs, outputs.setdefault(layer, [])))
    # In training, boxes that one stage hands to the next carry no gradient: a stage's answer ends there.
    model(*batch())
    followed = _ancestors([value.grad_fn for value in inputs if value.grad_fn is not None])
    inner = {layer for layer, values in outputs.items() if any(value.grad_fn in followed for value in values)}
    assert final_predictors(model) == outputs.keys() - inner


def test_shortcuts_are_the_1x1_convolutions_beside_residual_stages() -> None:
    for backbone, count in (("resnet18", 3), ("resnet50", 4)):
        model = tiny_detector("retinanet", backbone=backbone)
        layers = prunable_modules(model)
        found = shortcuts(model)
        assert len(found) == count
        assert {layers[name].kernel_size for name in found} == {(1, 1)}


@pytest.mark.parametrize("name", FAMILIES)
def test_the_stem_sees_the_three_colors(name: str) -> None:
    model = tiny_detector(name)
    assert model.get_submodule(stem(model)).in_channels == 3


def test_a_foreign_network_has_no_parts() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Linear(4, CLASSES + KEYPOINTS))
    assert set(layer_groups(model).values()) == {"other"}
    assert final_predictors(model) == set()


def _record(inputs: list[torch.Tensor], outputs: list[torch.Tensor]) -> Any:
    def hook(_module: nn.Module, received: tuple[torch.Tensor], output: torch.Tensor) -> None:
        inputs.append(received[0])
        outputs.append(output)

    return hook


def _ancestors(nodes: list[Any]) -> set[Any]:
    seen: set[Any] = set()
    while nodes:
        node = nodes.pop()
        if node is not None and node not in seen:
            seen.add(node)
            nodes.extend(parent for parent, _ in node.next_functions)
    return seen
