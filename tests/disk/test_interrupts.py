"""A request to end never leaves a temporary folder behind, at whatever moment it comes."""

import shutil
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lth_deploy.disk.interrupts import deferred_interrupts
from lth_deploy.disk.temporaries import private_folder


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.fixture(autouse=True)
def handler() -> Iterator[None]:
    before = signal.signal(signal.SIGTERM, _interrupt)
    yield
    signal.signal(signal.SIGTERM, before)


def interrupted_after(run: Callable[..., Any]) -> Callable[..., Any]:
    def replaced(*arguments: Any, **options: Any) -> Any:
        result = run(*arguments, **options)
        signal.raise_signal(signal.SIGTERM)
        return result

    return replaced


def test_a_request_to_end_while_the_folder_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "mkdtemp", interrupted_after(tempfile.mkdtemp))
    with pytest.raises(KeyboardInterrupt), private_folder(tmp_path, "x-"):
        pytest.fail("the block ran")
    assert not list(tmp_path.iterdir())


def test_a_request_to_end_while_the_folder_is_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "rmtree", interrupted_after(shutil.rmtree))
    with pytest.raises(KeyboardInterrupt), private_folder(tmp_path, "x-") as folder:
        (folder / "file").touch()
    assert not list(tmp_path.iterdir())


def test_signals_are_handled_at_the_end_of_the_block() -> None:
    reached = []

    def block() -> None:
        with deferred_interrupts():
            signal.raise_signal(signal.SIGTERM)
            reached.append(True)

    with pytest.raises(KeyboardInterrupt):
        block()
    assert reached
    assert signal.getsignal(signal.SIGTERM) is _interrupt


def test_the_fault_of_the_block_is_not_lost() -> None:
    def block() -> None:
        with deferred_interrupts():
            signal.raise_signal(signal.SIGTERM)
            raise ValueError("of the block")

    with pytest.raises(KeyboardInterrupt) as caught:
        block()
    assert isinstance(caught.value.__context__, ValueError)


def test_other_threads_run_the_block_as_it_is() -> None:
    ran = []

    def run() -> None:
        with deferred_interrupts():
            ran.append(True)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(300)
    assert ran
