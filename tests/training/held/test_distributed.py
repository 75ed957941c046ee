"""Masks hold in every process of a distributed training, which stay equal to the last bit."""

import os
from datetime import timedelta
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="torch comes with the extra 'train'")

import torch.distributed as dist  # noqa: E402
import torch.multiprocessing as mp  # noqa: E402

import lth_deploy  # noqa: E402
from tests.training.held.small import loss_of, masks_for, network, require_zeros  # noqa: E402
from tests.waiting import SECONDS, wait_until  # noqa: E402


def _train(rank: int, folder: str) -> None:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    meeting = f"file://{folder}/meeting"
    dist.init_process_group("gloo", meeting, timeout=timedelta(seconds=SECONDS), rank=rank, world_size=2)
    model, masks = network(), masks_for(network())
    parallel = torch.nn.parallel.DistributedDataParallel(model)
    optimizer = torch.optim.SGD(parallel.parameters(), lr=0.05, momentum=0.9, weight_decay=0.1)
    with lth_deploy.hold(parallel, optimizer, masks):
        for step in range(4):
            optimizer.zero_grad()
            loss_of(parallel, 2 * step + rank).backward()
            for name, mask in masks.items():
                assert not model.get_parameter(name).grad.numpy()[~mask].any(), "the exchange filled zeros"
            torch.nn.utils.clip_grad_norm_(parallel.parameters(), 1.0)
            optimizer.step()
    require_zeros(model, masks)
    torch.save(model[4].weight, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_train_one_ticket(tmp_path: Path) -> None:
    both = mp.spawn(_train, args=(str(tmp_path),), nprocs=2, join=False)
    wait_until(lambda: both.join(1), "the end of both trainings")
    one, other = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    assert torch.equal(one, other)
