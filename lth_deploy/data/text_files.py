"""Text files that other programs and systems wrote."""

import codecs
import json
from pathlib import Path
from typing import Any

from lth_deploy.errors import DataError

# The longer marks first: that of UTF-16 is how UTF-32's begins.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def read_text(path: Path) -> str:
    """The text of a file in UTF-8, or in what its byte order mark says; the mark itself is left out.

    Raises:
        DataError: the file is missing or is no such text.
    """
    try:
        data = path.read_bytes()
        encoding = next((name for mark, name in _MARKS if data.startswith(mark)), "utf-8")
        return data.decode(encoding)
    except FileNotFoundError as error:
        raise DataError(f"no such file: {path}") from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is no text in {error.encoding}: {error.reason} at byte {error.start}; save it as UTF-8"
        ) from error


def read_json_text(path: Path) -> Any:
    """Parse a JSON file as `read_text` reads it.

    Raises:
        DataError: the file is missing or is no JSON.
    """
    text = read_text(path)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        # Python refuses numbers of more than some thousand digits with a plain ValueError.
        raise DataError(f"cannot read {path} as JSON: {error}") from error
