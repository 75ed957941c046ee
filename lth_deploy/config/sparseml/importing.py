"""From a file of SparseML to the text of a recipe."""

import re
from dataclasses import dataclass
from pathlib import Path

from lth_deploy.config import strict_yaml
from lth_deploy.config.recipe import recipe_from
from lth_deploy.config.sparseml.document import load
from lth_deploy.config.sparseml.translate import translate
from lth_deploy.errors import RecipeError


@dataclass(frozen=True)
class Imported:
    """A recipe as text, and in sentences what it only approximates or leaves out."""

    text: str
    notes: list[str]


def import_recipe(path: Path, base: Path) -> Imported:
    """The recipe of SparseML at `path`; detector, data and the rest of the training are those of the recipe `base`.

    Raises:
        RecipeError: something has no counterpart, by name and line; or the result is no recipe.
    """
    translation = translate(load(path))
    below = strict_yaml.load(base).value
    name = re.sub(r"[^A-Za-z0-9_.-]+", "_", path.stem).strip("_.-") or "imported"
    document = translation.onto(below, name)
    text = strict_yaml.dump(document)
    try:
        recipe_from(strict_yaml.parse(text, str(path)))
    except RecipeError as error:
        raise RecipeError(f"{path} does not fit the recipe {base}: {error}") from error
    head = [f"# From {path.name} of SparseML; detector, data and what it does not say are those of {base.stem}."]
    head += [f"# Note: {note}" for note in translation.notes]
    return Imported("\n".join([*head, text]), translation.notes)
