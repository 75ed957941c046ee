"""The prunable set goes by module type and place, never by fragments of names."""

import pytest

from lth_deploy.errors import RecipeError
from tests.tiny_detectors import tiny_detector

torch = pytest.importorskip("torch", reason="torch comes with the extra 'train'")

from lth_deploy.detectors.groups import final_predictors, prunable_modules, shortcuts, stem  # noqa: E402
from lth_deploy.pruning.mac_positions import measure_positions  # noqa: E402
from lth_deploy.pruning.scope import quantized_layers, scoped_layers  # noqa: E402
from tests.pruning.toy_search import ToyDetector  # noqa: E402


@pytest.mark.parametrize("family", ["mask_rcnn", "keypoint_rcnn", "retinanet"])
def test_all_weights_but_final_predictors_are_prunable(family: str) -> None:
    """Released code's name rule would miss torchvision's heads and prune its mask predictor."""
    model = tiny_detector(family)
    names = {layer.module_name for layer in scoped_layers(model, "default")}
    assert names == set(prunable_modules(model)) - final_predictors(model)
    assert final_predictors(model)


def test_norm_scales_and_biases_are_never_prunable() -> None:
    """Released code pruned the scales of trainable norms inside `conv` modules."""
    model = tiny_detector("mask_rcnn", norm="group")
    parameters = dict(model.named_parameters())
    assert all(parameters[layer.name].ndim >= 2 for layer in scoped_layers(model, "default"))


def test_a_frozen_first_convolution_stays_dense_unless_the_paper_is_followed() -> None:
    model = tiny_detector("retinanet", frozen_layers=2)
    default = {layer.module_name for layer in scoped_layers(model, "default")}
    paper = {layer.module_name for layer in scoped_layers(model, "paper")}
    assert stem(model) not in default
    assert stem(model) in paper
    assert shortcuts(model)
    assert shortcuts(model) <= default
    assert not shortcuts(model) & paper


def test_include_and_exclude_are_globs_over_modules() -> None:
    model = tiny_detector("retinanet")
    chosen = {layer.module_name for layer in scoped_layers(model, "default", ["backbone.*"], ["backbone.fpn.*"])}
    assert chosen
    assert all(name.startswith("backbone.body.") for name in chosen)


def test_a_pattern_may_be_a_regular_expression_over_names_of_weights() -> None:
    model = tiny_detector("retinanet")
    include = [r"re:backbone\.body\.layer[34].*conv1\.weight$", "head.*conv.0.0"]
    chosen = {layer.module_name for layer in scoped_layers(model, "default", include, ["re:.*layer4"])}
    wanted = {name for name in dict(model.named_modules()) if name.startswith("backbone.body.layer3")}
    assert {name for name in chosen if name.startswith("backbone")} == {one for one in wanted if one.endswith("conv1")}
    assert "head.classification_head.conv.0.0" in chosen
    with pytest.raises(RecipeError, match=r"'re:\(' is no regular expression: missing \)"):
        scoped_layers(model, "default", ["re:("])


@pytest.mark.parametrize("include", [["backbone.bottom_up.*"], ["re:.*bottom_up"], []])
def test_a_pattern_that_matches_nothing_is_refused(include: list[str]) -> None:
    """Released code masked keys that lacked a prefix, and the ticket grew dense after one step."""
    with pytest.raises(RecipeError, match=r"matches no layer|no layer to prune"):
        scoped_layers(tiny_detector("retinanet"), "default", include)


def test_all_layers_are_quantized_but_named_ones_and_transposed_ones_in_groups() -> None:
    def transposed(groups: int) -> torch.nn.Module:
        return torch.nn.ConvTranspose2d(4, 4, 2, groups=groups)

    model = torch.nn.ModuleDict({"a": torch.nn.Conv2d(4, 4, 1), "b": transposed(1), "c": transposed(2)})
    model["d"] = torch.nn.Linear(4, 4)
    assert quantized_layers(model, []) == ["a", "b", "d"]
    assert quantized_layers(model, ["d", "a"]) == ["b"]
    with pytest.raises(RecipeError, match="matches"):
        quantized_layers(model, ["e*"])


def test_positions_count_what_is_multiplied() -> None:
    model = ToyDetector()
    image = torch.rand(3, 6, 8)
    counted = measure_positions(model, scoped_layers(model, "default"), [image, image])
    # A transposed convolution is counted on its input plane, and means are over images.
    assert counted == {"stem.weight": 48, "up.weight": 48, "fc.weight": 1}
    assert not model.stem._forward_hooks
