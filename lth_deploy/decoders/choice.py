"""Which decoder a model needs: by what its file says, or else by the names, types and shapes of its graph."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from lth_deploy.decoders.image.preprocessing import Preprocessing
from lth_deploy.decoders.model.hints import Hints, read_hints
from lth_deploy.decoders.model.signature import Signature
from lth_deploy.decoders.protocol import DECODERS, Family, FamilyDecoder
from lth_deploy.errors import ArtifactError, UsageError

AUTO = "auto"
"""The value of --decoder that leaves the choice to the program."""


@dataclass(frozen=True)
class Choice:
    """name: of the family; None of a decoder of the user's own. reason: in words, why this one."""

    name: str
    decoder: FamilyDecoder
    reason: str

    def __str__(self) -> str:
        preprocessing = f"; {self.decoder.preprocessing}" if self.decoder.preprocessing is not None else ""
        return f"decoder {self.name}: {self.reason}{preprocessing}"


def choose(signature: Signature) -> Choice:
    """The one family that fits.

    Raises:
        UsageError: none fits, or several do. ArtifactError: the metadata contradict themselves or the graph.
    """
    hints = read_hints(signature.properties)
    allowed = [DECODERS.get(name) for name in hints.families] or [DECODERS.get(name) for name in DECODERS]
    fitting: list[tuple[Family, FamilyDecoder]] = []
    reasons: dict[str, str] = {}
    fault: ArtifactError | None = None
    for family in allowed:
        try:
            found = family.fit(signature, hints)
        except ArtifactError as error:
            if hints.families:
                raise
            fault = fault or error
            continue
        if isinstance(found, str):
            reasons[family.name] = found
        else:
            fitting.append((family, found))
    usual = [(family, found) for family, found in fitting if found.class_names is not None]
    if len(fitting) > 1 and hints.names is None and usual:  # read by the others it would have 79 classes, or 81
        fitting = usual
    if len(fitting) == 1:
        family, decoder = fitting[0]
        return Choice(family.name, decoder, _reason(signature, hints))
    if fitting:
        raise UsageError(_several([family for family, _ in fitting], signature))
    if fault is not None:
        raise fault
    raise UsageError(_none(allowed, reasons, signature, hints))


def fit_named(name: str, signature: Signature) -> Choice:
    """The decoder of a family that the user named.

    Raises:
        UsageError: there is no such family, or it does not fit. ArtifactError: see `choose`.
    """
    family = DECODERS.get(name)
    try:
        hints = read_hints(signature.properties)
    except UsageError:  # another task or family: the user knows better
        hints = read_hints({key: value for key, value in signature.properties.items() if key in ("names", "imgsz")})
    if name not in hints.families:  # of another family nothing holds but names and size
        hints = Hints(None, (name,), hints.names, hints.size)
    found = family.fit(signature, replace(hints, families=(name,)))
    if isinstance(found, str):
        raise UsageError(
            f"decoder '{name}' takes {' or '.join(family.outputs)}; the model has {signature.described_outputs()}: "
            f"{found}; name another decoder, or leave --decoder out"
        )
    return Choice(name, found, "named on the command line")


def fit_recorded(
    name: str,
    signature: Signature,
    names: tuple[str, ...] | None,
    preprocessing: Mapping[str, Any],
    options: Mapping[str, str],
) -> Choice:
    """The decoder that an artifact names, with the preprocessing and options that stand beside.

    Raises:
        UsageError: there is no such decoder. ArtifactError: it does not fit the graph.
    """
    family = DECODERS.get(name)
    how = Preprocessing.from_data(preprocessing) if preprocessing and name != "lth" else None
    found = family.fit(signature, Hints("its metadata", (name,), names, None, how, options))
    if isinstance(found, str):
        raise ArtifactError(
            f"the metadata name decoder '{name}', which takes {' or '.join(family.outputs)}; the model has "
            f"{signature.described_outputs()}: {found}; give --decoder"
        )
    return Choice(name, found, "the artifact names it")


def _reason(signature: Signature, hints: Hints) -> str:
    shapes = f"outputs {signature.described_outputs()}"
    return shapes if hints.source is None else f"{hints.source}, {shapes}"


def _several(fitting: list[Family], signature: Signature) -> str:
    names = " and ".join(family.name for family in fitting)
    flags = " or ".join(f"--decoder {family.name}" for family in fitting)
    quantity = "both" if len(fitting) == 2 else "all"
    return (
        f"decoders {names} {quantity} fit inputs {signature.described_inputs()} and outputs "
        f"{signature.described_outputs()}, and read them differently; give {flags}"
    )


def _none(allowed: list[Family], reasons: Mapping[str, str], signature: Signature, hints: Hints) -> str:
    why = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
    why = f" ({why})" if len(reasons) <= 3 else ""
    hint = f"{hints.source} says {' or '.join(hints.families)}, but " if hints.families else ""
    known = "; ".join(f"{family.name}: {' or '.join(family.outputs)}" for family in allowed)
    return (
        f"{hint}no decoder fits outputs {signature.described_outputs()}{why}; known are {known}. "
        "Give --decoder NAME or --decoder FILE.py:function"
    )
