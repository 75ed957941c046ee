"""Masks are found where other tools keep them, and files are read as data."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch comes with the extra 'train'")

from safetensors.torch import save_file  # noqa: E402
from torch.nn.utils import prune  # noqa: E402

import lth_deploy  # noqa: E402
from lth_deploy.errors import DataError  # noqa: E402
from tests.training.held.small import loss_of, masks_for, network, require_zeros, train  # noqa: E402


def same(found: dict[str, Any], wanted: dict[str, Any]) -> bool:
    """Whether two sets of masks are equal."""
    return found.keys() == wanted.keys() and all(np.array_equal(found[name], wanted[name]) for name in wanted)


def test_masks_of_torch_prune_are_read_and_held() -> None:
    model = network()
    targets = [(model[0], "weight"), (model[4], "weight")]
    prune.global_unstructured(targets, prune.L1Unstructured, amount=0.6)
    loss_of(model, 0).backward()
    masks = lth_deploy.masks_of(model)
    assert same(masks, {"0.weight": model[0].weight_mask.numpy() > 0, "4.weight": model[4].weight_mask.numpy() > 0})
    for module, name in targets:
        prune.remove(module, name)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    with lth_deploy.hold(model, optimizer, masks):
        train(model, optimizer, range(3))
    require_zeros(model, masks)


@pytest.mark.parametrize(
    "key",
    [
        "nncf_module.{layer}.pre_ops.0.op._binary_mask",
        "{layer}.pre_ops.1.op._binary_mask",
        "__nncf_hooks.post_hooks.{hook}:weight__0.0.binary_mask",
    ],
)
def test_masks_of_nncf_are_read(key: str) -> None:
    masks = {"body.0.weight": np.eye(3, dtype=bool), "head.weight": np.tri(2, 3, dtype=bool)}
    state = {"nncf_module.body.0.weight": torch.ones(3, 3), "head.weight": torch.ones(2, 3)}
    for name, mask in masks.items():
        layer = name.removesuffix(".weight")
        stored = torch.from_numpy(mask) if "hooks" in key else torch.from_numpy(mask).float()
        state[key.format(layer=layer, hook=layer.replace(".", ":"))] = stored
    assert same(lth_deploy.masks_of(state), masks)


def test_masks_of_sparseml_are_read_before_zeros() -> None:
    mask = np.eye(4, dtype=bool)
    state = {
        "state_dict": {"module.head.weight": torch.zeros(4, 4), "module.head.bias": torch.zeros(4)},
        "manager": {"head.weight.sparsity_mask": torch.from_numpy(mask).float()},
    }
    assert same(lth_deploy.masks_of(state), {"head.weight": mask})


def test_zeros_of_a_checkpoint_are_masks_where_there_are_no_others(tmp_path: Path) -> None:
    model, masks = network(), masks_for(network())
    with torch.no_grad():
        for name, mask in masks.items():
            model.get_parameter(name)[torch.from_numpy(~mask)] = 0
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    train(network(), optimizer, range(1))
    momentum = {"state": {0: {"momentum_buffer": torch.zeros(4, 4)}}}
    torch.save({"epoch": 3, "state_dict": model.state_dict(), "optimizer": momentum}, tmp_path / "last.pth")
    assert same(lth_deploy.masks_of(tmp_path / "last.pth"), masks)
    save_file(model.state_dict(), tmp_path / "last.safetensors")
    assert same(lth_deploy.masks_of(str(tmp_path / "last.safetensors")), masks)


def test_boolean_tensors_are_masks(tmp_path: Path) -> None:
    masks = masks_for(network())
    save_file({name: torch.from_numpy(mask) for name, mask in masks.items()}, tmp_path / "masks.safetensors")
    assert same(lth_deploy.masks_of(tmp_path / "masks.safetensors"), masks)


def test_a_few_zeros_make_no_mask() -> None:
    weights = torch.ones(200, 10)
    weights[0, 0] = 0
    with pytest.raises(DataError, match=r"no masks of torch\.nn\.utils\.prune, NNCF or SparseML"):
        lth_deploy.masks_of({"head.weight": weights})


class _Attack:
    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return (Path.touch, (self.file,))


def test_a_checkpoint_that_runs_code_is_refused(tmp_path: Path) -> None:
    touched = tmp_path / "touched"
    torch.save({"state_dict": {"w": torch.zeros(2, 2)}, "args": _Attack(touched)}, tmp_path / "bad.pth")
    (tmp_path / "bad.pkl").write_bytes(pickle.dumps(_Attack(touched)))
    for name in ("bad.pth", "bad.pkl"):
        with pytest.raises(DataError, match="holds more than tensors and plain containers"):
            lth_deploy.masks_of(tmp_path / name)
    assert not touched.exists()


@pytest.mark.parametrize("name", ["absent.safetensors", "absent.pth"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=f"no .* {tmp_path}/{name}"):
        lth_deploy.masks_of(tmp_path / name)


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "torn.safetensors").write_bytes(b"\xff" * 40)
    with pytest.raises(DataError, match="no sound safetensors file"):
        lth_deploy.masks_of(tmp_path / "torn.safetensors")
    with pytest.raises(DataError, match="holds other values than 0 and 1"):
        lth_deploy.masks_of({"a.weight.sparsity_mask": torch.full((2, 2), 0.5)})
