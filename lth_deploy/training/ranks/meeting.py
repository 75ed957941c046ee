"""How the ranks that are there now find one another in a store that is older than they are.

torchrun keeps its store when it starts ranks again, with the addresses of those that are gone. Each machine counts
restarts for itself: one that stopped its ranks because another machine's ended counts none. So neither the store nor
the count is enough, and the ranks agree on a name for the part of the store that they use. Rank 0 publishes the tokens
of all ranks, those that find their own there answer, and the name holds once all have.
"""

import hashlib
import json
import socket
import time
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch.distributed as dist

if TYPE_CHECKING:
    from torch._C._distributed_c10d import Store

_POLL = 0.02


def wait_for_store(address: str, port: int, seconds: float) -> None:
    """Wait until something listens at `address`: torch prints a trace of its own where nothing does.

    Raises:
        RuntimeError: nothing listens there within `seconds`.
    """
    deadline, reason = time.monotonic() + seconds, ""
    for _ in _until(deadline):
        try:
            socket.create_connection((address, port), timeout=max(deadline - time.monotonic(), _POLL)).close()
            return
        except OSError as error:
            reason = str(error)
    raise RuntimeError(f"nothing listens there: {reason}")


def meet(store: "Store", rank: int, size: int, restarts: int, seconds: float) -> tuple[str, bool]:
    """A prefix of keys in `store` for the ranks that call this now, and whether any of them was started again.

    All of them call it, each with the number of `restarts` that its machine counts.

    Raises:
        RuntimeError: some did not call it within `seconds`; names them where this is rank 0.
    """
    here = _Notes(store)
    own = f"{uuid.uuid4().hex} {restarts}"
    here.write(f"token_{rank}", own)
    deadline = time.monotonic() + seconds
    roll = _gathered(here, size, deadline) if rank == 0 else _found(here, rank, own, deadline)
    content = json.loads(roll)
    restarted = content["meetings"] > 1 or any(int(token.split()[1]) for token in content["tokens"])
    return _name(roll), restarted


class _Notes:
    """Texts in a store, which are read without waiting."""

    def __init__(self, store: "Store") -> None:
        self._store = dist.PrefixStore("meeting", store)  # type: ignore[attr-defined]

    def read(self, key: str) -> str:
        return self._store.get(key).decode() if self._store.check([key]) else ""

    def write(self, key: str, text: str) -> None:
        self._store.set(key, text)

    def count(self, key: str) -> int:
        return int(self._store.add(key, 1))


def _gathered(here: _Notes, size: int, deadline: float) -> str:
    """On rank 0: the roll that all ranks have answered."""
    meetings, published = here.count("meetings"), ""
    missing: list[int] = []
    for _ in _until(deadline):
        tokens = [here.read(f"token_{rank}") for rank in range(size)]
        roll = json.dumps({"meetings": meetings, "tokens": tokens})
        if "" in tokens:
            missing = [rank for rank, token in enumerate(tokens) if not token]
            continue
        if roll != published:
            here.write("roll", roll)
            published = roll
        missing = [rank for rank in range(1, size) if here.read(f"answer_{rank}") != _name(roll)]
        if not missing:
            here.write("agreed", _name(roll))
            return roll
    raise RuntimeError(f"no sign of rank {', '.join(map(str, missing))}")


def _found(here: _Notes, rank: int, own: str, deadline: float) -> str:
    """On the others: the roll of rank 0 that has their own token."""
    answered = ""
    for _ in _until(deadline):
        roll = here.read("roll")
        if not roll or own not in json.loads(roll)["tokens"]:
            continue
        if roll != answered:
            here.write(f"answer_{rank}", _name(roll))
            answered = roll
        if here.read("agreed") == _name(roll):
            return roll
    raise RuntimeError("no sign of rank 0, or of one that it waits for")


def _name(roll: str) -> str:
    return hashlib.sha256(roll.encode()).hexdigest()[:16]


def _until(deadline: float) -> Iterator[None]:
    """Looks until `deadline`; one at least, so that there is a reason to name also where no time is left."""
    while True:
        yield
        if time.monotonic() >= deadline:
            return
        time.sleep(_POLL)
