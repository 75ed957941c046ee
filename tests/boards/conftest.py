"""A packed detector with a region, its images, and an ssh server to measure it on."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from lth_deploy.boards.bundle import Bundle, find_bundle
from lth_deploy.boards.drivers import LocalDriver
from lth_deploy.boards.link import Link
from tests.boards.loopback import Loopback, loopback
from tests.cross import PROJECT, cmake_build
from tests.tiny_artifact import save_data, save_ticket

Start = Callable[..., Link]


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
def sanitized() -> Path:
    flags = "-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer -g1 -O1 -Werror"
    folder = PROJECT / "build" / "consumer-sanitized"
    cmake_build(
        PROJECT / "export" / "consumers" / "cpp", folder, f"-DCMAKE_CXX_FLAGS={flags}", "-DCMAKE_BUILD_TYPE=None"
    )
    return folder / "lth_consumer"


@pytest.fixture
def start(sanitized: Path) -> Iterator[Start]:
    links: list[Link] = []

    def begin(*more: object) -> Link:
        links.append(Link(LocalDriver(), 'exec "$@"', [str(sanitized), "serve", *map(str, more)]))
        return links[-1]

    yield begin
    for link in links:
        link.close()


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
