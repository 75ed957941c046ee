"""`inspect` says into how many regions a model is cut, and by which operators."""

from onnx import ModelProto, helper

from lth_deploy.compiler.artifact.domain import DOMAIN
from lth_deploy.compiler.planning.region_borders import region_cutters, region_note

N = helper.make_node


def region(x: str, y: str) -> object:
    return N("Region1", [x], [y], domain=DOMAIN)


def model(*nodes: object) -> ModelProto:
    return helper.make_model(helper.make_graph(list(nodes), "g", [], []))


def test_what_stands_between_regions_cuts() -> None:
    found = model(
        N("Cast", ["x"], ["a"]),
        region("a", "b"),
        N("Mul", ["b", "k"], ["c"]),
        N("Add", ["c", "k"], ["d"]),
        region("d", "e"),
        N("Mul", ["e", "e"], ["f"]),
        N("Erf", ["e"], ["z"]),
        region("f", "g"),
        N("TopK", ["g"], ["y"]),
    )
    assert region_cutters(found) == (3, {"Mul": 2})
    assert region_note(found) == "3 regions; the model is cut most by Mul (2)"


def test_one_region_and_none() -> None:
    assert region_note(model(region("x", "a"), N("TopK", ["a"], ["y"]))) == (
        "1 region; no operator between them cuts the model"
    )
    assert region_note(model(N("Relu", ["x"], ["y"]))) is None
