"""torchrun for tests: one or several of its agents on this machine, and the ranks that they watch over."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil

from tests.training.ranks.launched import ROOT, meeting_port

SECONDS = 600
"""How long a test waits for anything."""

_PATIENT = {"is_host": 0, "heartbeat": 120, "keep_alive_max_attempt": 60, "close_timeout": 300, "read_timeout": 300}
"""Settings of the meeting of agents, which play machines that are busy: one is not given up after 15 seconds."""


class Agent:
    """One torchrun, which plays one machine."""

    def __init__(self, arguments: Sequence[str], log: Path) -> None:
        variables = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)}
        variables |= {"GLOO_SOCKET_IFNAME": "lo"}
        command = [sys.executable, "-m", "torch.distributed.run", *arguments]
        with log.open("wb") as file:
            self.process = subprocess.Popen(command, env=variables, cwd=ROOT, stdout=file, stderr=file)
        self._log = log

    @property
    def log(self) -> str:
        """What it and its ranks printed."""
        return self._log.read_text(errors="replace")

    def ranks(self) -> dict[int, int]:
        """Number of the process of each of its ranks, by rank."""
        found = {}
        with suppress(psutil.Error):
            for child in psutil.Process(self.process.pid).children():
                with suppress(psutil.Error):  # a process may end while it is looked at
                    variables = child.environ()
                    found |= {int(variables["RANK"]): child.pid} if "RANK" in variables else {}
        return found

    def end(self) -> None:
        """End it with its ranks, if it runs."""
        self.process.terminate()
        try:
            self.process.wait(timeout=300)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(timeout=300)


@contextmanager
def agents(
    arguments: Sequence[str], folder: Path, *, nodes: int, each: int, restarts: int = 0
) -> Iterator[list[Agent]]:
    """`python ARGUMENTS` on so many ranks on each of so many agents."""
    folder.mkdir(parents=True, exist_ok=True)
    with meeting_port() as port, ExitStack() as running:
        patience = ",".join(f"{name}={value}" for name, value in _PATIENT.items())
        options = ["--nnodes", str(nodes), "--nproc-per-node", str(each), "--max-restarts", str(restarts)]
        options += ["--rdzv-backend", "c10d", "--rdzv-endpoint", f"127.0.0.1:{port}", "--rdzv-conf", patience]
        options += ["--rdzv-id", "test", "--local-addr", "127.0.0.1", "--monitor-interval", "0.1"]
        begun = []
        for number in range(nodes):
            begun.append(Agent([*options, *arguments], folder / f"agent{number}.log"))
            running.callback(begun[-1].end)
        yield begun


def wait_for_end(begun: Sequence[Agent]) -> None:
    """Wait until all have ended, and hold them to exit code 0."""
    deadline = time.monotonic() + SECONDS
    logs = [agent.log for agent in begun]
    for agent in begun:
        try:
            code = agent.process.wait(timeout=max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            code = None
        logs = [other.log for other in begun]
        assert code == 0, "\n".join(logs)


def ranks_of(begun: Sequence[Agent], size: int) -> dict[int, int]:
    """Number of the process of each rank, once all are there."""
    deadline = time.monotonic() + SECONDS
    while len(found := {rank: process for agent in begun for rank, process in agent.ranks().items()}) < size:
        assert all(agent.process.poll() is None for agent in begun), "\n".join(agent.log for agent in begun)
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


def kill_rank(begun: Sequence[Agent], ranks: dict[int, int], rank: int) -> None:
    """Kill -9 one of `ranks`, and wait until none of them is left."""
    os.kill(ranks[rank], 9)
    deadline = time.monotonic() + SECONDS
    while set(ranks.values()) & {process for agent in begun for process in agent.ranks().values()}:
        if any(agent.process.poll() is not None for agent in begun):
            return
        assert time.monotonic() < deadline
        time.sleep(0.02)


def lines_of(run: Path) -> int:
    """How many records of steps a run has, which says how far it is."""
    return sum(file.read_bytes().count(b"\n") for file in run.glob("trials/*/metrics.jsonl"))
