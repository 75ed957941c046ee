"""Pruning an ONNX model from a few dozen images: layer-wise reconstruction, without training.

Each layer loses the weights that change its output least, and what is left of it, its bias too, is solved for anew
(Frantar and Alistarh 2022, Optimal Brain Compression). How many a layer loses follows from what its error does to the
outputs of the model.
"""

import logging
from collections.abc import Mapping, Sequence

import numpy as np

from lth_deploy.arrays import Array, Feeds
from lth_deploy.compiler.model.grouped_reasons import grouped
from lth_deploy.compiler.model.normalized_model import NormalizedModel
from lth_deploy.compiler.one_shot.layer_inputs import SeenLayer, collect, seen_layers
from lth_deploy.compiler.one_shot.magnitude import LayerLoss, PruneReport, check_sparsity, prunable
from lth_deploy.compiler.one_shot.sensitivity import output_errors
from lth_deploy.compiler.quantization.calibration import check_feeds
from lth_deploy.errors import UsageError
from lth_deploy.progress import progress
from lth_deploy.reconstruction.layer import LayerProblem
from lth_deploy.reconstruction.moments import Matrix
from lth_deploy.reconstruction.network import PROBED_IMAGES, error_curves, zeros_of
from lth_deploy.structures import RECONSTRUCTED

log = logging.getLogger(__name__)


class OneShot:
    """A model whose layers were seen on calibration images, and which can be pruned to any share from then on."""

    def __init__(
        self, model: NormalizedModel, feeds: Sequence[Feeds], *, exclude: Sequence[str] = (), structure: str = "single"
    ) -> None:
        """See what reaches the layers.

        Args:
            model: in floats.
            feeds: inputs of the model for some tens of images.
            exclude: patterns of weight names to leave alone.
            structure: a name in RECONSTRUCTED.

        Raises:
            UsageError: nothing can be pruned, a pattern matches nothing, or the structure is unknown.
            DataError: the images are missing or all alike, or what reaches a layer on them is not finite.
            ArtifactError: the model does not run on them.
        """
        if structure not in RECONSTRUCTED:
            raise UsageError(f"unknown structure '{structure}'; choose one of {', '.join(RECONSTRUCTED)}")
        check_feeds(feeds, one_size=False, purpose="one-shot pruning")
        self._structure = RECONSTRUCTED[structure]
        self._dense = model
        layers, left = prunable(model, exclude)
        self._layers, unseen = seen_layers(model.proto, layers)
        self._left = {**left, **unseen}
        if not self._layers:
            raise UsageError(f"the model has no layers that can be reconstructed: {grouped(self._left)}")
        taps = {layer.name: layer.geometry.taps(layer.weights.shape) for layer in self._layers}
        self._problems: dict[str, LayerProblem] = {}
        for name, moments in collect(model.proto, self._layers, feeds):
            self._problems[name] = LayerProblem(moments, taps[name])
        step = max(1, len(feeds) // PROBED_IMAGES)
        probed = feeds[::step][:PROBED_IMAGES]
        self._curves = error_curves(self._problems, self._structure, lambda probes: self._effects(probes, probed))

    def prune(self, sparsity: float) -> tuple[NormalizedModel, PruneReport]:
        """The model with a share of its weights zero, and what is left solved for.

        Exactly round(sparsity * n) of the n weights are zero afterwards, those that were zero before among them; blocks
        overshoot by less than one a layer, and N:M has its own share. A weight that several nodes share counts once.

        Raises:
            UsageError: the sparsity is not in [0, 1), or more than the layers can take.
        """
        check_sparsity(sparsity)
        zeros = zeros_of(self._problems, self._structure, self._curves, sparsity)
        solved: dict[str, Array] = {}
        losses: dict[str, LayerLoss] = {}
        with progress("one-shot pruning", total=len(self._layers)) as step:
            for layer in self._layers:
                losses[layer.name] = self._reconstruct(layer, zeros[layer.name], solved)
                loss = losses[layer.name]
                log.info(
                    "%d of %d, %s: %.0f %% zeros, error of its output %.1f %%, by magnitude %.1f %%",
                    len(losses),
                    len(self._layers),
                    layer.name,
                    100 * loss.zeros / loss.elements,
                    100 * loss.error,
                    100 * loss.magnitude_error,
                )
                step()
        elements, reached = sum(one.elements for one in losses.values()), sum(one.zeros for one in losses.values())
        report = PruneReport(reached / elements, elements, reached, tuple(losses), self._left, losses)
        return self._dense.with_tensors(solved), report

    def _effects(self, probes: Mapping[str, Matrix], feeds: Sequence[Feeds]) -> dict[str, float]:
        changed = {layer.name: layer.apply(probes[layer.name]) for layer in self._layers}
        found = output_errors(self._dense.proto, changed, feeds)
        log.info("found what the errors of %d layers do to the outputs", len(found))
        return found

    def _reconstruct(self, layer: SeenLayer, zeros: int, solved: dict[str, Array]) -> LayerLoss:
        """Add the pruned and solved weights of a layer, and its bias, to `solved`."""
        problem = self._problems[layer.name]
        rows = problem.prune(zeros, self._structure)
        weights = layer.apply(rows)
        solved[layer.name] = weights
        if layer.bias is not None:
            solved[layer.bias] = rows[..., -1].reshape(-1).astype(np.float32)
        reached = weights.size - int(np.count_nonzero(weights))
        return LayerLoss(weights.size, reached, problem.error(rows), problem.error(problem.by_magnitude(reached)))
