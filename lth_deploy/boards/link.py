"""Requests to the consumer on a board and its replies, over the standard streams of one command.

export/consumers/cpp/wire.h describes both. What a board sends is checked: a reply is one line of JSON of bounded
length, and says how many bytes follow.
"""

import contextlib
import json
import logging
import os
import selectors
import subprocess
import threading
import time
from collections.abc import Sequence
from typing import IO, Any
from urllib.parse import quote

from lth_deploy.boards.drivers import Driver
from lth_deploy.errors import BoardError, LinkLostError
from lth_deploy.processes import end_group, start_foreign

PING_SECONDS = 10.0
LONGEST_REPLY = 64 << 20
LARGEST_PAYLOAD = 1 << 30
_KEPT = 4000
_LOST = (4, 5)
"""Exit codes of a consumer that heard nothing for too long, or could not reply."""

_SIGNALS = {
    132: "an instruction that its processor does not have (SIGILL)",
    134: "an abort (SIGABRT)",
    135: "SIGBUS",
    137: "SIGKILL: it has too little memory, or someone ended it",
    139: "a crash (SIGSEGV)",
}

log = logging.getLogger(__name__)


class Link:
    """A consumer that runs on a board until this is closed, or this process ends."""

    def __init__(self, driver: Driver, script: str, arguments: Sequence[str]) -> None:
        self._driver = driver
        self._process = start_foreign(driver.command(script, arguments))
        self._buffer = bytearray()
        self._said = bytearray()
        self._reader = threading.Thread(target=self._collect, args=(self._process.stderr,), daemon=True)
        self._reader.start()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        os.set_blocking(self._process.stdin.fileno(), False)
        self._replies, self._requests = selectors.DefaultSelector(), selectors.DefaultSelector()
        self._replies.register(self._process.stdout, selectors.EVENT_READ)
        self._requests.register(self._process.stdin, selectors.EVENT_WRITE)

    def ask(
        self, words: Sequence[str], payload: Sequence[memoryview] = (), *, seconds: float
    ) -> tuple[dict[str, Any], bytes]:
        """The reply to a request, and the bytes behind it.

        Raises:
            LinkLostError: the link was cut. BoardError: the board reports an error, says something else than a reply,
                takes more than `seconds`, or its consumer has crashed.
        """
        line = " ".join(quote(word, safe="") for word in words) + "\n"
        end = time.monotonic() + seconds
        self._write([memoryview(line.encode()), *payload], end)
        reply = self._parsed(self._line(end))
        size = reply.get("payload")
        if not isinstance(size, int) or not 0 <= size <= LARGEST_PAYLOAD:
            raise self._strange(reply)
        data = self._bytes(size, end)
        if "error" in reply:
            raise BoardError(f"{self._driver.host}: {str(reply['error'])[:1000]}")
        return reply, data

    def close(self) -> None:
        """End the consumer and wait for that."""
        for selector in (self._replies, self._requests):
            selector.close()
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                if pipe is not None:
                    pipe.close()
        self._wait(5)
        self._reader.join(1)

    def _wait(self, seconds: float) -> int:
        """The exit status of the command, which is ended, with what it has started, where it takes longer."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return end_group(self._process)

    def _write(self, parts: Sequence[memoryview], end: float) -> None:
        assert self._process.stdin is not None
        for part in parts:
            left = part.cast("B")
            while left:
                if not self._requests.select(max(0.0, end - time.monotonic())):
                    raise self._late("taken what was sent to it")
                try:
                    left = left[os.write(self._process.stdin.fileno(), left) :]
                except OSError as error:
                    raise self._ended() from error

    def _line(self, end: float) -> bytes:
        start = 0
        while (found := self._buffer.find(b"\n", start)) < 0:
            start = len(self._buffer)
            if start > LONGEST_REPLY:
                raise self._strange(bytes(self._buffer[:200]))
            self._fill(end)
        line = bytes(self._buffer[:found])
        del self._buffer[: found + 1]
        return line

    def _bytes(self, size: int, end: float) -> bytes:
        while len(self._buffer) < size:
            self._fill(end)
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    def _fill(self, end: float) -> None:
        while True:
            left = end - time.monotonic()
            if left <= 0:
                raise self._late("answered")
            if self._replies.select(min(left, PING_SECONDS)):
                break
            self._write([memoryview(b"ping\n")], end)
        assert self._process.stdout is not None
        data = os.read(self._process.stdout.fileno(), 1 << 20)
        if not data:
            raise self._ended()
        self._buffer += data

    def _parsed(self, line: bytes) -> dict[str, Any]:
        try:
            reply = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise self._strange(line[:200]) from error
        if not isinstance(reply, dict):
            raise self._strange(reply)
        return reply

    def _strange(self, found: object) -> BoardError:
        return BoardError(
            f"{self._driver.host} sent no reply of the consumer but {found!r:.200}; does its shell print something at "
            "every login?"
        )

    def _late(self, what: str) -> BoardError:
        return BoardError(
            f"{self._driver.host} has not {what} in time; it is too slow for this model, or something else keeps it "
            "busy"
        )

    def _ended(self) -> BoardError:
        """What to raise of a command that has ended, or is about to."""
        status = self._wait(10)
        self._reader.join(1)
        return fault(self._driver, status, self._said.decode(errors="replace"), "the consumer")

    def _collect(self, stream: IO[bytes]) -> None:
        with stream:
            while data := stream.read1(_KEPT):  # type: ignore[attr-defined]
                self._said += data
                del self._said[:-_KEPT]
                log.debug("%s: %s", self._driver.host, data.decode(errors="replace").rstrip())


def fault(driver: Driver, status: int, said: str, what: str) -> BoardError:
    """What to raise of a command on a board that ended with `status` and said this on its standard error."""
    refusal = driver.refusal(status, said)
    if refusal is not None:
        return LinkLostError(f"{driver.host} cannot be reached: {refusal}")
    if status in _LOST:
        return LinkLostError(f"{driver.host}: the link was silent for too long")
    code = 128 - status if status < 0 else status
    if code in _SIGNALS:
        return BoardError(f"{driver.host}: {what} was ended by {_SIGNALS[code]}")
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return BoardError(f"{driver.host}: {what} failed: {_in_words(lines[-1] if lines else f'status {status}')}")


def _in_words(said: str) -> str:
    """What to do about the usual refusals of a disk or a system."""
    advice = {
        "No space left": "its disk is full; free some space or choose --board-folder",
        "Read-only file system": "that folder cannot be written; choose --board-folder",
        "Exec format error": "its processor is another one than it says; give --bundle",
        "GLIBC_": "its glibc is too old; give --bundle with programs for it",
        "Permission denied": "it refuses; a folder that is mounted noexec does so too: choose --board-folder",
    }
    found = next((text for sign, text in advice.items() if sign in said), None)
    return f"{said[:300]}; {found}" if found else said[:500]
