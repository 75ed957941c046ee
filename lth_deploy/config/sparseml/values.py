"""Values of modifiers, checked."""

from typing import NoReturn

from lth_deploy.config.sparseml.document import Modifier, SparseMLRecipe
from lth_deploy.errors import RecipeError


def number(recipe: SparseMLRecipe, modifier: Modifier, key: str, *, default: float | None = None) -> float:
    """A finite number; `default` where the key is not given.

    Raises:
        RecipeError: there is none.
    """
    value = modifier.values.get(key)
    if value is None and default is not None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not -1e12 < value < 1e12:
        refuse(recipe, modifier, key, f"a number is needed, found {value!r:.60}")
    return float(value)


def refuse(recipe: SparseMLRecipe, modifier: Modifier, key: str, reason: str) -> NoReturn:
    """Raise what says that a value has no counterpart, with its line."""
    raise RecipeError(f"{recipe.source}, line {modifier.line_of(key)}: {modifier.name}.{key}: {reason}")
