import numpy as np
import pytest

from lth_deploy.detectors import DETECTORS, build_detector
from lth_deploy.detectors.inference import predict
from lth_deploy.errors import RecipeError
from tests.tiny_detectors import CLASSES, FAMILIES, KEYPOINTS, batch, picture, tiny_detector, tiny_spec, torch


def test_every_family_of_the_recipe_is_registered() -> None:
    from lth_deploy.config.detector_spec import FAMILIES as NAMED

    built = {name.partition("/")[0] for name in FAMILIES}
    assert set(DETECTORS.names()) == set(NAMED) == {*built, "classifier"}


@pytest.mark.parametrize("name", FAMILIES)
def test_one_training_step_reaches_every_parameter(name: str) -> None:
    model = tiny_detector(name)
    losses = model(*batch())
    total = sum(losses.values())
    assert torch.isfinite(total)
    total.backward()
    missed = [key for key, value in model.named_parameters() if value.grad is None]
    assert missed == []
    assert all(torch.isfinite(value.grad).all() for value in model.parameters())


@pytest.mark.parametrize("name", FAMILIES)
def test_a_batch_without_any_object_trains(name: str) -> None:
    images, targets = batch()
    losses = tiny_detector(name)(images, [targets[1], targets[1]])
    assert torch.isfinite(sum(losses.values()))


@pytest.mark.parametrize("name", FAMILIES)
def test_predictions_obey_the_contract(name: str) -> None:
    model = tiny_detector(name)
    found = predict(model, [picture(100, 140)])[0]
    assert len(found) > 0
    assert found.boxes.shape == (len(found), 4)
    assert found.boxes.dtype == found.scores.dtype == np.float32
    assert np.all(np.diff(found.scores) <= 0)
    assert np.all((found.labels >= 1) & (found.labels <= CLASSES))
    assert found.boxes.min() >= 0
    assert np.all(found.boxes.max(axis=0) <= np.array([140, 100, 140, 100]) + 1e-3)
    assert (found.masks is not None) == (name == "mask_rcnn")
    assert found.masks is None or (found.masks.shape == (len(found), 100, 140) and found.masks.max() <= 1)
    assert (found.keypoints is not None) == (name == "keypoint_rcnn")
    assert found.keypoints is None or found.keypoints.shape == (len(found), KEYPOINTS, 3)


@pytest.mark.parametrize("name", FAMILIES)
def test_an_image_is_detected_alike_alone_and_among_others(name: str) -> None:
    model = tiny_detector(name)
    images = [picture(64, 80, 1), picture(64, 80, 2), picture(90, 60, 3), picture(64, 80, 4)]
    together = predict(model, images, batch_size=3)
    for image, found in zip(images, together, strict=True):
        alone = predict(model, [image])[0]
        np.testing.assert_allclose(found.boxes, alone.boxes, atol=2e-2)
        np.testing.assert_allclose(found.scores, alone.scores, atol=2e-4)


@pytest.mark.parametrize("name", FAMILIES)
def test_nothing_above_the_threshold_gives_empty_arrays(name: str) -> None:
    model = tiny_detector(name, score_threshold=0.99999)
    found = predict(model, [picture(70, 90)])[0]
    assert found.boxes.shape == (0, 4)
    assert found.masks is None or found.masks.shape == (0, 70, 90)
    assert found.keypoints is None or found.keypoints.shape == (0, KEYPOINTS, 3)


@pytest.mark.parametrize("name", ["retinanet", "fcos"])
def test_one_stage_heads_have_a_column_for_each_class_and_learn_the_right_one(name: str) -> None:
    torch.manual_seed(0)
    model = build_detector(tiny_spec(name), CLASSES)
    head = model.head.classification_head
    assert head.cls_logits.out_channels == head.num_anchors * CLASSES
    images, targets = batch(((64, 96), (64, 96)))
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    for _ in range(12):
        optimizer.zero_grad()
        losses = model(images[:1], targets[:1])
        sum(losses.values()).backward()
        optimizer.step()
    bright = (images[0].permute(1, 2, 0) * 255).to(torch.uint8).numpy()
    # The object is of the last class; an error of one would leave the array or name its neighbor.
    assert predict(model, [bright])[0].labels[0] == CLASSES
    assert targets[0]["labels"].tolist() == [CLASSES], "the caller's targets were changed"


@pytest.mark.parametrize("name", ["retinanet", "fcos"])
def test_easy_negatives_keep_their_loss_under_bfloat16(name: str) -> None:
    model = build_detector(tiny_spec(name), CLASSES)
    torch.nn.init.constant_(model.head.classification_head.cls_logits.bias, -7.0)  # 1 - score rounds to 1
    images, targets = batch()
    empty = [targets[1], targets[1]]
    exact = model(images, empty)["classification"].detach()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = model(images, empty)["classification"].detach()
    assert rounded.dtype == torch.float32
    assert float(rounded) == pytest.approx(float(exact), rel=0.05)


def test_predict_restores_training_mode_module_by_module() -> None:
    model = tiny_detector("retinanet").train()
    model.backbone.body.bn1.eval()
    before = [module.training for module in model.modules()]
    predict(model, [picture(64, 80)])
    assert [module.training for module in model.modules()] == before


def test_same_seed_same_weights() -> None:
    first, second = (tiny_detector("faster_rcnn", seed=3).state_dict() for _ in range(2))
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("backbone", ["resnet34", "resnet50", "resnet101"])
def test_deeper_backbones_feed_the_same_pyramid(backbone: str) -> None:
    model = build_detector(tiny_spec("retinanet", backbone=backbone), CLASSES)
    features = model.backbone(torch.rand(1, 3, 64, 64))
    assert [tuple(level.shape) for level in features.values()] == [(1, 16, size, size) for size in (8, 4, 2, 1, 1)]


def test_default_recipe_is_torchvisions_network() -> None:
    from torchvision.models import get_model

    spec = tiny_spec("mask_rcnn", backbone="resnet50", fpn_width=256, head_width=1024)
    with torch.device("meta"):
        ours = build_detector(spec, 90).state_dict()
        theirs = get_model("maskrcnn_resnet50_fpn", weights=None, weights_backbone=None).state_dict()
    assert {key: value.shape for key, value in ours.items()} == {key: value.shape for key, value in theirs.items()}


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("retinanet", {"anchor_sizes": [16, 32]}, "5 feature levels, 2 sizes"),
        ("ssdlite", {"anchor_sizes": [16] * 5}, "6 feature levels, 5 sizes"),
        ("fcos", {"aspect_ratios": [1.0]}, "no ratios"),
    ],
)
def test_anchors_that_cannot_be(name: str, changes: dict[str, object], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        build_detector(tiny_spec(name, **changes), CLASSES)


def test_keypoint_detector_needs_keypoints() -> None:
    with pytest.raises(RecipeError, match="names any"):
        build_detector(tiny_spec("keypoint_rcnn"), CLASSES, 0)


def test_anchor_sizes_reach_the_anchors() -> None:
    sizes = [6, 12, 24, 48, 96]
    model = build_detector(tiny_spec("retinanet", anchor_sizes=sizes, aspect_ratios=[1.0]), CLASSES)
    first = [anchors[0] for anchors in model.anchor_generator.cell_anchors]
    assert [float(anchor[2] - anchor[0]) for anchor in first] == sizes


def test_regions_are_read_at_the_true_stride_on_the_smallest_images() -> None:
    # 66 pixels are padded to 96: torchvision's own guess of the stride is wrong there.
    model = tiny_detector("faster_rcnn", min_size=66)
    predict(model, [picture(66, 66)])
    assert model.roi_heads.box_roi_pool.scales == [1 / 4, 1 / 8, 1 / 16, 1 / 32]


def test_kaiming_towers_keep_the_signal_that_the_published_ones_lose() -> None:
    features = torch.randn(1, 16, 12, 12, generator=torch.Generator().manual_seed(0))
    left = {}
    for init in ("published", "kaiming"):
        torch.manual_seed(0)
        model = build_detector(tiny_spec("retinanet", head_init=init), CLASSES)
        with torch.no_grad():
            left[init] = float(model.head.classification_head.conv(features).std())
    assert left["published"] < 1e-3
    assert 0.1 < left["kaiming"] < 10


def test_head_init_is_for_retinanet() -> None:
    with pytest.raises(ValueError, match="is for retinanet"):
        tiny_spec("faster_rcnn", head_init="kaiming")
