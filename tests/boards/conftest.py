"""A packed detector with a region, its images, and an ssh server to measure it on."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from lth_deploy.boards.bundle import Bundle, find_bundle
from tests.boards.loopback import Loopback, loopback
from tests.tiny_artifact import save_data, save_ticket


@dataclass(frozen=True)
class Sample:
    """A file with a region, annotations and the folder of their images."""

    model: Path
    data: Path
    images: Path


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    folder = tmp_path_factory.mktemp("sample")
    data, images = save_data(folder)
    return Sample(save_ticket(folder), data, images)


@pytest.fixture(scope="session")
def programs() -> Bundle:
    return find_bundle(os.uname().machine)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loopback]:
    made = loopback(tmp_path_factory.mktemp("sshd"))
    made.start()
    yield made
    made.stop()


@pytest.fixture
def ssh(server: Loopback, monkeypatch: pytest.MonkeyPatch) -> Loopback:
    monkeypatch.setenv("PATH", f"{server.folder / 'bin'}:{os.environ['PATH']}")
    return server
