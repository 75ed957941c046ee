"""Whether int8 pays: the time of an int8 file beside that of the dense model in fp32, in the stock runtime.

A file with regions is held to its dense twin of the same type. A processor may compute that one slower than fp32.
"""

import logging

from lth_deploy import storage
from lth_deploy.arrays import Feeds
from lth_deploy.compiler.artifact.metadata import WHOLE
from lth_deploy.compiler.importing.unpacked import unpack_model
from lth_deploy.compiler.model.normalized_model import NormalizedModel
from lth_deploy.compiler.model.save import save_model
from lth_deploy.compiler.planning.predict_model import Pair, dense_run, dense_time
from lth_deploy.config.target import Target
from lth_deploy.errors import ArtifactError
from lth_deploy.measure.float_twin import FloatTwin
from lth_deploy.workflow.export.predicted_plan import Chosen
from lth_deploy.workflow.export.tune_whole import PAIRS, pair_timing, time_pair

log = logging.getLogger(__name__)


def float_twin(
    chosen: Chosen, model: NormalizedModel, stored: NormalizedModel, target: Target, feeds: Feeds
) -> FloatTwin | None:
    """Compare an int8 file with its dense twins, and say so where fp32 is faster.

    None where nothing is known: nothing was measured, and the table has rates of layers alone.

    Args:
        chosen: what will be written.
        model: in floats, that was quantized.
        stored: the quantized one.
        target: its costs predict where nothing was measured.
        feeds: of one inference.
    """
    try:
        found = _measured(chosen, model, feeds) if chosen.measured else _predicted(chosen, model, stored, target, feeds)
    except ArtifactError as error:
        log.warning("the int8 file is not compared with the dense model in fp32: %s", error)
        return None
    if found is not None:
        log.log(logging.INFO if found.int8_pays else logging.WARNING, "%s", found.sentence())
    return found


def _measured(chosen: Chosen, model: NormalizedModel, feeds: Feeds) -> FloatTwin:
    assert chosen.measured is not None
    with storage.scratch("twin") as folder:
        save_model(chosen.model, folder / "model.onnx")
        save_model(unpack_model(model.proto), folder / "dense.onnx")
        both = time_pair(folder / "model.onnx", folder / "dense.onnx", feeds, pair_timing(PAIRS))
    return FloatTwin(both.kernels, chosen.measured.times[WHOLE][1], both.dense, measured=True)


def _predicted(
    chosen: Chosen, model: NormalizedModel, stored: NormalizedModel, target: Target, feeds: Feeds
) -> FloatTwin | None:
    if not target.costs.predicts_whole_models:
        return None

    def dense_ms(proto: NormalizedModel) -> float:
        return dense_time(dense_run(proto.proto, feeds, profiled=target.profile), target.costs)

    whole = chosen.whole
    if whole is None:  # it has no regions: it is its dense twin
        ms = dense_ms(stored)
        whole = Pair(ms, ms)
    return FloatTwin(whole.kernels, whole.dense, dense_ms(model), measured=False)
