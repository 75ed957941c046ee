"""Ranks find one another in a store that earlier ones have used."""

from concurrent.futures import ThreadPoolExecutor

import pytest

torch = pytest.importorskip("torch", reason="torch comes with the extra 'train'")

import torch.distributed as dist  # noqa: E402

from lth_deploy.training.ranks.meeting import meet  # noqa: E402
from tests.waiting import SECONDS  # noqa: E402


def met(store: "dist.Store", restarts: list[int], seconds: float = SECONDS) -> tuple[str, bool]:
    """What all ranks get, held to be the same: the prefix of their keys, and whether they were started again."""
    size = len(restarts)
    with ThreadPoolExecutor(size) as pool:
        futures = [pool.submit(meet, store, rank, size, count, seconds) for rank, count in enumerate(restarts)]
        ends = [future.result() for future in futures]
    assert len(set(ends)) == 1
    return ends[0]


def test_ranks_that_begin_are_not_begun_again() -> None:
    assert met(dist.HashStore(), [0, 0, 0])[1] is False


@pytest.mark.parametrize("counts", [[0, 1], [1, 0], [1, 1], [0, 0]])
def test_ranks_that_begin_again_have_other_keys_whoever_counts_the_restart(counts: list[int]) -> None:
    store = dist.HashStore()
    first, _ = met(store, [0, 0])
    second, restarted = met(store, counts)
    assert (first != second, restarted) == (True, True)


def test_in_a_new_store_the_counts_say_whether_ranks_begin_again() -> None:
    assert met(dist.HashStore(), [0, 2])[1] is True


@pytest.mark.parametrize("gone", [0, 1])
def test_a_rank_that_went_while_others_were_awaited_is_forgotten(gone: int) -> None:
    store = dist.HashStore()
    with pytest.raises(RuntimeError, match="no sign of rank"):
        meet(store, gone, 2, 0, 0.2)
    met(store, [1, 1])


def test_rank_0_names_those_that_are_missing() -> None:
    store = dist.HashStore()
    with pytest.raises(RuntimeError, match="no sign of rank 1, 2"):
        meet(store, 0, 3, 0, 0.2)
    met(store, [0, 0, 0])
    for seconds in (0.2, -1.0):  # what they left behind is no sign; and those before may have used up the time
        with pytest.raises(RuntimeError, match="no sign of rank 1, 2"):
            meet(store, 0, 3, 0, seconds)
