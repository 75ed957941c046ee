"""Tickets from other runs: what fits is taken over bit for bit, what does not is named on both sides."""

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch comes with the extra 'train'")
pytest.importorskip("torchvision", reason="torchvision comes with the extra 'train'")

from lth_deploy.config.search_spec import SourceSpec  # noqa: E402
from lth_deploy.detectors import build_detector  # noqa: E402
from lth_deploy.errors import DataError, RecipeError  # noqa: E402
from lth_deploy.pruning.scope import scoped_layers  # noqa: E402
from lth_deploy.pruning.search.transfer import Ticket, Transfer, fit  # noqa: E402
from tests.tiny_detectors import tiny_spec  # noqa: E402

CACHE: dict[str, Any] = {}


def network(family: str, classes: int = 3, **changes: Any) -> Any:
    """A fresh tiny detector; its weights are a function of what is asked for."""
    key = f"{family}/{classes}/{changes}"
    if key not in CACHE:
        torch.manual_seed(len(CACHE))
        CACHE[key] = build_detector(tiny_spec(family, **changes), classes, 4)
    return CACHE[key]


def ticket(family: str, scope: Any = "default", **changes: Any) -> Ticket:
    """Random masks over a tiny detector."""
    model, rng = network(family, **changes), np.random.default_rng(0)
    shapes = {layer.name: model.get_parameter(layer.name).shape for layer in scoped_layers(model, scope)}
    masks = {name: rng.random(tuple(shape)) < 0.2 for name, shape in shapes.items()}
    return Ticket("runs/source/level_80", masks, dict(model.state_dict()))


def take(given: Ticket, target: Any, scope: Any = "default", **spec: Any) -> Transfer:
    return fit(given, target, scoped_layers(target, scope), SourceSpec(run="runs/source", **spec))


def test_values_and_norm_statistics_come_along_bit_for_bit() -> None:
    given, target = ticket("mask_rcnn"), network("keypoint_rcnn", 1)
    got = take(given, target)
    statistics = [name for name in got.tensors if "running_" in name]
    assert len(statistics) == 2 * sum(isinstance(module, torch.nn.BatchNorm2d) for module in target.modules())
    for name, value in got.tensors.items():
        assert torch.equal(value, given.weights[name]), name
    assert {name.split(".")[0] for name in got.tensors} == {"backbone", "rpn", "roi_heads"}


def test_heads_that_one_side_lacks_are_left_out_and_named_as_missing() -> None:
    """Released code carried names over, and left out heads by hand."""
    got = take(ticket("mask_rcnn"), network("keypoint_rcnn", 1))
    assert got.missing
    assert all(name.startswith("roi_heads.keypoint_head.") for name in got.missing)
    assert not any("mask_head" in name for name in [*got.masks, *got.tensors])
    scoped = {layer.name for layer in scoped_layers(network("keypoint_rcnn", 1), "default")}
    assert got.masks.keys() | set(got.missing) == scoped


def test_predictors_come_along_only_for_the_same_classes() -> None:
    given = ticket("mask_rcnn")
    same, other = take(given, network("faster_rcnn", 3)), take(given, network("faster_rcnn", 5))
    assert "roi_heads.box_predictor.cls_score.weight" in same.tensors
    assert not any("box_predictor" in name for name in other.tensors)
    # Proposals know no classes.
    assert "rpn.head.cls_logits.weight" in other.tensors


def test_of_masks_alone_nothing_else_is_taken() -> None:
    given = ticket("mask_rcnn")
    got = take(given, network("faster_rcnn", 3), transfer="mask")
    assert not got.tensors
    assert all(np.array_equal(mask, given.masks[name]) for name, mask in got.masks.items())


def test_the_mask_of_a_part_has_the_targets_own_names() -> None:
    """Released code masked keys without their prefix, and the backbone grew dense after one step."""
    target = network("retinanet")
    got = take(ticket("mask_rcnn"), target, groups=["backbone"])
    parameters = dict(target.named_parameters())
    assert got.masks
    for name, mask in got.masks.items():
        assert mask.shape == tuple(parameters[name].shape)
        assert name.startswith("backbone.body.")
    assert any(name.startswith("backbone.fpn.") for name in got.missing)


def test_what_the_source_may_not_prune_stays_dense() -> None:
    """Shortcuts are dense in a ticket of the paper's scope."""
    got = take(ticket("mask_rcnn", scope="paper"), network("faster_rcnn", 3))
    shortcuts = [name for name in got.masks if ".downsample." in name]
    assert shortcuts
    assert all(got.masks[name].all() for name in shortcuts)
    assert not set(shortcuts) & set(got.missing)


def test_what_does_not_fit_is_named_with_both_shapes_and_what_would_fit() -> None:
    with pytest.raises(DataError) as caught:
        take(ticket("mask_rcnn"), network("retinanet"))
    message = str(caught.value)
    assert (
        "runs/source/level_80 does not fit: backbone.fpn.inner_blocks.0.0.weight is 16x64x1x1 in the source" in message
    )
    assert "and 16x128x1x1 here" in message
    assert "these parts fit: set source.groups: [backbone]" in message


def test_a_deeper_network_does_not_fit_though_some_layers_would() -> None:
    with pytest.raises(DataError, match=r"layer1\.2\.conv1\.weight is 64x64x3x3 in the source and absent here"):
        take(ticket("retinanet", backbone="resnet34"), network("retinanet"), groups=["backbone"])


def test_statistics_of_other_norms_do_not_fit_but_their_masks_do() -> None:
    target = network("retinanet", norm="group")
    with pytest.raises(DataError, match=r"bn1\.running_mean is 64 in the source and absent here"):
        take(ticket("retinanet"), target)
    assert take(ticket("retinanet"), target, transfer="mask").masks


def test_frozen_norms_take_the_statistics_of_trained_ones() -> None:
    got = take(ticket("retinanet", scope="paper"), network("retinanet", frozen_layers=2), scope="paper")
    assert "backbone.body.bn1.running_var" in got.tensors


def test_a_ticket_may_not_prune_what_the_recipe_leaves_dense() -> None:
    """Such zeros would grow back: nothing holds them."""
    target = network("retinanet", frozen_layers=2)
    with pytest.raises(RecipeError, match=r"prunes backbone\.body\.conv1\.weight, which this recipe leaves dense"):
        take(ticket("retinanet"), target)


def test_a_part_that_is_not_shared_is_named() -> None:
    with pytest.raises(RecipeError, match="share no 'mask_head'; choose among backbone, box_head, fpn, rpn"):
        take(ticket("mask_rcnn"), network("faster_rcnn", 3), groups=["mask_head"])


@pytest.mark.parametrize("family", ["classifier", "retinanet", "faster_rcnn"])
def test_the_last_stage_moves_from_the_backbone_into_a_head_that_is_one(family: str) -> None:
    """Of a detector with a head of its own, that head stands where layer4 does here, and stays behind."""
    given, target = ticket(family), network("faster_rcnn/c4")
    got = take(given, target, groups=["backbone", "box_head"])
    stage = {name for name in target.state_dict() if name.startswith("roi_heads.box_head.layer4.")}
    for name in stage - {name for name in stage if name.endswith("num_batches_tracked")}:
        assert torch.equal(got.tensors[name], given.weights[name.replace("roi_heads.box_head", "backbone.body")])
    pruned = {name for name in got.masks if "layer4" in name}
    assert pruned == {name for name in stage if target.state_dict()[name].ndim == 4}
    for name in pruned:
        assert np.array_equal(got.masks[name], given.masks[name.replace("roi_heads.box_head", "backbone.body")])
    assert not any("fc6" in name for name in (*got.tensors, *got.masks))
    assert set(got.missing) == {"rpn.head.conv.0.0.weight"}


def test_the_trunk_alone_takes_no_last_stage() -> None:
    got = take(ticket("classifier"), network("faster_rcnn/c4"), groups=["backbone"])
    assert got.masks
    assert not any("layer4" in name for name in (*got.tensors, *got.masks))
    assert any("layer4" in name for name in got.missing)


def test_the_last_stage_moves_back_under_a_pyramid() -> None:
    given = ticket("faster_rcnn/c4")
    got = take(given, network("retinanet"), groups=["backbone"])
    name = "layer4.1.conv2.weight"
    assert torch.equal(got.tensors[f"backbone.body.{name}"], given.weights[f"roi_heads.box_head.{name}"])
    assert np.array_equal(got.masks[f"backbone.body.{name}"], given.masks[f"roi_heads.box_head.{name}"])


def test_between_two_networks_of_one_layout_nothing_moves() -> None:
    given = ticket("faster_rcnn/c4")
    got = take(given, network("faster_rcnn/c4", 5))
    assert not got.missing
    assert all(np.array_equal(mask, given.masks[name]) for name, mask in got.masks.items())


def test_a_deeper_last_stage_does_not_fit_and_is_named_where_it_belongs_here() -> None:
    with pytest.raises(DataError, match=r"roi_heads\.box_head\.layer4\.2\.conv1\.weight is 512x512x3x3 in the source"):
        take(ticket("retinanet", backbone="resnet34"), network("faster_rcnn/c4"), groups=["box_head"])
