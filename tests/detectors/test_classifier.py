"""The classifier: torchvision's network, called as a detector is."""

import numpy as np
import pytest

from tests.tiny_detectors import tiny_spec, torch

torchvision = pytest.importorskip("torchvision", reason="torchvision comes with the extra 'train'")

from lth_deploy.detectors import build_detector  # noqa: E402
from lth_deploy.detectors.groups import layer_groups  # noqa: E402
from lth_deploy.detectors.inference import predict  # noqa: E402
from lth_deploy.detectors.transform import IMAGENET_MEAN, IMAGENET_STD  # noqa: E402
from lth_deploy.pruning.scope import scoped_layers  # noqa: E402


def classifier(backbone: str = "resnet18", classes: int = 7, side: int = 32) -> "torch.nn.Module":
    torch.manual_seed(0)
    return build_detector(tiny_spec("classifier", backbone=backbone, min_size=side, max_size=side), classes)


@pytest.mark.parametrize("backbone", ["resnet18", "resnet50"])
def test_it_is_torchvisions_network_under_the_detectors_names(backbone: str) -> None:
    model = classifier(backbone).eval()
    theirs = torchvision.models.get_model(backbone, num_classes=7).eval()
    state = {name.removeprefix("backbone.body."): value for name, value in model.state_dict().items()}
    theirs.load_state_dict(state)
    images = torch.rand(2, 3, 32, 32)
    mean, std = (torch.tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    with torch.no_grad():
        torch.testing.assert_close(model.logits(images), theirs((images - mean) / std))
    detector = build_detector(tiny_spec("retinanet", backbone=backbone), 3)
    own = {name: value.shape for name, value in model.state_dict().items() if name.startswith("backbone.")}
    assert own == {name: v.shape for name, v in detector.state_dict().items() if name.startswith("backbone.body.")}


def test_the_last_layer_is_its_predictor() -> None:
    model = classifier()
    assert {name for name, group in layer_groups(model).items() if group == "predictor"} == {"fc"}
    names = {layer.name for layer in scoped_layers(model, "paper")}
    assert "backbone.body.conv1.weight" in names
    assert not any("fc" in name or "downsample" in name for name in names)


def test_answers_are_the_best_classes_over_the_whole_picture() -> None:
    model = classifier()
    picture = np.random.default_rng(0).integers(0, 256, (45, 60, 3), dtype=np.uint8)
    (found,) = predict(model, [picture])
    assert found.labels.shape == (5,)
    assert set(found.labels) <= set(range(1, 8))
    assert (np.diff(found.scores) <= 0).all()
    assert (found.boxes == [0, 0, 60, 45]).all()


def test_it_sees_the_center_of_a_resized_picture() -> None:
    model = classifier(side=28)
    image = torch.rand(3, 64, 128)
    crop = model._central_crop(image)
    assert crop.shape == (3, 28, 28)
    resized = torch.nn.functional.interpolate(image[None], size=(32, 64), mode="bilinear", align_corners=False)[0]
    torch.testing.assert_close(crop, resized[:, 2:30, 18:46])


def test_training_crops_follow_the_seed_and_the_loss_is_of_the_first_label() -> None:
    model = classifier().train()
    images = [torch.rand(3, 40, 50), torch.rand(3, 60, 44)]
    targets = [{"labels": torch.tensor([label])} for label in (1, 7)]
    losses = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        losses.append(model(images, targets)["classification"].item())
    assert losses[0] == losses[1] != losses[2]
    with pytest.raises(IndexError):
        model(images, [{"labels": torch.tensor([8])}] * 2)
