"""The gate of artifacts that compute less exactly than the float model: what that costs in AP."""

import logging

from lth_deploy.errors import GateError
from lth_deploy.evaluation.ap_loss import Scores, ap_losses

log = logging.getLogger(__name__)


def hold_lost_ap(
    exact: Scores, artifact: Scores, most: float, *, what: str, gate: str, advice: str, strict: bool = False
) -> None:
    """Refuse an artifact that finds less than the float model does, as far as the images tell.

    exact, artifact: scored on the same images. most: AP that may be lost, as a fraction. what: costs it; gate: the key
    of a target that says how much is allowed; advice: what to do, all in words. strict: refuse what loses more on these
    images, even where other images might tell otherwise; for a file that is not the last that is tried.

    Raises:
        GateError: more was lost.
    """
    for loss in ap_losses(exact, artifact):
        log.info("%s costs %s; allowed are %.2f", what, loss.text(), 100 * most)
        if not loss.is_above(most):
            continue
        if not strict and not loss.is_surely_above(most):
            log.warning(
                "%s costs %s, more than the allowed %.2f, but that may be chance: the images are too few to tell; "
                "give more images to be sure",
                what,
                loss.text(),
                100 * most,
            )
            continue
        raise GateError(
            f"{what} costs {loss.text()}, allowed are {100 * most:.2f} ({gate}); {advice}. Nothing was written"
        )
