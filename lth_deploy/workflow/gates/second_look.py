"""A second comparison of two models whose outputs differ, without what a stock runtime makes different of equal models.

- **Choices.** Rounding exchanges equal scores, by which a model such as a DETR chooses its queries (TopK), and then
  rows of all outputs. So both models get the choices of the first one, and the scores are compared as well. That is no
  weaker: scores that agree choose values that agree.
- **Conversions.** Of two pairs of QuantizeLinear and DequantizeLinear that follow each other, ONNX Runtime makes one
  with a third scale, where it sees them. Here it rounds as the files say.
"""

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lth_deploy import storage
from lth_deploy.arrays import Arrays, Feeds
from lth_deploy.errors import ArtifactError
from lth_deploy.runtimes import Session
from lth_deploy.runtimes.onnxruntime import as_written

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SecondLook:
    """Two models as their files say. choices: names of the indices that the second one takes of the first."""

    reference: Session
    candidate: Session
    choices: Sequence[str]

    def run(self, feeds: Feeds) -> tuple[Arrays, Arrays]:
        """What both return on `feeds`, and the scores by which they choose.

        Raises:
            ArtifactError: one of them does not run.
        """
        wanted = self.reference.run(dict(feeds))
        chosen = {name: wanted.pop(name) for name in map(_chosen, self.choices)}
        return wanted, self.candidate.run({**feeds, **chosen})


def second_look(reference: Path, candidate: Path) -> SecondLook | None:
    """Two files prepared for it; None where it would be the first comparison once more."""
    import onnx

    try:
        models = [onnx.load_model(path) for path in (reference, candidate)]
        pair = [_choices(model) for model in models]
        names = sorted(name for name, node in pair[0].items() if name in pair[1] and _alike(node, pair[1][name]))
        if not names and not any(_rounds(model) for model in models):
            return None
        with storage.scratch("second_look") as folder:
            sessions: list[Session] = []
            for model, nodes, given in zip(models, pair, (False, True), strict=True):
                file = folder / f"{len(sessions)}.onnx"
                storage.write_bytes(file, _bytes(_opened(model, [nodes[name] for name in names], given=given)))
                sessions.append(as_written(file))
        return SecondLook(sessions[0], sessions[1], names)
    except ArtifactError as error:
        log.debug("%s and %s are compared once alone: %s", reference, candidate, error)
        return None


def _rounds(model: "ModelProto") -> bool:
    nodes = [*model.graph.node, *(node for function in model.functions for node in function.node)]
    return any(node.op_type == "QuantizeLinear" for node in nodes)


def _choices(model: "ModelProto") -> dict[str, "NodeProto"]:
    """Every TopK of the main graph that returns indices, by their name."""
    from lth_deploy.compiler.model.opset import STANDARD_DOMAINS

    return {
        node.output[1]: node
        for node in model.graph.node
        if node.op_type == "TopK" and node.domain in STANDARD_DOMAINS and len(node.output) > 1 and node.output[1]
    }


def _alike(one: "NodeProto", other: "NodeProto") -> bool:
    from lth_deploy.compiler.model.attributes import attribute

    defaults = {"axis": -1, "largest": 1, "sorted": 1}
    return all(attribute(one, name, value) == attribute(other, name, value) for name, value in defaults.items())


def _opened(model: "ModelProto", nodes: Collection["NodeProto"], *, given: bool) -> "ModelProto":
    """The model that also returns the scores and counts of its choices, and its choices or, `given`, takes them."""
    from onnx import TensorProto, helper

    from lth_deploy.compiler.model.attributes import attribute

    graph = model.graph
    for node in nodes:
        values, indices = node.output
        shown = {f"scores of {indices}": (node.input[0], TensorProto.FLOAT)}
        shown[f"count of {indices}"] = (node.input[1], TensorProto.INT64)
        if given:
            # The node goes, and its results follow from the choice.
            place = next(place for place, one in enumerate(graph.node) if indices in one.output)
            del graph.node[place]
            graph.input.append(helper.make_tensor_value_info(_chosen(indices), TensorProto.INT64, None))
            graph.node.insert(place, helper.make_node("Identity", [_chosen(indices)], [indices]))
            if values:
                taken, axis = [shown[f"scores of {indices}"][0], indices], attribute(node, "axis", -1)
                graph.node.insert(place + 1, helper.make_node("GatherElements", taken, [values], axis=axis))
        else:
            shown[_chosen(indices)] = (indices, TensorProto.INT64)
        for name, (source, element) in shown.items():
            graph.node.append(helper.make_node("Identity", [source], [name]))
            graph.output.append(helper.make_tensor_value_info(name, element, None))
    return model


def _chosen(indices: str) -> str:
    return f"choice of {indices}"


def _bytes(model: "ModelProto") -> bytes:
    from lth_deploy.compiler.model.save import to_bytes

    return to_bytes(model)
