"""Every allocation and every structure runs through a whole search, with its random control."""

from pathlib import Path
from typing import get_args

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch comes with the extra 'train'")

from lth_deploy.mask import Masks, load_masks, sparsity  # noqa: E402
from lth_deploy.pruning.ranking.budget import Allocation  # noqa: E402
from lth_deploy.structures import STRUCTURES, Groups  # noqa: E402
from tests.pruning.toy_search import toy_recipe, toy_search  # noqa: E402


def searched(path: Path, level: float, **pruning: object) -> tuple[Masks, Masks]:
    """Masks of the ticket and of its random control."""
    recipe = toy_recipe(pruning={"levels": [level], **pruning}, controls={"random": [level]})
    search = toy_search(path, recipe)
    search.check()
    search.execute()
    ticket, random = (load_masks(search.run.trial(f"{kind}_{100 * level:g}").mask) for kind in ("level", "random"))
    return ticket, random


@pytest.mark.parametrize("allocation", get_args(Allocation))
def test_every_allocation_runs(tmp_path: Path, allocation: str) -> None:
    ticket, random = searched(tmp_path / "run", 0.75, allocation=allocation)
    assert {name: int(mask.sum()) for name, mask in ticket.items()} == {n: int(m.sum()) for n, m in random.items()}
    if allocation != "macs":
        total = sum(mask.size for mask in ticket.values())
        assert sparsity(ticket) == pytest.approx(0.75, abs=2 / total)


@pytest.mark.parametrize("name", [name for name in STRUCTURES if name != "filter"])
def test_every_structure_runs(tmp_path: Path, name: str) -> None:
    structure = STRUCTURES[name]
    level = 1 - structure.keep / structure.of if isinstance(structure, Groups) else 0.5
    ticket, random = searched(tmp_path / "run", level, structure=name)
    assert {layer: int(mask.sum()) for layer, mask in ticket.items()} == {n: int(m.sum()) for n, m in random.items()}
    assert any(not np.array_equal(ticket[layer], random[layer]) for layer in ticket)
    if isinstance(structure, Groups):
        # Inputs 0 to 3 of the transposed convolution's six, and what is left of them.
        assert (ticket["up.weight"][: structure.of].sum(0) == min(structure.keep, 6)).all()
