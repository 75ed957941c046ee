"""Ranks for tests: processes that meet on this machine over Gloo."""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import torch.distributed as dist

ROOT = Path(__file__).parents[3]


@contextmanager
def meeting_port() -> Iterator[int]:
    """The port of a store in this process, at which others meet. It is taken already, so that nobody else takes it."""
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False, timeout=timedelta(minutes=5))
    yield store.port
    del store


def started(
    arguments: Sequence[Sequence[str]], size: int | None = None, **variables: str
) -> list[tuple[int, str, str]]:
    """Run `python ARGUMENTS` once for each rank; exit code, stdout and stderr of each.

    size: how many ranks each of them waits for, where that is another number.
    """
    shared = {
        **{name: value for name, value in os.environ.items() if not name.startswith("TORCHELASTIC")},
        "WORLD_SIZE": str(size or len(arguments)),
        "MASTER_ADDR": "127.0.0.1",
        "TORCHELASTIC_USE_AGENT_STORE": "True",  # rank 0 opens none of its own
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "GLOO_SOCKET_IFNAME": "lo",  # else Gloo looks up the name of the machine
        **variables,
    }
    with meeting_port() as port:
        processes = [
            subprocess.Popen(
                [sys.executable, *own],
                env={**shared, "MASTER_PORT": str(port), "RANK": str(rank), "LOCAL_RANK": str(rank)},
                cwd=ROOT,
                text=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            for rank, own in enumerate(arguments)
        ]
        try:
            ends = [process.communicate(timeout=300) for process in processes]
        finally:
            for process in processes:
                process.kill()
    return [(process.returncode, *end) for process, end in zip(processes, ends, strict=True)]
