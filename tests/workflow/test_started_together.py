"""Processes that are started together on one directory: one wins, the others are refused, and nothing is mixed."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from lth_deploy.config.recipe import Recipe
from lth_deploy.run.directory import RunDirectory
from tests.waiting import next_line
from tests.workflow.racing import tell
from tests.workflow.ticket_runs import tiny_recipe

pytest.importorskip("torchvision", reason="torchvision comes with the extra 'train'")

PROJECT = Path(__file__).parents[2]
PAIRS = 8

RACER = """
    import sys
    import time
    from pathlib import Path

    from lth_deploy.config.recipe import load_recipe
    from lth_deploy.errors import LthError
    from lth_deploy.workflow.search import find_ticket as verb

    class Stop(Exception):
        pass

    def held(*_):
        # The winner trains for a while; the others come in the meantime.
        print("won", flush=True)
        sys.stdin.readline()
        raise Stop

    verb.splits_of_all_ranks = held
    recipe = load_recipe(Path(sys.argv[1]))
    for line in sys.stdin:
        out, resume = line.split()
        try:
            verb.find_ticket(recipe, Path(out), device="cpu", resume=resume == "yes")
        except Stop:
            pass
        except LthError as error:
            print(error.exit_code, error, flush=True)
"""


def test_of_two_searches_started_together_one_owns_the_directory(tmp_path: Path) -> None:
    recipes = [tiny_recipe(training={"seed": seed}) for seed in range(2)]
    racers = [_racer(recipe, tmp_path / f"{number}.yaml") for number, recipe in enumerate(recipes)]
    winners = []
    for turn in range(PAIRS):
        out = tmp_path / f"run{turn}"
        # The second search may also be a resumed one, which begins anew where nothing is.
        resume = "yes" if turn % 2 else "no"
        for racer in racers:
            tell(racer, f"{out} {resume}")
        lines = [next_line(racer) for racer in racers]
        assert sorted(text == "won" for text in lines) == [False, True], lines
        winner = lines.index("won")
        winners.append(winner)
        assert lines[1 - winner].startswith("6 another process is working on"), lines
        run = RunDirectory.open(out)
        assert run.recipe() == recipes[winner]
        assert run.manifest()["recipe_digest"] == recipes[winner].digest()
        tell(racers[winner], "")
    for racer in racers:
        racer.communicate(timeout=300)


def _racer(recipe: Recipe, file: Path) -> "subprocess.Popen[str]":
    file.write_text(recipe.to_yaml())
    racer = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(RACER), str(file)],
        cwd=PROJECT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    return racer
