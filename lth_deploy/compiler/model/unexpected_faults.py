"""The one place where a fault of this program on somebody's graph becomes an error with one sentence."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from onnx import NodeProto

from lth_deploy.errors import LthError, UnexpectedGraphError

log = logging.getLogger(__name__)

_LONGEST = 200
"""Characters that are kept of the text of another library."""


@contextmanager
def graph_errors(what: str) -> Iterator[None]:
    """Turn exceptions that nobody foresaw into one error that names the node at hand.

    Errors of ours pass, and so do those of the system, of which the command line has its own words. The original
    exception is chained, and logged with its traceback at debug level.

    Args:
        what: the file that was worked on, for the message.

    Raises:
        UnexpectedGraphError: instead of any other exception.
    """
    try:
        yield
    except (LthError, OSError, MemoryError):
        raise
    except Exception as error:
        log.debug("unexpected exception on %s", what, exc_info=True)
        node = node_at_fault(error)
        where = f"{what}, at {described(node)}" if node is not None else what
        text = " ".join(str(error).split())[:_LONGEST]
        raise UnexpectedGraphError(
            f"{where}: lth-deploy does not handle this graph ({type(error).__name__}: {text}); nothing was written. "
            "Please report it with the model, or with what --verbose prints"
        ) from error


def node_at_fault(error: BaseException) -> NodeProto | None:
    """The node that our innermost function worked on when an exception was raised; None where there was none."""
    found = None
    trace: TracebackType | None = error.__traceback__
    while trace is not None:
        frame = trace.tb_frame
        if str(frame.f_globals.get("__name__", "")).startswith("lth_deploy."):
            nodes = [value for value in frame.f_locals.values() if isinstance(value, NodeProto)]
            named = frame.f_locals.get("node")
            found = named if isinstance(named, NodeProto) else nodes[-1] if nodes else found
        trace = trace.tb_next
    return found


def described(node: NodeProto) -> str:
    """A node by its name and operator; by its first output where it has no name."""
    outputs = [name for name in node.output if name]
    name = f"node '{node.name}'" if node.name else f"the node that makes '{outputs[0]}'" if outputs else "a node"
    return f"{name} ({node.op_type})"
