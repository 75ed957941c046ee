"""What was folded into a layer, and the way back: weights of the folded layer as weights of the original."""

from dataclasses import dataclass

import numpy as np

from lth_deploy.arrays import Array
from lth_deploy.compiler.importing.plain.affine import Affine, FloatArray
from lth_deploy.compiler.importing.plain.layer_weights import LayerLayout


@dataclass(frozen=True)
class FoldedLayer:
    """One use of a weight that absorbed what stands before and behind it.

    y = after(layer(before(x))) of the original is layer'(x) of the folded model. weight: its name, in both. output:
    what the layer makes in the original. bias: name of the folded one, None without.
    """

    weight: str
    output: str
    bias: str | None
    layout: LayerLayout
    before: Affine
    after: Affine

    def folded_weight(self, weights: Array) -> Array:
        """Weights of the folded layer; zeros stay zeros."""
        layout = self.layout
        grouped = layout.grouped(weights) * layout.by_output(self.after.scale) * layout.by_input(self.before.scale)
        return layout.as_stored(grouped).astype(np.float32)

    def folded_bias(self, weights: Array, bias: Array | None) -> Array:
        """Bias of the folded layer. weights, bias: of the original layer."""
        inner = self._plain(bias) + self.layout.applied(weights, self.before.shift)
        return (self.after.scale * inner + self.after.shift).astype(np.float32)

    def original_weight(self, folded: Array) -> Array:
        """Weights with which the original layer, with what is around it, computes what `folded` do."""
        layout = self.layout
        scale = layout.by_output(self.after.scale) * layout.by_input(self.before.scale)
        # Where the scale is zero, nothing of the layer is seen.
        grouped = np.divide(layout.grouped(folded), scale, out=np.zeros_like(layout.grouped(folded)), where=scale != 0)
        return layout.as_stored(grouped).astype(np.float32)

    def original_bias(self, folded_weight: Array, folded_bias: Array | None) -> Array:
        """The bias that goes with `original_weight`."""
        scale, moved = self.after.scale, self._plain(folded_bias) - self.after.shift
        inner = np.divide(moved, scale, out=np.zeros_like(moved), where=scale != 0)
        inner -= self.layout.applied(self.original_weight(folded_weight), self.before.shift)
        return inner.astype(np.float32)

    def _plain(self, bias: Array | None) -> FloatArray:
        outputs = self.layout.outputs
        return np.zeros(outputs) if bias is None else np.broadcast_to(bias.reshape(-1), outputs).astype(np.float64)
