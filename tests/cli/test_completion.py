"""The shell completes verbs, options, and the names of recipes, sweeps and targets."""

import os
import subprocess
import sys

import pytest

from lth_deploy.config.bundled import recipe_names, sweep_names, target_names


def completions(*words: str) -> list[str]:
    """What bash offers for the last of the words."""
    given = {"_LTH_DEPLOY_COMPLETE": "complete_bash", "COMP_WORDS": " ".join(("lth-deploy", *words))}
    environment = {**os.environ, **given, "COMP_CWORD": str(len(words)), "TERM": "dumb"}
    program = "import sys; sys.argv[0] = 'lth-deploy'; from lth_deploy.cli import main; main()"
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment, timeout=300)
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("insp",), ["inspect"]),
        (("find-ticket", "quick"), ["quickstart"]),
        (("recipe", "show", "coco/mask"), [name for name in recipe_names() if name.startswith("coco/mask")]),
        (("recipe", "init", "--from", "quick"), ["quickstart"]),
        (("sweep", "shapes_r"), [name for name in sweep_names() if name.startswith("shapes_r")]),
        (("export", "run", "--target", ""), target_names()),
        (("export", "--no-pro"), ["--no-profile"]),
    ],
)
def test_the_shell_completes(words: tuple[str, ...], offered: list[str]) -> None:
    assert offered
    assert completions(*words) == offered
