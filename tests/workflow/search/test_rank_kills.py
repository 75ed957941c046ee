"""A rank that is killed: torchrun starts all of them again, and the run ends with the bits of one without the kill."""

import random
import time
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="torch comes with the extra 'train'")
pytest.importorskip("torchvision", reason="torchvision comes with the extra 'train'")

from tests.training.ranks.agents import SECONDS, Agent, agents, kill_rank, lines_of, ranks_of, wait_for_end
from tests.workflow.search.ranks_search import command, ranks_recipe
from tests.workflow.ticket_runs import outcome

KILLS, STEPS = 5, 140


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("recipe") / "ranks.yaml"
    training = {"steps": STEPS, "checkpoint_seconds": 0.2}
    file.write_text(ranks_recipe(training=training, controls={"random": []}).to_yaml())
    return file


@pytest.fixture(scope="module")
def through(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on two ranks of one agent, of which none is killed."""
    folder = tmp_path_factory.mktemp("through")
    with agents(command(recipe, folder / "run"), folder, nodes=1, each=2) as begun:
        wait_for_end(begun)
    return folder / "run"


def wait_for_lines(begun: list[Agent], run: Path, lines: int) -> None:
    """Wait until the search has recorded so many steps, or has ended."""
    assert recorded_within(begun, run, lines, SECONDS), "\n".join(agent.log for agent in begun)


def recorded_within(begun: list[Agent], run: Path, lines: int, seconds: float) -> bool:
    """Whether the search records so many steps within so many seconds, or ends."""
    deadline = time.monotonic() + seconds
    while lines_of(run) < lines and all(agent.process.poll() is None for agent in begun):
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.02)
    return True


@pytest.mark.slow
def test_ranks_that_are_killed_five_times_end_with_the_same_bits(recipe: Path, through: Path, tmp_path: Path) -> None:
    draw, run, killed = random.Random(time.time_ns()), tmp_path / "run", []
    # The first kill may come before there is a run; the others after as many records as is drawn. However fast this
    # machine is, a tenth of the records is not there yet when the last one comes.
    tenth = lines_of(through) // 10
    moments = [0, *sorted(draw.sample(range(1, lines_of(through) * 4 // 5), KILLS - 1))]
    with agents(command(recipe, run), tmp_path, nodes=1, each=2, restarts=KILLS + 1) as begun:
        for moment in moments:
            wait_for_lines(begun, run, moment)
            recorded_within(begun, run, max(moment, tenth) + tenth, draw.uniform(0.0, 0.2 if moment else 8.0))
            ranks = ranks_of(begun, 2)
            killed.append((draw.choice(sorted(ranks)), lines_of(run)))
            kill_rank(begun, ranks, killed[-1][0])
        wait_for_end(begun)
    assert outcome(run) == outcome(through), killed


@pytest.mark.slow
@pytest.mark.parametrize("kills", [[], [0, 1]], ids=["none is killed", "each is killed once"])
def test_two_agents_with_a_rank_each_end_with_the_bits_of_one_agent_with_two(
    recipe: Path, through: Path, tmp_path: Path, kills: list[int]
) -> None:
    """Each agent plays a machine; the one whose rank was not killed does not count the restart."""
    run = tmp_path / "run"
    with agents(command(recipe, run), tmp_path, nodes=2, each=1, restarts=len(kills) + 1) as begun:
        for rank in kills:
            wait_for_lines(begun, run, lines_of(run) + lines_of(through) // 4)
            kill_rank(begun, ranks_of(begun, 2), rank)
        wait_for_end(begun)
    assert outcome(run) == outcome(through)
