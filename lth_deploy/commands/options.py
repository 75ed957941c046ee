"""Options that several verbs have."""

from typing import Annotated

import typer


def _recipes(begun: str) -> list[str]:
    """Names of bundled recipes that begin with what is typed, for the completion of the shell."""
    from lth_deploy.config.bundled import recipe_names

    return [name for name in recipe_names() if name.startswith(begun)]


def _sweeps(begun: str) -> list[str]:
    from lth_deploy.config.bundled import sweep_names

    return [name for name in sweep_names() if name.startswith(begun)]


def _targets(begun: str) -> list[str]:
    from lth_deploy.config.bundled import target_names

    return [name for name in target_names() if name.startswith(begun)]


RecipeArgument = Annotated[
    str, typer.Argument(help="A bundled recipe's name, or a YAML file.", autocompletion=_recipes)
]
RecipeOption = Annotated[str, typer.Option("--from", help="Bundled recipe to start from.", autocompletion=_recipes)]
SweepArgument = Annotated[
    str, typer.Argument(metavar="SWEEP", help="A bundled sweep's name, or a YAML file.", autocompletion=_sweeps)
]
TargetOption = Annotated[
    str | None, typer.Option(help="Bundled target's name, or a YAML file.", autocompletion=_targets)
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout, the table on stderr.")]
DecoderOption = Annotated[
    str | None,
    typer.Option(help="auto, a decoder's name, or FILE.py:function, for models from elsewhere.", show_default="auto"),
]
ShapeOption = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=1,3,640,640", help="Shape of an input whose sizes are open; once for each input."),
]

VerifyOption = Annotated[
    bool, typer.Option("--verify", help="Refuse files that are not those that the gates of their export passed.")
]
