"""How many weights each layer of a network loses, when what counts is the error of the network's outputs."""

from collections.abc import Callable, Mapping

from lth_deploy.errors import UnreachableSparsityError
from lth_deploy.reconstruction.layer import LayerProblem
from lth_deploy.reconstruction.moments import Matrix
from lth_deploy.reconstruction.obs import SHARES
from lth_deploy.reconstruction.shares import Curve, spread_zeros
from lth_deploy.structures import Block, Groups

PROBE = 0.6
"""Share of zeros, by magnitude, with which the effect of each layer on the outputs is found."""

PROBED_IMAGES = 4

Effects = Callable[[Mapping[str, Matrix]], Mapping[str, float]]
"""From new rows of each layer to the squared relative error of the outputs when that layer alone has them."""


def error_curves(problems: Mapping[str, LayerProblem], structure: Block | Groups, effects: Effects) -> dict[str, Curve]:
    """What each layer adds to the error of the outputs at 0 and at each of `SHARES`, taken to be linear in its own."""
    if isinstance(structure, Groups):
        return {}  # the groups say how many
    probes = {name: problem.by_magnitude(round(PROBE * problem.size)) for name, problem in problems.items()}
    found = effects(probes)
    scales = {name: problems[name].error(rows) ** 2 for name, rows in probes.items()}
    return {
        name: problems[name].curve(structure) * (found[name] / scale if scale > 0 else 0.0)
        for name, scale in scales.items()
    }


def zeros_of(
    problems: Mapping[str, LayerProblem], structure: Block | Groups, curves: Mapping[str, Curve], sparsity: float
) -> dict[str, int]:
    """Zeros of each layer, together round(sparsity * n) of all n weights; `curves`: see `error_curves`.

    Raises:
        UnreachableSparsityError: that is more than the layers can take.
    """
    sizes = {name: problem.size for name, problem in problems.items()}
    if isinstance(structure, Groups):
        return sizes
    zeros, most = (round(share * sum(sizes.values())) for share in (sparsity, SHARES[-1]))
    if zeros > most:
        raise UnreachableSparsityError(
            f"sparsity {sparsity}: reconstruction leaves each layer {1 - SHARES[-1]:.0%} of its weights; ask for at "
            f"most {SHARES[-1]}"
        )
    limits = {name: problem.most_zeros(structure) for name, problem in problems.items()}
    found = spread_zeros(sizes, curves, (0.0, *SHARES), zeros, limits)
    reached = sum(found.values())
    if reached < zeros:
        raise UnreachableSparsityError(
            f"sparsity {sparsity}: with blocks of {structure.dims}, of which one stays for each group of outputs, the "
            f"layers can lose {reached / sum(sizes.values()):.4g} of their weights; ask for less"
        )
    return found
