"""The process group of a training: who the ranks are, and how rank 0, which leads, reaches the others.

Rank 0 runs a search as a single process does: it decides, ranks weights and writes every file. The other ranks wait for
its messages and do their share of each step and of each evaluation. So what is written into a run directory has one
writer, and what a hook does happens once.
"""

import json
import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.rendezvous import rendezvous

from lth_deploy.errors import LthError, TrainingError, UsageError
from lth_deploy.training.ranks.meeting import meet, wait_for_store

Message = dict[str, Any]

WAIT_VARIABLE, WAIT_SECONDS = "LTH_RENDEZVOUS_SECONDS", 300
"""How long ranks wait for one another when they start."""

_HEADER = 1024
"""Bytes of the first part of a message: two lengths, then the message itself where there is room for it."""
_LENGTHS = 16
_MESSAGES_WAIT = timedelta(days=30)
"""Rank 0 may rank weights or write for as long as it takes; a rank that ends closes its connections at once."""
_STEPS_WAIT = timedelta(minutes=30)


@dataclass
class Ranks:
    """The processes of one training. rank: this one's number. size: how many. restarted: torchrun began them again."""

    rank: int = 0
    size: int = 1
    restarted: bool = False
    working: bool = field(default=False, init=False)
    _messages: Any = None

    @property
    def shared(self) -> bool:
        """Whether the work is divided at all."""
        return self.size > 1

    @property
    def leads(self) -> bool:
        """Whether this is rank 0."""
        return self.rank == 0

    def send(self, message: Message, tensors: Mapping[str, Tensor] | None = None) -> None:
        """From rank 0 to all others: JSON values, and tensors by name."""
        from safetensors.torch import save

        text = json.dumps(message).encode()
        packed = save({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}) if tensors else b""
        header = torch.zeros(_HEADER, dtype=torch.uint8)
        header[:_LENGTHS].view(torch.int64).copy_(torch.tensor([len(text), len(packed)]))
        fits = _LENGTHS + len(text) <= _HEADER
        if fits:
            header[_LENGTHS : _LENGTHS + len(text)] = _as_tensor(text)
        for part in (header, *([] if fits else [_as_tensor(text)]), *([_as_tensor(packed)] if packed else [])):
            dist.broadcast(part, 0, group=self._messages)

    def receive(self) -> tuple[Message, dict[str, Tensor]]:
        """What rank 0 sends next; waits for it."""
        from safetensors.torch import load

        header = torch.zeros(_HEADER, dtype=torch.uint8)
        dist.broadcast(header, 0, group=self._messages)
        length, packed = header[:_LENGTHS].view(torch.int64).tolist()
        fits = _LENGTHS + length <= _HEADER
        text = header[_LENGTHS : _LENGTHS + length] if fits else self._part(length)
        tensors = load(self._part(packed).numpy().tobytes()) if packed else {}
        message: Message = json.loads(text.numpy().tobytes())
        return message, tensors

    def _part(self, length: int) -> Tensor:
        part = torch.zeros(length, dtype=torch.uint8)
        dist.broadcast(part, 0, group=self._messages)
        return part

    def gather(self, data: bytes) -> list[bytes]:
        """The `data` of every rank, in their order, on rank 0; an empty list on the others."""
        if not self.shared:
            return [data]
        lengths = [torch.zeros(1, dtype=torch.int64) for _ in range(self.size)]
        dist.all_gather(lengths, torch.tensor([len(data)]), group=self._messages)
        most = max(1, *(int(length) for length in lengths))
        own = torch.zeros(most, dtype=torch.uint8)
        own[: len(data)] = _as_tensor(data)
        parts = [torch.zeros_like(own) for _ in range(self.size)] if self.leads else None
        dist.gather(own, parts, 0, group=self._messages)
        return [part[: int(n)].numpy().tobytes() for part, n in zip(parts or [], lengths, strict=bool(parts))]

    def require_same(self, value: str, fault: str, error: type[LthError] = TrainingError) -> None:
        """Compare `value` over all ranks; they wait for one another here.

        Raises:
            LthError: on rank 0, of the class `error`: a rank has another value. `fault` is what is said of that rank;
                in it, {rank}, {theirs} and {ours} stand for its number, its value and that of rank 0.
            Differing: on the other ranks, in the same case.
        """
        if not self.shared:
            return
        others = {rank: other.decode() for rank, other in enumerate(self.gather(value.encode()))}
        odd = next((rank for rank, theirs in others.items() if theirs != value), -1)
        verdict = torch.tensor([odd])
        dist.broadcast(verdict, 0, group=self._messages)
        if int(verdict) < 0:
            return
        self.working = False  # all of them stop what they are doing
        if self.leads:
            raise error(fault.format(rank=odd, theirs=others[odd], ours=value))
        raise Differing

    @contextmanager
    def together(self, message: Message, tensors: Mapping[str, Tensor] | None = None) -> Iterator[None]:
        """On rank 0: let all ranks do what `message` says, in the body and at the same time."""
        if self.shared:
            self.send(message, tensors)
            self.working = True
        yield
        # An error leaves it as it is: then the others are in the middle of the work, and hear no message.
        self.working = False

    @contextmanager
    def leading(self) -> Iterator[None]:
        """On rank 0: the body is the whole work, and the other ranks end after it, however it ends.

        Raises:
            TrainingError: another rank has ended.
        """
        code = 1
        try:
            yield
            code = 0
        except LthError as error:
            code = error.exit_code
            raise
        except KeyboardInterrupt:
            self.working = True  # the signal has ended the other ranks too, and none of them listens
            raise
        except RuntimeError as error:
            self.working = self.working or _is_lost_connection(error)
            raise _explained(error) from error
        finally:
            if self.shared and not self.working:
                with suppress(RuntimeError):
                    self.send({"do": "end", "code": code})

    @contextmanager
    def following(self) -> Iterator[None]:
        """On other ranks: the body is the whole work.

        Raises:
            TrainingError: another rank has ended.
        """
        try:
            yield
        except RuntimeError as error:
            raise _explained(error) from error

    def mean(self, values: Tensor) -> Tensor:
        """The mean over all ranks of `values`, which have the same shape everywhere."""
        if self.shared:
            dist.all_reduce(values)
            values /= self.size
        return values


class Differing(Exception):  # noqa: N818  (rank 0 has the error)
    """Ranks differ: rank 0 says how, and the others wait for its next message."""


_LOST = (
    "the connection to another rank is lost: it has ended, and what it printed says why; torchrun --max-restarts N "
    "starts all ranks again, and they go on from the last checkpoint"
)

_here = Ranks()


def current_ranks() -> Ranks:
    """The ranks that this process is one of; a single one unless `joined` is entered."""
    return _here


@contextmanager
def joined(*, gpus: bool) -> Iterator[Ranks]:
    """Meet the other ranks that torchrun started; without torchrun this process is the only one.

    gpus: each rank computes on a GPU of its own, so that gradients go over NCCL; else over Gloo.

    Raises:
        UsageError: the variables of torchrun are damaged, there are fewer GPUs than ranks on this machine, or the ranks
            do not meet in time.
    """
    global _here
    if not _launched():
        yield _here
        return
    rank, size, restarts = _number("RANK"), _number("WORLD_SIZE"), _number("TORCHELASTIC_RESTART_COUNT", "0")
    if size < 2:
        yield Ranks(restarted=restarts > 0)
        return
    if gpus:
        _take_gpu()
    _here = _connected(rank, size, restarts, "nccl" if gpus else "gloo")
    try:
        yield _here
    finally:
        _here = Ranks()
        dist.destroy_process_group()


def local_rank() -> int:
    """Number of this rank on its machine, which is that of its GPU."""
    return _number("LOCAL_RANK", "0") if _launched() else 0


def local_size() -> int:
    """How many ranks this machine has."""
    return max(1, _number("LOCAL_WORLD_SIZE", "1")) if _launched() else 1


def _launched() -> bool:
    return all(name in os.environ for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"))


def _number(variable: str, default: str | None = None) -> int:
    text = os.environ.get(variable, default)
    if text is None or not text.isdecimal() or len(text) > 9:
        raise UsageError(f"the variable {variable} is {text!r:.40}, which is no number; start the ranks with torchrun")
    return int(text)


def _take_gpu() -> None:
    found, own = torch.cuda.device_count(), local_rank()
    if own >= found:
        raise UsageError(
            f"{local_size()} ranks on {socket.gethostname()} need as many GPUs, and torch sees {found}; start "
            f"torchrun with --nproc-per-node {found}, or search with --device cpu"
        )
    torch.cuda.set_device(own)


def _connected(rank: int, size: int, restarts: int, backend: str) -> Ranks:
    """The ranks with their group of messages, over Gloo; the default group carries gradients."""
    seconds = max(1, _number(WAIT_VARIABLE, str(WAIT_SECONDS)))
    began, wait = time.monotonic(), timedelta(seconds=seconds)
    try:
        if rank or os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":  # else rank 0 opens the store itself
            wait_for_store(os.environ["MASTER_ADDR"], _number("MASTER_PORT"), seconds)
        store, rank, size = next(iter(rendezvous("env://", rank, size, timeout=wait)))
        store.set_timeout(wait)
        prefix, restarted = meet(store, rank, size, restarts, seconds - (time.monotonic() - began))
        store = dist.PrefixStore(prefix, store)  # type: ignore[attr-defined]
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=_STEPS_WAIT)
        return Ranks(rank, size, restarted, dist.new_group(backend="gloo", timeout=_MESSAGES_WAIT))
    except (RuntimeError, ValueError) as error:
        address = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        raise UsageError(
            f"rank {rank} did not meet the other {size - 1} at {address} within {seconds} s; start all of them with "
            f"the same address and port, let the firewall pass it, or wait longer with {WAIT_VARIABLE}",
            detail=" ".join(str(error).split())[:400],
        ) from error


def _is_lost_connection(error: RuntimeError) -> bool:
    text = str(error)
    signs = ("Connection closed", "Connection reset", "Broken pipe", "NCCL", "Connection refused", "Socket")
    return isinstance(error, dist.DistError) or any(sign in text for sign in signs)


def _explained(error: RuntimeError) -> Exception:
    return TrainingError(_LOST, detail=" ".join(str(error).split())[:400]) if _is_lost_connection(error) else error


def _as_tensor(data: bytes) -> Tensor:
    return torch.frombuffer(bytearray(data), dtype=torch.uint8) if data else torch.zeros(0, dtype=torch.uint8)
