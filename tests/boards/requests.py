"""Requests of a host to a consumer, as the tests of the consumer send them."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from lth_deploy.boards.bundle import Bundle
from lth_deploy.boards.link import Link
from lth_deploy.boards.replies import Ran
from lth_deploy.boards.tensors import element_type, read_outputs


def opened(link: Link, session: str, model: Path, programs: Bundle) -> None:
    """A session of stock ONNX Runtime."""
    version = link.ask(["engine", "onnxruntime", str(programs.runtime)], seconds=3000)[0]["version"]
    assert version in programs.runtime.name
    link.ask(["open", session, "onnxruntime", "1", str(model)], seconds=3000)


def fed(link: Link, slot: str, values: "dict[str, npt.NDArray[np.generic]]") -> None:
    """Inputs under a name."""
    words, payload = ["feed", slot], []
    for name, value in values.items():
        words += [name, str(element_type(value.dtype)), "x".join(map(str, value.shape)) or "-"]
        payload.append(memoryview(np.ascontiguousarray(value).tobytes()))
    link.ask(words, payload, seconds=300)


def ran(link: Link, session: str, slot: str) -> "dict[str, npt.NDArray[np.generic]]":
    """Outputs by name."""
    reply, data = link.ask(["run", session, slot], seconds=3000)
    return read_outputs(Ran.model_validate(reply).outputs, data, "local")
