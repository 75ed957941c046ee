"""Recipes, sweeps and export targets that come with the package."""

from pathlib import Path

from lth_deploy.errors import RecipeError
from lth_deploy.registry import did_you_mean

_PACKAGE = Path(__file__).resolve().parents[1]
SWEEPS = "recipes/sweeps"


def recipe_file(name: str) -> Path:
    """The file of a bundled recipe, or `name` itself when it is the path of a file.

    Raises:
        RecipeError: neither exists.
    """
    return _find("recipes", "recipe", name)


def target_file(name: str) -> Path:
    """The file of a bundled export target, or `name` itself when it is the path of a file.

    Raises:
        RecipeError: neither exists.
    """
    return _find("export", "target", name)


def sweep_file(name: str) -> Path:
    """The file of a bundled sweep, or `name` itself when it is the path of a file.

    Raises:
        RecipeError: neither exists.
    """
    return _find(SWEEPS, "sweep", name)


def recipe_names() -> list[str]:
    """Names of all bundled recipes."""
    return _names("recipes")


def sweep_names() -> list[str]:
    """Names of all bundled sweeps."""
    return _names(SWEEPS)


def target_names() -> list[str]:
    """Names of all bundled export targets."""
    return _names("export")


def _folder(kind: str) -> Path:
    # An installed package carries a copy; a checkout has the folder beside the package.
    inside = _PACKAGE / "bundled" / kind
    return inside if inside.is_dir() else _PACKAGE.parent / kind


def _names(kind: str) -> list[str]:
    folder, sweeps = _folder(kind), _folder(SWEEPS)
    files = (file for file in folder.rglob("*.yaml") if folder == sweeps or sweeps not in file.parents)
    return sorted(str(file.relative_to(folder).with_suffix("")) for file in files)


def _find(kind: str, noun: str, name: str) -> Path:
    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        if path.is_file():
            return path
        raise RecipeError(f"no {noun} file {path}; give the path of one, or a bundled name: {', '.join(_names(kind))}")
    if name in _names(kind):
        return _folder(kind) / f"{name}.yaml"
    raise RecipeError(f"no {noun} is called '{name}'{did_you_mean(name, _names(kind))}")
