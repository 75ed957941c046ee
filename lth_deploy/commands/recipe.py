"""`lth-deploy recipe`."""

from pathlib import Path
from typing import Annotated

import typer

from lth_deploy.commands.options import RecipeArgument, RecipeOption

app = typer.Typer(no_args_is_help=True, help="Recipes that come with the package.")


@app.command("list")
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
    from lth_deploy import storage
    from lth_deploy.config.bundled import recipe_file
    from lth_deploy.errors import UsageError

    if not storage.create_bytes(out, recipe_file(base).read_bytes()):
        raise UsageError(f"{out} exists; choose another file, it is not overwritten")
    print(out)
