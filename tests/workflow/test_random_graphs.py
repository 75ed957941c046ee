"""Random small graphs through `export --onnx`: what comes out computes the same, or there is one error of ours."""

import logging
from pathlib import Path

import pytest

from tests.random_graphs import random_graph
from tests.random_graphs.exported import differences

SEED, COUNT = 0, 160
"""Graphs of every run: seeds SEED to SEED + COUNT - 1; every second one is pruned to SPARSITY."""

MANY = 3000
"""Graphs of the slow test, behind those."""

SPARSITY = 0.7

BATCH = 20


@pytest.fixture(autouse=True)
def quiet() -> None:
    logging.getLogger("lth_deploy").setLevel(logging.CRITICAL)


def wrong(seeds: range, folder: Path) -> dict[int, list[str]]:
    found = {}
    for seed in seeds:
        texts = differences(random_graph(seed), folder / str(seed), sparsity=SPARSITY if seed % 2 else None)
        if texts:
            found[seed] = texts
    return found


@pytest.mark.parametrize("first", range(SEED, SEED + COUNT, BATCH))
def test_random_graphs_export_and_compute_the_same(first: int, tmp_path: Path) -> None:
    assert not wrong(range(first, first + BATCH), tmp_path)


@pytest.mark.slow
def test_many_random_graphs_export_and_compute_the_same(tmp_path: Path) -> None:
    assert not wrong(range(SEED + COUNT, SEED + COUNT + MANY), tmp_path)
