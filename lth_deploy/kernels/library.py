"""Where the compiled kernel library lies."""

import os
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from lth_deploy.errors import MissingLibraryError

OVERRIDE = "LTH_OPS_LIBRARY"
"""Environment variable: a library to take instead, for instance one that is being worked on."""

_NAMES = {"darwin": "liblth_ops.dylib", "win32": "lth_ops.dll"}
NAME = _NAMES.get(sys.platform, "liblth_ops.so")


def ops_library() -> Path:
    """The file for `SessionOptions.register_custom_ops_library` and its like in other languages.

    Raises:
        MissingLibraryError: the package was installed without a compiler, or the override names no file.
    """
    override = os.environ.get(OVERRIDE)
    if override:
        if not Path(override).is_file():
            raise MissingLibraryError(f"{OVERRIDE} names {override}, which is no file; correct or unset it")
        return Path(override).resolve()
    beside = Path(__file__).resolve().with_name(NAME)
    found = beside if beside.is_file() else _installed()
    if found is None:
        raise MissingLibraryError(
            f"the kernel library {NAME} is not part of this installation, because no C++ compiler was found when it "
            "was built; install one (such as g++) and run pip install --force-reinstall --no-deps --no-binary "
            "lth-deploy lth-deploy, or in a checkout pip install -e . again. Without it exported files run in stock "
            "ONNX Runtime"
        )
    return found


def _installed() -> Path | None:
    # An editable installation keeps compiled files apart from the sources; its list of files knows where.
    try:
        files = distribution("lth-deploy").files or []
    except PackageNotFoundError:
        return None
    for file in files:
        path = Path(str(file.locate()))
        if file.name == NAME and path.is_file():
            return path
    return None
