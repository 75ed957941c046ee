"""The table of structures: one new line of it reaches recipes, masks, formats and region programs."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import lth_deploy.structures
from lth_deploy.structures import BLOCKS, GROUPS, STRUCTURES, Block

WITH_A_NEW_BLOCK = """
    import sys
    from pathlib import Path
    from types import ModuleType

    # The module with one more line in its table, before anything else has imported it.
    source = Path(sys.argv[1]).read_text()
    line = '    "in4": Block(1, 4),'
    assert line in source
    module = ModuleType("lth_deploy.structures")
    sys.modules[module.__name__] = module
    exec(source.replace(line, line + '    "8x4": Block(8, 4),'), module.__dict__)

    import numpy as np
    from lth_deploy.config.search_spec import PruningSpec
    from lth_deploy.formats import FORMATS
    from lth_deploy.formats.choice import choose
    from lth_deploy.kernels.program.weights import STORED_BLOCKS
    from lth_deploy.reconstruction.mask_selection import select_kept

    assert PruningSpec(structure="8x4", permute="similarity").structure == "8x4"
    block = module.RECONSTRUCTED["8x4"]
    costs = np.random.default_rng(0).random((1, 64, 64))
    kept = select_kept(costs, np.ones(costs.shape, np.bool_), 2048, 1, block)[0]
    assert kept.sum() == 2048
    assert set(kept.reshape(8, 8, 16, 4).sum(axis=(1, 3)).reshape(-1)) == {0, 32}
    weights = np.where(kept, costs[0], 0).astype(np.float32)
    name = choose(weights)
    assert name.endswith(":8x4"), name
    assert np.array_equal(FORMATS.get(name).decode(FORMATS.get(name).encode(weights), weights.shape), weights)
    assert STORED_BLOCKS[(8, 4)] == "8x4"
"""


def test_a_new_block_structure_is_one_line() -> None:
    source = Path(lth_deploy.structures.__file__)
    command = [sys.executable, "-c", textwrap.dedent(WITH_A_NEW_BLOCK), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def test_every_name_is_of_one_structure() -> None:
    assert len(set(STRUCTURES.values())) == len(STRUCTURES)
    assert not BLOCKS.keys() & GROUPS.keys()


@pytest.mark.parametrize("name", BLOCKS)
def test_names_in_files_are_outputs_by_inputs(name: str) -> None:
    block = BLOCKS[name]
    outputs, inputs = map(int, block.dims.split("x"))
    assert Block(outputs, inputs) == block
    assert block.suffix == ("" if name == "single" else f":{block.dims}")
