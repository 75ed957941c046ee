"""How `export --onnx` prunes: by magnitude, or by layer-wise reconstruction on calibration images."""

import logging
from functools import cached_property

from lth_deploy.compiler.model.normalized_model import NormalizedModel
from lth_deploy.compiler.one_shot.magnitude import LayerLoss, prune_onnx
from lth_deploy.compiler.one_shot.reconstruct import OneShot
from lth_deploy.decoders import Decoder
from lth_deploy.workflow.export.onnx_inputs import calibration_feeds
from lth_deploy.workflow.export.onnx_job import OnnxJob

log = logging.getLogger(__name__)

IMAGES = 64
"""Most images that reconstruction looks at, spread over the folder."""


class Pruner:
    """A normalized model that can be pruned to any share of zeros, as a job says how."""

    def __init__(self, model: NormalizedModel, job: OnnxJob, decoder: Decoder | None) -> None:
        self._model, self._job, self._decoder = model, job, decoder

    def pruned(self, share: float | None) -> tuple[NormalizedModel, dict[str, LayerLoss]]:
        """The model with this share of zeros, and what reconstruction did to each layer; as it is without any.

        Raises:
            UsageError, DataError, ArtifactError: see `prune_onnx` and `OneShot`.
        """
        if not share:
            return self._model, {}
        if self._job.method == "magnitude":
            model, report = prune_onnx(self._model, share, exclude=self._job.exclude)
        else:
            model, report = self._one_shot.prune(share)
        log.info("%d of %d weights are zero after pruning", report.zeros, report.elements)
        for name, reason in report.left.items():
            log.info("%s was left as it is: %s", name, reason)
        return model, report.losses

    @cached_property
    def _one_shot(self) -> OneShot:
        feeds = calibration_feeds(self._job, self._decoder, IMAGES)
        return OneShot(self._model, feeds, exclude=self._job.exclude, structure=self._job.structure)
