"""Where a sweep is: a folder that all its rows see, or a URL, of which this process has a local twin."""

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lth_deploy.errors import StorageError
from lth_deploy.run.remote.leased import leased
from lth_deploy.run.remote.location import is_remote, location_of, refusals
from lth_deploy.run.remote.place_files import inside
from lth_deploy.run.remote.sweep_mirror import SweepMirror

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SweepPlace:
    """A sweep's folder. name: its path or URL. local: where this process writes the record and reads of the runs."""

    name: str
    local: Path
    mirror: SweepMirror | None = None

    def of(self, *parts: str) -> str:
        """The place of a file or folder of the sweep, for the processes that run rows."""
        return inside(self.name, *parts)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold what is at a URL for this process; a folder is locked by its user.

        Raises:
            StorageError: the place refuses, or another process works on it.
        """
        if self.mirror is None:
            yield
        else:
            with leased(self.mirror):
                yield

    def publish(self) -> None:
        """Let the processes that run rows see what was written.

        Raises:
            StorageError: the place refuses.
        """
        if self.mirror is not None:
            with refusals(self.mirror.location):
                self.mirror.push()

    def look(self, rows: Iterable[str]) -> None:
        """See what these rows have written.

        Raises:
            StorageError: the place refuses.
        """
        if self.mirror is not None:
            self.mirror.bring_runs(rows)

    def glance(self, rows: Iterable[str]) -> None:
        """See what these rows have written and which have begun, unless the place refuses just now."""
        if self.mirror is not None:
            try:
                self.mirror.bring_starts()
                self.mirror.bring_runs(rows)
            except StorageError as error:
                logger.warning("%s; the next look tries again", error)


def place_of(out: Path | str) -> SweepPlace:
    """The place at a path or URL; nothing is read or written.

    Raises:
        UsageError: files of that kind of place cannot be replaced in one step.
        MissingExtraError: a package for it is not installed.
        StorageError: the place cannot be reached.
    """
    if not is_remote(str(out)):
        return SweepPlace(str(out), Path(out))
    location = location_of(str(out))
    local = location.local.with_name(f"{location.local.name}.sweep")
    return SweepPlace(location.url, local, SweepMirror(location, local))
