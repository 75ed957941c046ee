"""What engines say of a model that fails: one sentence of ours, and their own text for `--verbose`."""

import logging
import re
from dataclasses import dataclass

_LONGEST_REASON, _LONGEST_TEXT = 500, 4000

_OURS = re.compile(r"lth_deploy(?:, (node '[^']*'))?: (.*)")
"""How messages of our kernel library begin, wherever an engine puts them."""

_REASONS = (
    (r"returned while running (\S+) node\. Name:'([^']*)'.*(?:[Ff]ailed to allocate|bad.alloc)", "needs more memory"),
    (r"returned while running (\S+) node\. Name:'([^']+)'", "node '{1}' ({0}) fails"),
    (r"returned while running (\S+) node\.", "a node {0} fails"),
    (r"(\S*):(\w+)\([^)]*\) is not a registered function", "it has no operator {1} of the domain '{0}'"),
    (r"implementation for (\w+)\(\d+\) node with name '([^']*)'", "it has no {0} for the types of node '{1}'"),
    (r"model IR version: (\d+), max supported IR version: (\d+)", "it reads IR versions up to {1}, this is {0}"),
    (r"Opset (\d+) is under development.* is till opset (\d+)", "it knows opsets up to {1}, this is {0}"),
    (r"protobuf parsing failed|No graph was found", "the file is no ONNX model"),
    (r"Type 'tensor\((\w+)\)' of input parameter \(\S*\) of operator \((\w+)\)", "it has no {1} for {0}"),
    (r"Optype \((\w+)\) bound to different types \(tensor\((\w+)\) and tensor\((\w+)\)", "{0} of {1} with {2}"),
    (r"No Op registered for (\w+) with domain_version of (\d+)", "it has no operator {0} in opset {1}"),
    (r"Duplicate definition of name \((.*?)\)\.", "two nodes make '{0}'"),
    (
        r"Node ?\(([^)]*)\) with schema\(\w*::(\w+):\d+\) has input size (\d+)",
        "node '{0}' ({1}) cannot have {2} inputs",
    ),
    (r"Node with schema\(\w*::(\w+):\d+\) has input size (\d+)", "a node {0} cannot have {1} inputs"),
    (r"Node input '([^']*)' is not a graph input", "nothing in the graph makes '{0}'"),
    (r"Error Node ?\(([^)]*)\)", "node '{0}' is invalid"),
    (r"(?:invalid dimensions|Invalid rank) for input: (\S+)", "input '{0}' has another shape"),
    (r"Unexpected input data type", "an input has another type"),
    (r"Required inputs \(\[(.*?)\]\) are missing", "inputs are missing: {0}"),
    (r"Invalid (?:[Ff]eed )?[Ii]nput [Nn]ame: ?(\S+)", "it has no input '{0}'"),
    (r"[Ff]ailed to allocate|bad.alloc", "needs more memory"),
    (r": INVALID_GRAPH :", "the graph is invalid"),
)


@dataclass(frozen=True)
class EngineFailure:
    """Why an engine fails. reason: in a few words, without what only its developers read. text: its own words."""

    reason: str
    text: str

    def __str__(self) -> str:
        return self.reason


def failure_of(error: BaseException) -> EngineFailure:
    """What is said of an exception of an engine; a message of our kernel library is the reason as it is."""
    text = " ".join(str(error).split()) or type(error).__name__
    return EngineFailure(_reason(text)[:_LONGEST_REASON], text[:_LONGEST_TEXT])


def log_severity() -> int:
    """For an ONNX Runtime session: nothing, as what it would print is in its exceptions; warnings with `--verbose`."""
    return 2 if logging.getLogger("lth_deploy").isEnabledFor(logging.DEBUG) else 4


def _reason(text: str) -> str:
    ours = _OURS.search(text)
    if ours:
        return f"{ours[1]}: {ours[2]}" if ours[1] else ours[2]
    for pattern, words in _REASONS:
        found = re.search(pattern, text)
        if found:
            return words.format(*found.groups())
    return "the engine refuses it"
