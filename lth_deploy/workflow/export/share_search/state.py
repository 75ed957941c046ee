"""What a search has measured so far, in a folder beside the export, so that an interrupted one goes on."""

import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lth_deploy import storage
from lth_deploy.errors import DataError
from lth_deploy.workflow.export.share_search.bisection import MOST
from lth_deploy.workflow.export.share_search.tries import Try

log = logging.getLogger(__name__)

FILE = "search.json"

Share = Annotated[float, Field(ge=0, le=1)]


class _Try(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    percent: Annotated[int, Field(ge=0, le=MOST)]
    zeros: Share
    float_ap: Share | None
    ap: Share | None
    int8_low: Annotated[float, Field(ge=-1, le=1)] | None = None


class _State(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    version: Literal[1] = 1
    inputs: dict[str, str]
    dense_ap: Share | None = None
    tries: list[_Try] = []


class SearchState:
    """Tries by their share, written after each one. inputs: digest of each thing that AP depends on, by its name."""

    def __init__(self, folder: Path, inputs: Mapping[str, str]) -> None:
        """Read what the folder has.

        What other inputs have measured, and a file that cannot be read, is left behind, with a sentence.
        """
        self._file, self._inputs = folder / FILE, dict(inputs)
        found = self._read()
        self.dense_ap = found.dense_ap
        self.tries = {one.percent: Try(**one.model_dump()) for one in found.tries}
        if self.tries:
            log.info("%d shares were tried before; their AP is in %s", len(self.tries), self._file)

    def _read(self) -> _State:
        nothing = _State(inputs=self._inputs)
        if not self._file.exists():
            return nothing
        try:
            found = _State.model_validate(storage.read_json(self._file))
        except (DataError, ValidationError) as error:
            log.warning("%s cannot be read, so the search starts anew: %s", self._file, str(error).splitlines()[0])
            return nothing
        names = dict.fromkeys((*found.inputs, *self._inputs))
        changed = [name for name in names if found.inputs.get(name) != self._inputs.get(name)]
        if changed:
            log.warning("%s was measured with another %s, so the search starts anew", self._file, ", ".join(changed))
            return nothing
        return found

    def found_dense(self, ap: float) -> None:
        """Remember the AP of the dense model."""
        self.dense_ap = ap
        self._write()

    def tried(self, one: Try) -> None:
        """Remember a try."""
        self.tries[one.percent] = one
        self._write()

    def _write(self) -> None:
        tries = [_Try.model_validate(asdict(one)) for one in self.tries.values()]
        state = _State(inputs=self._inputs, dense_ap=self.dense_ap, tries=tries)
        storage.write_json(self._file, state.model_dump(mode="json"))
