"""What cannot be held is refused at once, with the names that would have fitted."""

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch comes with the extra 'train'")

from torch import nn  # noqa: E402
from torch.nn.utils import parametrizations, prune  # noqa: E402

import lth_deploy  # noqa: E402
from lth_deploy.errors import UsageError  # noqa: E402
from tests.training.held.small import masks_for, network, train  # noqa: E402


def refusal(model: nn.Module, masks: dict[str, Any], optimizer: Any = None) -> str:
    """The message of the refusal."""
    with pytest.raises(UsageError) as found:
        lth_deploy.hold(model, optimizer, masks)
    return str(found.value)


def test_masks_that_fit_no_parameter_are_listed_with_the_nearest_names() -> None:
    model = nn.ModuleDict({"backbone": network()})
    masks = {"backbone.4.weights": np.ones((6, 64), bool), "backbone.5.weight": np.ones((2, 5), bool)}
    message = refusal(model, {**masks, "zzz": np.ones(3, bool)})
    assert message.startswith("3 of 3 masks fit no parameter: 'backbone.4.weights' (nearest: 'backbone.4.weight'")
    assert "'backbone.5.weight' has a mask of [2, 5] and a parameter of [2, 6]" in message
    assert "'zzz' (nothing like it)" in message


def test_a_long_list_is_cut() -> None:
    message = refusal(network(), {f"absent_{number}": np.ones(1, bool) for number in range(9)})
    assert message.count("absent_") == 5
    assert message.endswith("; and 4 more")


def test_no_masks_and_masks_of_other_values() -> None:
    assert "there are no masks to hold" in refusal(network(), {})
    assert "masks are a list; give arrays by parameter name" in refusal(network(), [np.ones((6, 64), bool)])
    assert "'4.weight' holds other values than 0 and 1" in refusal(network(), {"4.weight": np.full((6, 64), 0.5)})


def test_an_optimizer_that_lacks_a_parameter() -> None:
    model = network()
    message = refusal(model, masks_for(model), torch.optim.SGD(list(model.parameters())[:4], lr=0.1))
    assert "does not update 4.weight, 5.weight, so that the hold cannot see their steps" in message
    other = torch.optim.SGD(network().parameters(), lr=0.1)
    assert "0.weight" in refusal(model, masks_for(model), other)


def test_several_optimizers_together_update_everything() -> None:
    model, parts = network(), list(network().parameters())
    parts = list(model.parameters())
    optimizers = [torch.optim.SGD(parts[:4], lr=0.1), torch.optim.Adam(parts[4:])]
    lth_deploy.hold(model, optimizers, masks_for(model)).release()


def test_frozen_parameters_need_no_optimizer() -> None:
    model = network()
    for parameter in list(model.parameters())[:4]:
        parameter.requires_grad_(False)
    optimizer = torch.optim.SGD([one for one in model.parameters() if one.requires_grad], lr=0.1)
    with lth_deploy.hold(model, optimizer, masks_for(model)):
        train(model, optimizer, range(2))


class _Foreign:
    """An optimizer of another library, which shares no more than a method."""

    def step(self) -> None:
        """Nothing."""


class _Hidden(torch.optim.Optimizer):
    """An optimizer that never called the constructor of its class."""

    def __init__(self, parameters: Any) -> None:
        self.param_groups = [{"params": list(parameters)}]

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Nothing."""


def test_optimizers_whose_steps_are_not_shown() -> None:
    model = network()
    assert "_Foreign is no torch.optim.Optimizer" in refusal(model, masks_for(model), _Foreign())
    assert "_Hidden steps without the hooks" in refusal(model, masks_for(model), _Hidden(model.parameters()))


def test_weights_that_are_computed_from_others() -> None:
    model = network()
    masks = masks_for(model)
    prune.l1_unstructured(model[4], "weight", 0.5)
    assert "call torch.nn.utils.prune.remove(module, 'weight') first" in refusal(model, masks)
    model = network()
    parametrizations.weight_norm(model[4])
    assert "'4.weight' is computed by torch.nn.utils.parametrize" in refusal(model, masks)


def test_parameters_without_a_shape_or_with_sparse_gradients() -> None:
    assert "has no shape yet" in refusal(nn.LazyLinear(3), {"weight": np.ones((3, 3), bool)})
    assert "sparse=False" in refusal(nn.Embedding(4, 2, sparse=True), {"weight": np.ones((4, 2), bool)})


def test_a_shared_parameter_has_one_mask() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    mask = np.eye(3, dtype=bool)
    lth_deploy.hold(model, None, {"0.weight": mask, "1.weight": mask}).release()
    assert "one shared parameter with two masks" in refusal(model, {"0.weight": mask, "1.weight": ~mask})


def test_a_parameter_that_is_replaced_while_it_is_held() -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with lth_deploy.hold(model, optimizer, masks_for(model)):
        model[4].weight = nn.Parameter(torch.ones(6, 64))
        with pytest.raises(UsageError, match=r"'4\.weight' was replaced by another one"):
            train(model, optimizer, range(1))


def test_an_average_of_another_network_is_refused() -> None:
    model = network()
    with lth_deploy.hold(model, None, masks_for(model)) as held, pytest.raises(UsageError, match="fit no parameter"):
        held.zero(nn.Linear(2, 2))
