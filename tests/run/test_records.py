"""The records of runs and sweeps: what was written once is read into the types and written again as the same bytes."""

import json
from pathlib import Path

import pytest

from lth_deploy.errors import DataError
from lth_deploy.run.summary import RUN_SCHEMA, RunSummary, load_run
from lth_deploy.run.sweep_record import SWEEP_SCHEMA, load_sweep_record

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"
LOADERS = {RUN_SCHEMA: load_run, SWEEP_SCHEMA: load_sweep_record}


def _schema(file: Path) -> str | None:
    document = json.loads(file.read_text(encoding="utf-8"))
    return document.get("schema") if isinstance(document, dict) else None


RECORDS = {file: schema for file in sorted(RESULTS.glob("*.json")) if (schema := _schema(file)) in LOADERS}


@pytest.mark.parametrize("file", RECORDS, ids=lambda file: file.stem)
def test_committed_records_are_written_again_as_the_same_bytes(file: Path) -> None:
    record, _ = LOADERS[RECORDS[file]](file)
    assert json.dumps(record.as_json(), indent=1) + "\n" == file.read_text(encoding="utf-8")


def test_there_are_records_of_both_kinds() -> None:
    assert set(RECORDS.values()) == set(LOADERS)


def test_a_summary_of_an_older_version_lacks_fields_and_one_of_another_kind_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "summary.json"
    file.write_text(json.dumps({"schema": RUN_SCHEMA, "trials": [{"name": "dense", "kind": "dense"}]}))
    summary, _ = load_run(file)
    assert summary == RunSummary.model_validate({"trials": [{"name": "dense", "kind": "dense"}]})
    assert (summary.trials[0].val, summary.winner) == (None, None)
    file.write_text(json.dumps({"schema": SWEEP_SCHEMA}))
    with pytest.raises(DataError, match=f"schema '{RUN_SCHEMA}' is needed"):
        load_run(file)
