"""Rows as tasks of Ray: on this machine, on a cluster that runs here or elsewhere, on KubeRay."""

import logging
import os
import socket
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from lth_deploy.config.validation import Section
from lth_deploy.errors import MissingExtraError, UsageError
from lth_deploy.workflow.sweep.launchers import single_device
from lth_deploy.workflow.sweep.launchers.protocol import Ended, Job, Launcher, Task
from lth_deploy.workflow.sweep.launchers.remote_row import run_row
from lth_deploy.workflow.sweep.processes import PATIENCE

logger = logging.getLogger(__name__)

LOOPBACK = "127.0.0.1"
ON_LOOPBACK = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
CONNECT_SECONDS = 10.0
OBJECT_STORE = 100 * 2**20
"""Bytes: rows hand each other files, not objects."""
_MORE_THAN_ANY_SWEEP = 10_000


class Options(Section):
    """address: of a cluster, as ray.init takes it; without it the one that runs on this machine, or a new one here.

    retries: how often a row is begun again, at its last checkpoint, after its node was lost.
    """

    address: str | None = None
    retries: Annotated[int, Field(ge=0)] = 3


def launcher(out: Path, devices: Sequence[str], jobs: int | None, options: Options) -> Launcher:
    """Tasks of Ray; what is started here listens on loopback only."""
    if find_spec("ray") is None:
        raise MissingExtraError("ray", "ray", "--launcher ray")
    return RayLauncher(single_device(devices, "ray"), jobs, options)


def _remote(task: Task, device: str, threads: int) -> Ended:
    return run_row(task, device, threads)


class RayJob:
    """A row as a task of Ray."""

    number: str | None = None

    def __init__(self, reference: Any, arguments: list[str], place: str) -> None:
        self.arguments, self.place = arguments, place
        self._reference, self._began = reference, time.monotonic()

    def poll(self) -> Ended | None:
        """What the task returned, or why there is nothing."""
        import ray

        ready, _ = ray.wait([self._reference], timeout=0)
        return self._ended() if ready else None

    def interrupt(self) -> None:
        """Let the task stop its process."""
        import ray

        with suppress(ray.exceptions.RayError, ValueError):
            ray.cancel(self._reference, force=False)

    def stop(self) -> Ended:
        """Wait for its end, and insist."""
        import ray

        with suppress(ray.exceptions.RayError, ValueError):
            ready, _ = ray.wait([self._reference], timeout=PATIENCE)
            if not ready:
                ray.cancel(self._reference, force=True)
        return Ended(1, seconds=time.monotonic() - self._began)

    def _ended(self) -> Ended:
        import ray

        try:
            found: Ended = ray.get(self._reference)
            return found
        except ray.exceptions.RayError as error:
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            said = f"{type(error).__name__}: {lines[-1][:300] if lines else ''}"
            return Ended(
                1,
                f"the task was lost: {said}; see that every node has this version of lth-deploy and the sweep's folder",
                time.monotonic() - self._began,
            )


class RayLauncher:
    """Hands rows to Ray, which begins each where its GPUs and processors are free."""

    def __init__(self, device: str, jobs: int | None, options: Options) -> None:
        self._device, self._jobs, self._options = device, jobs, options
        self._connected = False

    def room(self, running: Sequence[Job]) -> int:
        """As many rows as can begin, or as --jobs leaves; Ray queues what has no place yet."""
        return (self._jobs or _MORE_THAN_ANY_SWEEP) - len(running)

    def start(self, tasks: Sequence[Task]) -> list[Job]:
        """One task a row."""
        return [self._begun(task.absolute()) for task in tasks]

    def find(self, task: Task, number: str) -> Job | None:
        """None: tasks end with the process that began them."""
        return None

    def close(self) -> None:
        """Leave the cluster; one that was started here ends."""
        if self._connected:
            import ray

            ray.shutdown()

    def _begun(self, task: Task) -> Job:
        import ray

        self._connect()
        cpus, gpus = task.resources.cpus or 1, self._gpus(task)
        have = ray.cluster_resources()
        if have.get("GPU", 0) < gpus or have.get("CPU", 0) < cpus:
            logger.warning(
                "%s asks for %d processors and %d GPUs, of which the cluster has %d and %d: it waits until nodes join",
                task.name,
                cpus,
                gpus,
                have.get("CPU", 0),
                have.get("GPU", 0),
            )
        memory = task.resources.memory_gb
        remote = ray.remote(_remote).options(
            name=task.name,
            num_cpus=cpus,
            num_gpus=gpus,
            memory=round(memory * 2**30) if memory else None,
            max_retries=self._options.retries,
        )
        return RayJob(remote.remote(task, self._device, cpus), task.arguments(self._device), "ray")

    def _gpus(self, task: Task) -> int:
        import ray

        if task.resources.gpus is not None:
            return task.resources.gpus
        if self._device == "auto":
            return int(ray.cluster_resources().get("GPU", 0) > 0)
        return int(self._device == "cuda")

    def _connect(self) -> None:
        """Join a cluster, or start one here.

        Raises:
            UsageError: there is none at the address.
        """
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        given = self._options.address or os.environ.get("RAY_ADDRESS")
        address = given or _cluster_of_this_machine()
        joins = bool(address) and _answers(address or "")
        if not joins and not given:
            _keep_on_loopback()
        import ray

        if ray.is_initialized():
            return
        if joins:
            try:
                ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
            except (ConnectionError, ValueError, RuntimeError) as error:
                raise UsageError(f"the cluster of Ray at {address} refuses: {str(error).strip()[:300]}") from error
        elif given:
            raise UsageError(f"no cluster of Ray answers at {given}; start one with: ray start --head")
        else:
            ray.init(
                address="local",
                _node_ip_address=LOOPBACK,
                object_store_memory=OBJECT_STORE,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
            logger.info("ray: started on this machine")
        self._connected = True


def _keep_on_loopback() -> None:
    """Let Ray take the loopback address for that of this machine: what it starts then listens nowhere else.

    This is how Ray behaves on desktops. It reads the variable when it is imported, and what it starts reads it too.
    """
    os.environ[ON_LOOPBACK] = "0"
    constants = sys.modules.get("ray._private.ray_constants")
    if constants is not None:
        vars(constants)["ENABLE_RAY_CLUSTER"] = False


def _cluster_of_this_machine() -> str | None:
    """The address of the cluster that `ray start` began here last, which may have ended."""
    try:
        folder = Path(os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp")
        return (folder / "ray" / "ray_current_cluster").read_text(encoding="utf-8").strip() or None
    except (OSError, ValueError):
        return None


def _answers(address: str) -> bool:
    """Whether something listens there: Ray itself would wait for minutes. Addresses of other kinds are Ray's matter."""
    host, separator, port = address.removeprefix("ray://").rpartition(":")
    if not separator or not port.isdigit():
        return True
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
    except (OSError, OverflowError):
        return False
    return True
