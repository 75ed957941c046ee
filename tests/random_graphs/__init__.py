"""Small random ONNX graphs that are valid, with inputs: for tests of the importer and of the passes.

`random_graph(seed)` gives the same graph for the same seed. Sizes of values are tracked, so that every node fits
those before it; a graph that stock ONNX Runtime cannot run is not made (`runs`).
"""

from tests.random_graphs.build import Builder
from tests.random_graphs.graph import RandomGraph, random_graph, runs

__all__ = ["Builder", "RandomGraph", "random_graph", "runs"]
