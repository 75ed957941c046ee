"""`find-ticket --plan` on the command line."""

import json
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="torch comes with the extra 'train'")
pytest.importorskip("torchvision", reason="torchvision comes with the extra 'train'")

from tests.cli.running import Cli
from tests.workflow.search.ranks_search import ranks_recipe


def test_the_plan_is_printed_and_nothing_starts(cli: Cli, tmp_path: Path) -> None:
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(ranks_recipe().to_yaml())
    done = cli("find-ticket", recipe, "--plan", "--out", tmp_path / "run", "--json")
    assert done.code == 0, done.err
    plan = json.loads(done.out)
    assert plan["steps"] == sum(trial["steps"] for trial in plan["trials"])
    assert "time: not measured; on the device: [torchrun --nproc-per-node N] -m benchmarks.distributed" in done.err
    assert "level_50" in done.err
    assert not (tmp_path / "run").exists()


def test_a_plan_of_a_smoke_run_is_refused(cli: Cli) -> None:
    done = cli("find-ticket", "quickstart", "--plan", "--smoke")
    assert (done.code, done.err) == (2, "error: --plan writes nothing, and --smoke would: leave one of them out\n")
