"""SparseML's own manager loads what is written for it, and prunes the same weights."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch comes with the extra 'train'")

from lth_deploy.config.sparseml.writing import write_recipe  # noqa: E402
from lth_deploy.pruning.layer import PrunableLayer  # noqa: E402
from lth_deploy.pruning.ranking.allocation import prune  # noqa: E402
from lth_deploy.pruning.ranking.criteria import magnitude  # noqa: E402
from lth_deploy.pruning.ranking.rank import ones  # noqa: E402
from lth_deploy.structures import STRUCTURES  # noqa: E402
from tests.config.sparseml_recipes.recipes import recipe  # noqa: E402

PACKAGES = ("sparseml==1.8.0", "sparsezoo==1.8.0", "numpy<2", "setuptools<80")
"""Version 1.9 of both is an empty stub; pkg_resources, which they import, left setuptools later."""
OTHER_PYTHON = "LTH_SPARSEML_PYTHON"


def _without(environment: Path) -> str:
    """Make an environment with SparseML that shares torch with this one; what went wrong, or nothing."""
    if sys.version_info[:2] != (3, 11):
        return "sparseml 1.8.0 needs Python 3.11 or older"
    python = environment / "bin" / "python"
    commands: list[list[str]] = [
        [sys.executable, "-m", "venv", str(environment)],
        [str(python), "-m", "pip", "install", "--quiet", *PACKAGES],
    ]
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, timeout=600)
        if done.returncode:
            return f"sparseml 1.8.0 cannot be installed: {done.stderr.strip().splitlines()[-1:]}"
    (packages,) = (environment / "lib").glob("python*/site-packages")
    # Packages of SparseML's own come first: torch is all that is taken from here.
    (packages / "torch.pth").write_text(f"{Path(torch.__file__).parents[1]}\n", encoding="utf-8")
    return ""


@pytest.fixture(scope="module")
def sparseml_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with sparseml 1.8.0, which shares no onnx, numpy or pydantic with this one."""
    given = os.environ.get(OTHER_PYTHON)
    if given:
        return Path(given)
    environment = tmp_path_factory.mktemp("sparseml") / "venv"
    missing = _without(environment)
    if missing:
        pytest.skip(f"{missing}; name the Python of an environment that has it in {OTHER_PYTHON}")
    return environment / "bin" / "python"


def _layers() -> list[PrunableLayer]:
    rng = np.random.default_rng(0)
    shapes = {"stem.weight": (8, 3, 3, 3), "body.weight": (16, 8, 3, 3), "head.weight": (5, 16, 1, 1)}
    return [
        PrunableLayer(name, rng.normal(0, 1 + place, shape).astype(np.float32), False, 1.0)
        for place, (name, shape) in enumerate(shapes.items())
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    "pruning",
    [
        {"allocation": "per_layer"},
        {"allocation": "global"},
        {"allocation": "per_layer", "structure": "in4", "block_score": "l1"},
    ],
    ids=["per_layer", "global", "in4"],
)
def test_the_manager_of_sparseml_makes_the_same_zeros(
    pruning: dict[str, Any], sparseml_python: Path, tmp_path: Path
) -> None:
    layers = _layers()
    # The stem has three input channels, which SparseML's blocks of four pad.
    pruned = [layer for layer in layers if layer.weights.shape[1] % 4 == 0 or "structure" not in pruning]
    ours = recipe(pruning)
    recipe_file, weights, masks = (tmp_path / name for name in ("recipe.yaml", "weights.pt", "masks.pt"))
    recipe_file.write_text(write_recipe(ours, [layer.name for layer in pruned], None).text, encoding="utf-8")
    torch.save({layer.name: torch.from_numpy(layer.weights) for layer in layers}, weights)
    script = Path(__file__).with_name("manager.py")
    command = [str(sparseml_python), str(script), str(recipe_file), str(weights), str(masks)]
    # It writes a folder of logs where it stands.
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    theirs = {name: mask.numpy() for name, mask in torch.load(masks, weights_only=True).items()}
    wanted = prune(
        pruned,
        ones(pruned),
        0.8,
        magnitude,
        ours.pruning.allocation,
        STRUCTURES[ours.pruning.structure],
        ours.pruning.block_score,
    )
    for layer in layers:
        expected = wanted.get(layer.name, np.ones(layer.weights.shape, np.bool_))
        # Both round the number of zeros of a layer, or of the network, in a way of their own.
        assert np.count_nonzero(theirs[layer.name] != expected) <= (4 if "structure" in pruning else 1), layer.name
