"""What was folded into a layer, and the way back: weights of the folded layer as weights of the original."""

from dataclasses import dataclass, replace

import numpy as np

from lth_deploy.arrays import Array
from lth_deploy.compiler.importing.plain.affine import Affine, FloatArray
from lth_deploy.compiler.importing.plain.layer_weights import LayerLayout


@dataclass(frozen=True)
class FoldedLayer:
    """One use of a weight that absorbed what stands before, behind and beside it.

    y = after(layer(before(x))) + beside(x) of the original is layer'(x) of the folded model. weight: its name, in both.
    output: what the layer makes in the original. bias: name of the folded one, None without. beside: grouped weights of
    other branches, None without; their biases are part of the shift behind the layer.
    """

    weight: str
    output: str
    bias: str | None
    layout: LayerLayout
    before: Affine
    after: Affine
    beside: FloatArray | None = None

    def with_beside(self, weights: FloatArray, bias: FloatArray) -> "FoldedLayer":
        """The same layer with one more branch. weights: grouped."""
        beside = weights if self.beside is None else self.beside + weights
        return replace(self, beside=beside, after=Affine(self.after.scale, self.after.shift + bias))

    def then(self, later: "FoldedLayer") -> "FoldedLayer":
        """The same layer with what the folded one absorbed later, of which nothing is beside it."""
        before, after = later.before.then(self.before), self.after.then(later.after)
        if self.beside is None:
            return replace(later, output=self.output, before=before, after=after)
        shift = after.shift + later.after.scale * self.layout.applied(
            self.layout.as_stored(self.beside), later.before.shift
        )
        return replace(
            later,
            output=self.output,
            before=before,
            after=Affine(after.scale, shift),
            beside=self.beside * self._scale(later.before, later.after),
        )

    def folded_weight(self, weights: Array) -> Array:
        """Weights of the folded layer; zeros stay zeros where nothing is beside it."""
        grouped = self.layout.grouped(weights) * self._scale(self.before, self.after)
        return self.layout.as_stored(grouped if self.beside is None else grouped + self.beside).astype(np.float32)

    def folded_bias(self, weights: Array, bias: Array | None) -> Array:
        """Bias of the folded layer. weights, bias: of the original layer."""
        inner = self._plain(bias) + self.layout.applied(weights, self.before.shift)
        return (self.after.scale * inner + self.after.shift).astype(np.float32)

    def original_weight(self, folded: Array) -> Array:
        """Weights with which the original layer, with what is around it, computes what `folded` do."""
        own = self.layout.grouped(folded)
        if self.beside is not None:
            own = own - self.beside
        scale = self._scale(self.before, self.after)
        # Where the scale is zero, nothing of the layer is seen.
        grouped = np.divide(own, scale, out=np.zeros_like(own), where=scale != 0)
        return self.layout.as_stored(grouped).astype(np.float32)

    def original_bias(self, folded_weight: Array, folded_bias: Array | None) -> Array:
        """The bias that goes with `original_weight`."""
        scale, moved = self.after.scale, self._plain(folded_bias) - self.after.shift
        inner = np.divide(moved, scale, out=np.zeros_like(moved), where=scale != 0)
        inner -= self.layout.applied(self.original_weight(folded_weight), self.before.shift)
        return inner.astype(np.float32)

    def _scale(self, before: Affine, after: Affine) -> FloatArray:
        """What grouped weights are multiplied by."""
        return self.layout.by_output(after.scale) * self.layout.by_input(before.scale)

    def _plain(self, bias: Array | None) -> FloatArray:
        outputs = self.layout.outputs
        return np.zeros(outputs) if bias is None else np.broadcast_to(bias.reshape(-1), outputs).astype(np.float64)
