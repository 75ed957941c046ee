import re
from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch comes with the extra 'train'")
pytest.importorskip("torchvision", reason="torchvision comes with the extra 'train'")

from torch import Tensor  # noqa: E402

from lth_deploy.config.foreign_specs import ModuleSpec  # noqa: E402
from lth_deploy.detectors import build_detector  # noqa: E402
from lth_deploy.detectors.groups import final_predictors, layer_groups  # noqa: E402
from lth_deploy.detectors.sources.check import hold_protocol  # noqa: E402
from lth_deploy.errors import DataError, RecipeError  # noqa: E402
from tests.detectors.sources import user_detectors  # noqa: E402
from tests.detectors.sources.user_detectors import HERE, PARTS, PREDICTORS, Answers, sound  # noqa: E402


def _spec(function: str = "ssd", module: str = HERE, **keys: Any) -> ModuleSpec:
    return ModuleSpec(source="module", factory=f"{module}:{function}", **keys)


def _batch() -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    target = {"boxes": torch.tensor([[4.0, 4.0, 40.0, 40.0]]), "labels": torch.tensor([1])}
    return list(torch.rand(2, 3, 64, 64)), [dict(target), dict(target)]


def test_a_factory_is_called_with_classes_and_options_and_its_parts_are_those_of_the_recipe() -> None:
    model = build_detector(_spec(options={"width": 24}, **PARTS, **PREDICTORS), 3)
    assert model.training
    assert model.get_parameter("backbone.convs.1.weight").shape == (24, 24, 3, 3)
    groups = layer_groups(model)
    assert set(groups.values()) == {"backbone", "predictor"}
    assert final_predictors(model) == {name for name in groups if name.startswith("head.")}
    assert set(layer_groups(build_detector(_spec(**PARTS), 3)).values()) == {"backbone", "dense_head"}
    hold_protocol(lambda: _seeded(_spec()), "ssd", 3, *_batch())


@pytest.mark.parametrize("factory", ["no_colon", "package.module:", ":function", "a b:c", "package:f\n"])
def test_a_factory_that_is_named_otherwise_is_refused(factory: str) -> None:
    with pytest.raises(ValueError, match=r"a function is named as package\.module:function"):
        ModuleSpec(source="module", factory=factory)


def _seeded(spec: ModuleSpec) -> Any:
    torch.manual_seed(1)
    return build_detector(spec, 3)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (_spec(module="no_such_package.models"), "there is no module 'no_such_package'; install its package, or name"),
        (_spec("sdd"), "has no 'sdd'; did you mean 'ssd'?"),
        (_spec("number"), "is a int, no function"),
        (_spec("no_module"), "returned a dict; return an nn.Module"),
        (_spec("fails"), "failed when called with (3): KeyError: 'no weights here'"),
        (_spec("leaves"), "failed when called with (3): SystemExit: 4"),
        (_spec(options={"wide": 3}), "failed when called with (3, wide=3): TypeError"),
        (_spec("layerless"), "has no layer that can be pruned: no Conv2d or ConvTranspose2d or Linear"),
        (_spec(parts={"backbone": "bakcbone"}), "detector.parts: backbone: the detector has no submodule 'bakcbone'"),
        (_spec(predictors=["head.cls"]), "detector.predictors: the detector has no submodule 'head.cls'; did you mean"),
    ],
)
def test_a_factory_that_does_not_fit_is_refused_with_what_was_found(spec: ModuleSpec, message: str) -> None:
    with pytest.raises(RecipeError, match=re.escape(message)):
        build_detector(spec, 3)


def _loss(value: Any) -> Callable[[Tensor], Any]:
    return lambda found: {"loss": found, "other": value(found)}


def _one(**changes: Any) -> Callable[[int], Any]:
    kept = {**sound(1)[0], **changes}
    return lambda images: [{key: value for key, value in kept.items() if value is not None}] * images


@pytest.mark.parametrize(
    ("losses", "detections", "message"),
    [
        (lambda value: value, sound, "returned float32 []; return a dict of losses"),
        (lambda value: {}, sound, "returned an empty dict"),
        (_loss(lambda value: 0.5), sound, "returned a float as loss 'other'"),
        (_loss(lambda value: value.expand(2)), sound, "returned loss 'other' as float32 [2]; each loss is a scalar"),
        (_loss(lambda value: value.abs() / 0), sound, "returned loss 'other' as inf on the first batch"),
        (lambda value: {"loss": value.detach()}, sound, "losses that no parameter has part in"),
        (lambda value: value.missing, sound, "fails in training mode on a list of images and targets: AttributeError"),
        (_loss(abs), lambda images: sound(1), "given 2 images, returned a list of 1; return a list with one dict"),
        (_loss(abs), lambda images: [torch.zeros(1, 6)] * images, "returned float32 [1, 6] for an image"),
        (_loss(abs), _one(scores=None), "returned a dict without scores; found boxes, labels"),
        (_loss(abs), _one(boxes=torch.zeros(3, 4)), "returned boxes as float32 [3, 4]; they are floats [N, 4]"),
        (_loss(abs), _one(boxes=torch.zeros(2, 5)), "returned boxes as float32 [2, 5]"),
        (_loss(abs), _one(labels=torch.ones(2)), "returned labels as float32 [2]; they are integers [N]"),
        (_loss(abs), _one(scores=torch.ones(2, 1)), "returned scores as float32 [2, 1]"),
        (_loss(abs), _one(scores=torch.tensor([0.5, torch.nan])), "boxes or scores that are not finite"),
        (_loss(abs), _one(labels=torch.tensor([0, 1])), "returned label 0; labels are 1 to 3"),
        (_loss(abs), _one(labels=torch.tensor([1, 4])), "returned label 4; labels are 1 to 3"),
    ],
)
def test_each_part_of_the_protocol_that_does_not_fit_has_its_message(
    losses: Callable[[Tensor], Any], detections: Callable[[int], Any], message: str
) -> None:
    model = Answers(losses, detections)
    with pytest.raises(RecipeError, match=re.escape(message)):
        hold_protocol(lambda: model, "mine", 3, *_batch())


def test_weights_that_are_not_a_function_of_the_seed_are_refused() -> None:
    with pytest.raises(
        RecipeError, match=r"is not the same when it is built twice from one seed: 'backbone\.convs\.0\.weight'"
    ):
        hold_protocol(lambda: user_detectors.unseeded(3), "mine", 3, *_batch())


def test_weights_of_another_network_are_listed(tmp_path: Any) -> None:
    from safetensors.torch import save_file

    file = tmp_path / "w.safetensors"
    state = build_detector(_spec(options={"width": 24}), 3).state_dict()
    save_file({name: value.contiguous() for name, value in state.items()}, file)
    fitting = build_detector(_spec(options={"width": 24}, weights=str(file)), 3)
    assert all(torch.equal(value, state[name]) for name, value in fitting.state_dict().items())
    with pytest.raises(DataError, match=r"shapes differ: backbone\.convs\.0\.weight has \(24, 3, 3, 3\)"):
        build_detector(_spec(weights=str(file)), 3)
