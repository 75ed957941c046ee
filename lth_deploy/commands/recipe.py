"""`lth-deploy recipe`."""

from pathlib import Path
from typing import Annotated

import typer

from lth_deploy.commands.options import RecipeArgument, RecipeOption

app = typer.Typer(no_args_is_help=True, help="Recipes that come with the package.")


@app.command("list")
def list_recipes() -> None:
    """Names and first comment line of the bundled recipes."""
    from lth_deploy.config.bundled import recipe_file, recipe_names

    for name in recipe_names():
        first, _, _ = recipe_file(name).read_text(encoding="utf-8").partition("\n")
        print(f"{name:32} {first.removeprefix('#').strip()}")


@app.command()
def show(
    name: RecipeArgument,
    resolved: Annotated[bool, typer.Option("--resolved", help="With every default written out.")] = False,
) -> None:
    """Print a recipe."""
    from lth_deploy.config.bundled import recipe_file
    from lth_deploy.config.recipe import load_recipe

    file = recipe_file(name)
    recipe = load_recipe(file, check_variables=False)
    print(recipe.to_yaml() if resolved else file.read_text(encoding="utf-8"), end="")


@app.command()
def init(
    out: Annotated[Path, typer.Argument(help="File to write.")] = Path("recipe.yaml"),
    base: RecipeOption = "quickstart",
) -> None:
    """Copy a bundled recipe to edit."""
    from lth_deploy.config.bundled import recipe_file

    _write_new(out, recipe_file(base).read_bytes(), [])


@app.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(help="Recipe of SparseML: YAML, or Markdown with front matter.")],
    out: Annotated[Path, typer.Argument(help="File to write.")] = Path("recipe.yaml"),
    base: RecipeOption = "quickstart",
) -> None:
    """Translate a recipe of SparseML; detector and data are those of --from. See docs/sparseml.md."""
    from lth_deploy.config.bundled import recipe_file
    from lth_deploy.config.sparseml.importing import import_recipe

    imported = import_recipe(file, recipe_file(base))
    _write_new(out, imported.text.encode(), imported.notes)


@app.command("export")
def export_file(
    name: RecipeArgument,
    sparseml: Annotated[Path, typer.Option("--sparseml", help="File to write, for SparseML 1.8.")],
    steps_per_epoch: Annotated[
        int | None, typer.Option(min=1, help="Optimizer steps of an epoch, for recipes that count steps.")
    ] = None,
) -> None:
    """Write a recipe for SparseML's training scripts."""
    from lth_deploy.config.bundled import recipe_file
    from lth_deploy.workflow.recipe_export import recipe_for_sparseml

    written = recipe_for_sparseml(recipe_file(name), steps_per_epoch)
    _write_new(sparseml, written.text.encode(), written.notes)


def _write_new(out: Path, content: bytes, notes: list[str]) -> None:
    """Write `content`, and say on stderr what it does not carry over."""
    import logging

    from lth_deploy import storage
    from lth_deploy.errors import UsageError

    if not storage.create_bytes(out, content):
        raise UsageError(f"{out} exists; choose another file, it is not overwritten")
    for note in notes:
        logging.getLogger(__name__).warning("%s", note)
    print(out)
