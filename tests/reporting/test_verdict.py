"""The sentences at the head of the page follow from the figures, whatever they are."""

import copy
from typing import Any

import pytest

from lth_deploy.measure.results import BenchmarkResults
from lth_deploy.reporting.verdict import judge_benchmark, judge_run
from lth_deploy.run.summary import RunSummary
from tests.reporting.report_samples import make_benchmark, make_run, trial


def judged(document: dict[str, Any]):  # type: ignore[no-untyped-def]
    return judge_run(RunSummary.model_validate(document))


def with_random_at(test_ap: float | None, kind: str = "random") -> dict[str, Any]:
    run = make_run()
    run["trials"] = [t for t in run["trials"] if t["kind"] not in ("random", "reinit")]
    run["trials"].append(trial(kind, 0.8, 0.5, test_ap, ("bbox",)))
    return run


def test_a_winner_is_named_with_both_splits_and_its_interval() -> None:
    verdict = judged(make_run())
    assert verdict.state == "good"
    assert "80.0 %" in verdict.headline
    assert "55.9 against 56.2" in verdict.reason
    assert "54.9 against 55.5" in verdict.reason
    assert "\u22121.4 to +0.3" in verdict.reason


@pytest.mark.parametrize(
    ("test_ap", "state"), [(0.519, "good"), (0.5190001, "bad"), (0.549, "bad"), (0.56, "bad"), (0.1, "good")]
)
def test_a_random_mask_must_be_three_points_below(test_ap: float, state: str) -> None:
    verdict = judged(with_random_at(test_ap))
    assert [check.state for check in verdict.checks] == [state]
    assert verdict.state == ("good" if state == "good" else "open")
    if state == "bad":
        assert "not at least 3.0 below" in verdict.checks[0].text


def test_new_weights_that_come_close_are_a_question_not_a_fault() -> None:
    verdict = judged(with_random_at(0.549, "reinit"))
    assert verdict.checks[-1].state == "open"


def test_val_decides_where_test_was_not_measured() -> None:
    assert "on val" in judged(with_random_at(None)).checks[0].text


def test_a_winner_without_random_control_is_said_to_be_unproven() -> None:
    run = make_run()
    run["trials"] = [t for t in run["trials"] if t["kind"] != "random"]
    verdict = judged(run)
    assert verdict.checks[0].state == "open"
    assert "No random mask" in verdict.checks[0].text


def test_no_winner_gives_the_nearest_level_and_its_distance() -> None:
    run = make_run()
    run["winner"] = None
    run["trials"] = [t for t in run["trials"] if t["name"] in ("dense", "level_90")]
    verdict = judged(run)
    assert verdict.state == "bad"
    assert verdict.headline == "No winning ticket"
    assert "level_90" in verdict.reason
    assert "\u22122.4" in verdict.reason


def test_being_as_good_as_nothing_is_no_win() -> None:
    run = make_run()
    run["winner"].update(dense_val_ap=0.0, val_ap=0.0)
    assert judged(run).state == "bad"
    assert "learned nothing" in judged(run).headline


def test_an_unfinished_run_is_not_judged() -> None:
    run = make_run()
    run.update(winner=None, finished=False, trials=run["trials"][:1])
    assert judged(run).state == "open"
    assert "not finished" in judged(run).headline


def test_without_a_winner_the_control_is_the_one_trained_as_long_as_the_tickets() -> None:
    run = make_run()
    run["winner"] = None
    assert RunSummary.model_validate(run).control.name == "dense"  # type: ignore[union-attr]
    run["trials"].insert(1, {**run["trials"][0], "name": "dense_control", "kind": "dense_control"})
    assert RunSummary.model_validate(run).control.name == "dense_control"  # type: ignore[union-attr]


def test_the_named_control_counts_not_the_first_dense_trial() -> None:
    run = make_run()
    run["trials"].append({**run["trials"][0], "name": "dense_control", "val": {"bbox": {"AP": 0.9}}})
    run["winner"]["control"] = "dense_control"
    run["winner"]["dense_val_ap"] = None
    assert "55.9 against 90.0" in judged(run).reason


def test_the_benchmark_compares_the_smallest_packed_file_with_its_dense_twin() -> None:
    verdict = judge_benchmark(BenchmarkResults.model_validate(make_benchmark()))
    assert verdict.state == "good"
    assert verdict.headline == "packed fp16 is 7.7 times smaller than dense"
    assert "46.0 ms against 46.2 ms" in verdict.reason


def test_packed_files_that_lost_their_ap_are_no_success() -> None:
    results = make_benchmark()
    for row in results["rows"]:
        if row["kind"] in ("packed", "coo") and row["ap"]:
            row["ap"]["bbox"]["AP"] = 0.3
    assert judge_benchmark(BenchmarkResults.model_validate(results)).state == "open"


def test_a_smaller_file_that_lost_its_ap_is_passed_over() -> None:
    results = make_benchmark()
    row = next(row for row in results["rows"] if row["name"] == "packed fp16")
    lossy = copy.deepcopy(row) | {"name": "lossy", "path": "lossy.onnx", "bytes": row["bytes"] // 2}
    lossy["ap"]["bbox"]["AP"] = 0.3
    results["rows"].append(lossy)
    verdict = judge_benchmark(BenchmarkResults.model_validate(results))
    assert verdict.state == "good"
    assert verdict.headline.startswith("packed fp16")


def test_a_benchmark_without_packed_or_dense_rows_still_has_a_verdict() -> None:
    for kind in ("dense", "packed"):
        results = make_benchmark()
        results["rows"] = [row for row in results["rows"] if row["kind"] == kind]
        assert judge_benchmark(BenchmarkResults.model_validate(results)).reason


def test_the_fastest_engine_of_the_smallest_file_is_held_against_the_dense_row() -> None:
    results = make_benchmark()
    row = next(row for row in results["rows"] if row["kind"] == "packed" and row["threads"] == 1)
    faster = copy.deepcopy(row) | {"engine": "lth_deploy"}
    faster["latency_ms"]["p50"] = 20.0
    results["rows"].append(faster)
    verdict = judge_benchmark(BenchmarkResults.model_validate(results))
    assert verdict.headline.endswith("times smaller than dense and 2.3 times as fast")
    assert "20.0 ms against 46.2 ms (lth_deploy" in verdict.reason
