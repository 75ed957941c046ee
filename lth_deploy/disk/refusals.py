"""What an operating system refuses, as one error that says what to do."""

import contextlib
import errno
import os
import re
from collections.abc import Iterator

from safetensors import SafetensorError

from lth_deploy.errors import StorageError

_ADVICE = {
    errno.ENOSPC: "free some disk space and resume",
    errno.EDQUOT: "free some of your quota and resume",
    errno.EACCES: "choose a folder that you may write to",
    errno.EROFS: "choose a folder that you may write to",
    errno.EEXIST: "a file is where a folder is needed; choose another place",
    errno.ENOTDIR: "a file is where a folder is needed; choose another place",
    errno.EISDIR: "a folder is where the file should be; choose another place",
    errno.ELOOP: "a symbolic link is where a file should be, and it is not followed; remove the link",
}


@contextlib.contextmanager
def disk_errors(what: str) -> Iterator[None]:
    """Turn the refusals of a disk into one error that begins with `what`.

    Raises:
        StorageError: the operating system refused something inside the block.
    """
    try:
        yield
    except OSError as error:
        raise _refusal(what, error.errno, error.strerror or str(error)) from error
    except SafetensorError as error:
        # safetensors reports a full disk in words only, with the number of the operating system's error.
        code = re.search(r"\(os error (\d+)\)", str(error))
        if code is None:
            raise
        raise _refusal(what, int(code[1]), os.strerror(int(code[1]))) from error


def _refusal(what: str, code: int | None, reason: str) -> StorageError:
    return StorageError(f"{what}: {reason}; {_ADVICE.get(code or 0, 'check the disk and the path')}")
