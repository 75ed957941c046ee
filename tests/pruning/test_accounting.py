"""The accounting gives the paper's columns, and parts are pruned to exactly what is asked."""

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch comes with the extra 'train'")
pytest.importorskip("torchvision", reason="torchvision comes with the extra 'train'")

from lth_deploy.config.detector_spec import DetectorSpec  # noqa: E402
from lth_deploy.config.search_spec import PruningSpec  # noqa: E402
from lth_deploy.detectors import build_detector  # noqa: E402
from lth_deploy.errors import RecipeError  # noqa: E402
from lth_deploy.pruning.accounting import parameters, parts_of, prunable_share  # noqa: E402
from lth_deploy.pruning.layer import PrunableLayer  # noqa: E402
from lth_deploy.pruning.ranking.allocation import prune  # noqa: E402
from lth_deploy.pruning.ranking.criteria import magnitude  # noqa: E402
from lth_deploy.pruning.ranking.rank import ones  # noqa: E402
from lth_deploy.pruning.scope import layers_of, scoped_layers  # noqa: E402
from lth_deploy.structures import STRUCTURES  # noqa: E402
from tests.tiny_detectors import tiny_detector  # noqa: E402

TOLERANCE = 0.02
# Tables 1, 2 and 4 of Girish et al. 2021: sparsity of the whole network in per cent, for 80 % of what it prunes and
# for 90 % of the backbone. Classes are COCO's 80, or one person with 17 points.
PAPER = {
    ("mask_rcnn", "resnet18"): (78.42, 31.60),
    ("mask_rcnn", "resnet50"): (74.20, 41.98),
    ("keypoint_rcnn", "resnet18"): (79.42, 21.46),
    ("keypoint_rcnn", "resnet50"): (76.04, 31.48),
}

# Table 3: prunable weights of each part, in per cent of all parameters of Faster R-CNN on VOC.
TABLE_3_PARTS = {"backbone": 21.93, "box_head": 66.39, "rpn": 9.71, "predictor": 0.65}


def published(family: str, backbone: str) -> Any:
    """The paper's network without memory for its weights; its norms are frozen and so no parameters."""
    spec = DetectorSpec(name=family, backbone=backbone, norm="frozen", frozen_layers=2, weights="backbone")
    with torch.device("meta"):
        return build_detector(spec, 80 if family == "mask_rcnn" else 1, 17, load_weights=False)


@pytest.mark.parametrize(("family", "backbone"), PAPER)
def test_nominal_sparsity_becomes_the_papers_column(family: str, backbone: str) -> None:
    model = published(family, backbone)
    whole, only_backbone = PAPER[family, backbone]
    for share, groups, expected in ((0.8, [], whole), (0.9, ["backbone"], only_backbone)):
        layers = scoped_layers(model, "paper", parts=groups)
        prunable = sum(part.prunable for part in parts_of(model, layers, {}))
        assert 100 * share * prunable / parameters(model) == pytest.approx(expected, abs=TOLERANCE)


def test_without_a_pyramid_parts_have_the_shares_of_the_papers_table_3() -> None:
    """Its stem stays dense and its norms are parameters; its proposals have two logits an anchor where here is one."""
    spec = DetectorSpec(name="faster_rcnn", layout="c4", backbone="resnet18", anchor_sizes=[128, 256, 512])
    with torch.device("meta"):
        model = build_detector(spec, 20, load_weights=False)
    layers = scoped_layers(model, "paper", exclude=["backbone.body.conv1"], parts=list(TABLE_3_PARTS))
    extra_logits = 9 * 512
    whole = parameters(model) + extra_logits + 9
    shares = {part.name: part.prunable for part in parts_of(model, layers, {})}
    shares["predictor"] += extra_logits
    for name, expected in TABLE_3_PARTS.items():
        only_final = sum(
            model.get_parameter(f"rpn.head.{layer}.weight").numel() for layer in ("cls_logits", "bbox_pred")
        )
        # There the predictors of proposals count in RPN and in Head.
        counted = shares[name] + (only_final + extra_logits if name == "rpn" else 0)
        assert 100 * counted / whole == pytest.approx(expected, abs=TOLERANCE), name


def test_parts_add_up_and_bear_the_papers_names() -> None:
    model = published("mask_rcnn", "resnet18")
    parts = parts_of(model, scoped_layers(model, "paper"), {})
    assert {part.name: part.paper for part in parts} == {
        "backbone": "Base", "fpn": "Base", "rpn": "RPN", "box_head": "Top", "mask_head": "Top", "predictor": "Head",
    }  # fmt: skip
    assert sum(part.weights for part in parts) == sum(p.numel() for p in model.parameters() if p.ndim > 1)
    # Shortcuts and final predictors stay dense; a transposed convolution does not.
    dense = {part.name for part in parts if part.prunable < part.weights}
    assert dense == {"backbone", "predictor"}
    assert next(part for part in parts if part.name == "predictor").prunable == 0


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny_detector("mask_rcnn")


def arrays(model: Any, spec: PruningSpec) -> list[PrunableLayer]:
    return [
        PrunableLayer(layer.name, model.get_parameter(layer.name).detach().numpy(), layer.transposed, 1.0)
        for layer in layers_of(model, spec)
    ]


@pytest.mark.parametrize("groups", [["backbone"], ["fpn", "rpn"], ["head"], ["mask_head"], ["rpn", "predictor"]])
def test_the_share_is_reached_in_the_named_parts_exactly(model: Any, groups: list[str]) -> None:
    """Released code took one threshold over the whole network, and its backbones ended elsewhere than asked."""
    spec = PruningSpec(levels=[0.7], groups=groups)
    layers = arrays(model, spec)
    masks = prune(layers, ones(layers), 0.7, magnitude, "global", STRUCTURES["single"])
    named = {"box_head", "mask_head"} if groups == ["head"] else set(groups)
    parts = parts_of(model, layers_of(model, spec), masks)
    inside = [part for part in parts if part.name in named]
    assert sum(part.zeros for part in inside) == round(0.7 * sum(part.weights for part in inside))
    assert not any(part.zeros for part in parts if part.name not in named)


def test_a_part_that_the_detector_lacks_is_named_with_those_it_has() -> None:
    with pytest.raises(RecipeError, match=r"no 'keypoint_head'; choose among backbone, box_head, fpn"):
        scoped_layers(tiny_detector("faster_rcnn"), "default", parts=["keypoint_head"])
    with pytest.raises(RecipeError, match="no 'rpn'"):
        scoped_layers(tiny_detector("retinanet"), "default", parts=["backbone", "rpn"])


def test_a_share_of_all_weights_is_reached_by_pruning_more_of_the_prunable(model: Any) -> None:
    spec = PruningSpec(levels=[0.6], share_of="all", scope="paper")
    share = prunable_share(0.6, spec, model, layers_of(model, spec))
    layers = arrays(model, spec)
    masks = prune(layers, ones(layers), share, magnitude, "global", STRUCTURES["single"])
    zeros = sum(int((~mask).sum()) for mask in masks.values())
    assert zeros == pytest.approx(0.6 * parameters(model), abs=1)


def test_what_cannot_be_reached_is_refused_with_the_most_that_can(model: Any) -> None:
    spec = PruningSpec(levels=[0.99], share_of="all", groups=["rpn"])
    layers = layers_of(model, spec)
    most = (sum(model.get_parameter(layer.name).numel() for layer in layers) - 1) / parameters(model)
    with pytest.raises(RecipeError, match=r"the most that can be reached is [0-9.]+$") as caught:
        prunable_share(0.99, spec, model, layers)
    named = float(str(caught.value).rpartition(" ")[2])
    assert most - 1e-6 <= named <= most
    assert prunable_share(named, spec, model, layers) < 1
    with pytest.raises(RecipeError, match=r"leaves nothing to train: the most that can be reached is 0\.999"):
        prunable_share(1 - 1e-9, PruningSpec(levels=[0.5]), model, layers)
