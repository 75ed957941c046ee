"""The steps that bring exporters' graphs to one plain form, and what was done in words."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from onnx import ModelProto

from lth_deploy.compiler.importing.plain.absorb import absorb
from lth_deploy.compiler.importing.plain.bins import means_of_bins
from lth_deploy.compiler.importing.plain.branches import merge_branches
from lth_deploy.compiler.importing.plain.channel_operands import add_and_multiply
from lth_deploy.compiler.importing.plain.folded_layer import FoldedLayer
from lth_deploy.compiler.importing.plain.max_pools import chain_max_pools
from lth_deploy.compiler.importing.plain.pads import absorb_pads
from lth_deploy.compiler.importing.plain.pass_through import drop_pass_through
from lth_deploy.compiler.importing.plain.sampled_images import sample_images
from lth_deploy.compiler.importing.plain.softmax import rewrite_softmax
from lth_deploy.compiler.importing.plain.stacked_sums import add_stacked
from lth_deploy.compiler.importing.plain.values import fold_values
from lth_deploy.compiler.model.operators import traits_of

VALUES, COPIES, PADS = "computed constants", "dropped copies", "folded pads"
SOFTMAX, POOLS, STACKS = "moved softmax", "chained max pools", "added stacked tensors"
BINS, OPERANDS, SAMPLES = "means of bins", "sums and products of channels", "sampled images"
BRANCHES = "merged branches"

STEPS = (VALUES, COPIES, PADS, BRANCHES, BINS, SOFTMAX, POOLS, STACKS, SAMPLES, OPERANDS)
"""Steps that can be left out as a whole; what is folded into layers can be left out layer by layer."""

_REWRITES: Mapping[str, tuple[Callable[[ModelProto], int], str]] = {
    BINS: (means_of_bins, "computed {} means of bins (DFL) on planes, level by level"),
    SOFTMAX: (rewrite_softmax, "rewrote {} softmax over channels to the last axis"),
    POOLS: (chain_max_pools, "wrote {} large max pools as chains of small ones"),
    STACKS: (add_stacked, "wrote {} sums of stacked tensors as additions"),
    SAMPLES: (sample_images, "wrote {} bilinear samplings of gathered corners as GridSample"),
    OPERANDS: (add_and_multiply, "wrote {} differences and quotients of channels as sums and products"),
}
"""What is rewritten after layers have taken in what they can, in this order, and the note about it."""


@dataclass
class PlainForm:
    """What was done to a model. layers: those that absorbed something. done: names of steps and of weights."""

    notes: list[str] = field(default_factory=list)
    layers: list[FoldedLayer] = field(default_factory=list)
    done: list[str] = field(default_factory=list)


def make_plain(
    model: ModelProto,
    original: Collection[str],
    *,
    without: Collection[str] = (),
    halves: Collection[str] = (),
) -> PlainForm:
    """Rewrite a model in place.

    Args:
        model: without functions, in opset 13 or later.
        original: see `absorb`.
        without: names of steps and of weights of layers that are left as they are.
        halves: see `absorb`.
    """
    form = PlainForm()
    computed = 0 if VALUES in without else fold_values(model)
    if computed:
        form.notes.append(f"computed {computed} operators on constants and known sizes")
        form.done.append(VALUES)
    dropped = Counter[str]() if COPIES in without else drop_pass_through(model)
    if dropped:
        form.notes.append(f"dropped {', '.join(f'{count} {name}' for name, count in sorted(dropped.items()))}")
        form.done.append(COPIES)
    pads = 0 if PADS in without else absorb_pads(model)
    if pads:
        form.done.append(PADS)
    operators, merged = _absorb(model, form, original, without, halves)
    folded = [f"{count} {traits_of(name).folded_as}" for name, count in sorted(operators.items())]
    folded += [f"{pads} pads"] if pads else []
    if folded:
        form.notes.append(f"folded {', '.join(folded)} into layers")
    if merged:
        form.notes.append(f"merged {merged} convolutions with the branches beside them (RepConv)")
    for name, (rewrite, note) in _REWRITES.items():
        count = 0 if name in without else rewrite(model)
        if count:
            form.notes.append(note.format(count))
            form.done.append(name)
    return form


def _absorb(
    model: ModelProto, form: PlainForm, original: Collection[str], without: Collection[str], halves: Collection[str]
) -> tuple[Counter[str], int]:
    """Let layers take in what is around them; how many operators were folded, by name, and how many layers merged."""
    absorbed = absorb(model, original, without=without, halves=halves)
    form.layers, operators, merged = absorbed.layers, absorbed.operators, list[str]()
    if BRANCHES not in without:
        found = merge_branches(model, absorbed.layers, original, without=without, halves=halves)
        form.layers, merged = found.layers, found.weights
    if merged:  # what follows the sums
        others = {tensor.name for tensor in model.graph.initializer} - set(merged)
        later = absorb(model, original, without=others, halves=halves)
        again = {layer.weight: layer for layer in later.layers}
        form.layers = [layer.then(again[layer.weight]) if layer.weight in again else layer for layer in form.layers]
        operators += later.operators
        form.done.append(BRANCHES)
    form.done.extend(dict.fromkeys(layer.weight for layer in form.layers))
    return operators, len(merged)
