"""A float model in which any tensors and weights can be rounded to 8 bits at will, to see what that does to the end."""

from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper

from lth_deploy.arrays import Array, Arrays, Feeds
from lth_deploy.compiler.artifact.extract_region import with_outputs
from lth_deploy.compiler.model.normalized_model import tensor_of
from lth_deploy.compiler.model.ort_session import run, session
from lth_deploy.compiler.model.traverse import all_nodes
from lth_deploy.compiler.quantization.learned_ranges import Grid

_UNUSED = Grid(1.0, 0)


class RoundedModel:
    """One session for every question, since to make a session takes as long as to run it several times."""

    def __init__(
        self,
        model: ModelProto,
        tensors: Sequence[str],
        weights: Mapping[str, Array],
        results: Sequence[str],
        feeds: Sequence[Feeds],
    ) -> None:
        """Run the model as it is.

        Args:
            model: in floats.
            tensors: of the main graph, that may be put on grids.
            weights: initializers that may be rounded, and what they are then.
            results: tensors whose errors count.
            feeds: inputs to see them on.

        Raises:
            ArtifactError: the model does not run.
        """
        self._tensors, self._weights = list(tensors), list(weights)
        self._results, self._feeds = list(results), list(feeds)
        self._session = session(with_outputs(_switched(model, self._tensors, weights), self._results))
        self._exact = list(self._found({}, ()))
        self._power = {name: _variance([made[name] for made in self._exact]) for name in self._results}

    def error(self, grids: Mapping[str, Grid], weights: Collection[str]) -> float:
        """Squared error of the results over their variance, mean over those that are no constants.

        Of tensors on `grids`, and with `weights` rounded.
        """
        lost = dict.fromkeys(self._results, 0.0)
        count = dict.fromkeys(self._results, 0)
        for made, exact in zip(self._found(grids, weights), self._exact, strict=True):
            for name in self._results:
                lost[name] += float(np.square(made[name].astype(np.float64) - exact[name]).sum())
                count[name] += exact[name].size
        shares = [lost[name] / count[name] / power for name, power in self._power.items() if power > 0]
        return float(np.mean(shares)) if shares else 0.0

    def _found(self, grids: Mapping[str, Grid], weights: Collection[str]) -> Iterator[Arrays]:
        switches: Arrays = {}
        for number, name in enumerate(self._tensors):
            grid = grids.get(name, _UNUSED)
            switches[f"{_SWITCH}{number}"] = np.array(name in grids)
            switches[f"{_SCALE}{number}"] = np.array(grid.scale, np.float32)
            switches[f"{_ZERO}{number}"] = np.array(grid.zero, np.uint8)
        for number, name in enumerate(self._weights):
            switches[f"{_WEIGHT}{number}"] = np.array(name in weights)
        for feed in self._feeds:
            yield run(self._session, self._results, {**feed, **switches})


_SWITCH, _SCALE, _ZERO, _WEIGHT = (f"lth_deploy.rounded.{key}." for key in ("on", "scale", "zero", "weight"))


def _variance(parts: Sequence[Array]) -> float:
    values = np.concatenate([part.reshape(-1) for part in parts]).astype(np.float64)
    return float(values.var()) if values.size else 0.0


def _switched(model: ModelProto, tensors: Sequence[str], weights: Mapping[str, Array]) -> ModelProto:
    """The model with an If behind each tensor and weight; all that read it read what the If makes."""
    made = ModelProto()
    made.CopyFrom(model)
    graph = made.graph
    behind: dict[str, NodeProto] = {}
    for number, name in enumerate(tensors):
        behind[name] = _switch(name, f"{_SWITCH}{number}", _rounding(name, number))
        graph.input.extend(
            helper.make_tensor_value_info(f"{prefix}{number}", kind, [])
            for prefix, kind in ((_SWITCH, TensorProto.BOOL), (_SCALE, TensorProto.FLOAT), (_ZERO, TensorProto.UINT8))
        )
    for number, (name, array) in enumerate(weights.items()):
        graph.initializer.append(tensor_of(array, f"{name}.of8bits"))
        behind[name] = _switch(name, f"{_WEIGHT}{number}", [helper.make_node("Identity", [f"{name}.of8bits"], ["_"])])
        graph.input.append(helper.make_tensor_value_info(f"{_WEIGHT}{number}", TensorProto.BOOL, []))
    for node in all_nodes(graph):
        node.input[:] = [behind[name].output[0] if name in behind else name for name in node.input]
    there = [*(value.name for value in graph.input), *(tensor.name for tensor in graph.initializer)]
    nodes = [behind[name] for name in dict.fromkeys(there) if name in behind]
    for node in graph.node:
        nodes += [node, *(behind[name] for name in node.output if name in behind)]
    copies = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)
    return made


def _switch(name: str, condition: str, rounding: Sequence[NodeProto]) -> NodeProto:
    rounding[-1].output[0] = f"{name}.then"
    plain = helper.make_node("Identity", [name], [f"{name}.else"])
    return helper.make_node(
        "If",
        [condition],
        [f"{name}.rounded"],
        f"{name}.rounded",
        then_branch=_branch(f"{name}.then", rounding),
        else_branch=_branch(f"{name}.else", [plain]),
    )


def _branch(output: str, nodes: Sequence[NodeProto]) -> GraphProto:
    return helper.make_graph(nodes, output, [], [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)])


def _rounding(name: str, number: int) -> list[NodeProto]:
    grid = [f"{_SCALE}{number}", f"{_ZERO}{number}"]
    return [
        helper.make_node("QuantizeLinear", [name, *grid], [f"{name}.8bits"]),
        helper.make_node("DequantizeLinear", [f"{name}.8bits", *grid], [f"{name}.then"]),
    ]
