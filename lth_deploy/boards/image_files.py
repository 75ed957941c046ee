"""Image files that a board reads itself: kept there under their SHA-256, and made into inputs by its consumer."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lth_deploy.arrays import Feeds
from lth_deploy.boards.remote import hold_space
from lth_deploy.boards.replies import Missing, checked
from lth_deploy.boards.tensors import feed_request
from lth_deploy.progress import progress

_AT_ONCE = 200
"""Names in one request, which is a line of at most 64 kB."""

Ask = Callable[[Sequence[str], Sequence[memoryview]], tuple[dict[str, Any], bytes]]


@dataclass(frozen=True)
class ImageFile:
    """A file by its SHA-256, and how the input of a model is made of it.

    name: for messages. input: of the model. keys: names and values in turn, as export/consumers/cpp/image_input.h has
    them. others: the other inputs of the model.
    """

    digest: str
    name: str
    input: str
    keys: tuple[str, ...]
    others: Feeds

    def words(self, slot: str, folder: str) -> list[str]:
        """Of the request that reads it into a slot. folder: of files on the board."""
        return ["image", slot, f"{folder}/{self.digest}", self.name, self.input, *self.keys]


def fill_requests(slot: str, content: Feeds | ImageFile, folder: str) -> list[tuple[list[str], list[memoryview]]]:
    """Requests, words and bytes, that keep inputs under a name. folder: of files on the board.

    Raises:
        BoardError: values of a type that is not sent to a board.
    """
    if not isinstance(content, ImageFile):
        return [feed_request(slot, content)]
    others = feed_request(slot, content.others) if content.others else (["forget", slot], [])
    return [others, (content.words(slot, folder), [])]


def store_images(ask: Ask, host: str, folder: str, files: Mapping[str, Path]) -> None:
    """Copy the files that the board lacks; what was copied before a link was cut stays.

    ask: sends a request to the consumer there.

    Raises:
        BoardError: the board has too little space, or cannot write.
    """
    digests, missing, free = list(files), list[str](), 0
    for start in range(0, len(digests), _AT_ONCE):
        words = ["missing", folder, *digests[start : start + _AT_ONCE]]
        reply = checked(Missing, ask(words, ())[0], host)
        missing += [digest for digest in reply.missing if digest in files]
        free = reply.free
    hold_space(host, folder, free, sum(files[digest].stat().st_size for digest in missing))
    if missing:
        with progress(f"{host}: images copied", total=len(missing)) as step:
            for digest in missing:
                data = files[digest].read_bytes()
                ask(["store", folder, digest, str(len(data))], [memoryview(data)])
                step()
