"""The verbs that run any model that they are given, each as a whole in a child process with limits.

The command line calls these. Functions such as `lth_deploy.evaluate` run models in the process that calls them.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from lth_deploy.measure.results import BenchmarkResults
from lth_deploy.reporting.analysis.schema import Analysis
from lth_deploy.workflow.analyze.analyze import analyze
from lth_deploy.workflow.analyze.options import AnalyzeOptions
from lth_deploy.workflow.artifact import open_artifact
from lth_deploy.workflow.benchmark.benchmark import benchmark
from lth_deploy.workflow.benchmark.options import BenchmarkOptions
from lth_deploy.workflow.evaluate import Evaluation, evaluate
from lth_deploy.workflow.limits.limited_process import run_limited
from lth_deploy.workflow.predict import check_arguments, drawn, output_folder


def limited_evaluate(artifact: Path, data: Path, images: Path, **options: Any) -> Evaluation:
    """`evaluate` with limits; see there.

    Raises:
        ArtifactError: not within the limits. Else as there.
    """
    arguments = {"artifact": str(artifact), "data": str(data), "images": str(images), "options": options}
    found = run_limited(_evaluate, arguments, f"evaluating {artifact}")
    return TypeAdapter(Evaluation).validate_python(found)


def limited_predict(
    artifact: Path, images: Sequence[Path], out: Path, *, threshold: float, **options: Any
) -> list[tuple[Path, int]]:
    """`predict` with limits; the image that was drawn for each image, and the number of objects in it.

    Raises:
        ArtifactError: not within the limits. Else as `predict`.
    """
    check_arguments(images, threshold)
    arguments = {
        "artifact": str(artifact),
        "images": [str(image) for image in images],
        "out": str(out),
        "threshold": threshold,
        "options": options,
    }
    with output_folder(out):
        found = run_limited(_predict, arguments, f"running {artifact}")
    return [(Path(picture), int(objects)) for picture, objects in found]


def limited_benchmark(
    artifacts: Sequence[Path], data: Path, images: Path, *, baseline: Path | None, options: BenchmarkOptions
) -> BenchmarkResults:
    """`benchmark` with limits; see there.

    Raises:
        ArtifactError: not within the limits. Else as there.
    """
    arguments = {
        "artifacts": [str(artifact) for artifact in artifacts],
        "data": str(data),
        "images": str(images),
        "baseline": None if baseline is None else str(baseline),
        "options": TypeAdapter(BenchmarkOptions).dump_python(options, mode="json"),
    }
    found = run_limited(_benchmark, arguments, f"measuring {', '.join(map(str, artifacts))}")
    return BenchmarkResults.from_json(str(found))


def limited_analyze(sources: Sequence[Path], out: Path, options: AnalyzeOptions) -> Analysis:
    """`analyze`, with limits where ONNX files are among the sources; see there.

    Raises:
        ArtifactError: not within the limits. Else as there.
    """
    files = [source.name for source in sources if not source.is_dir()]
    if not files:
        return analyze(sources, out, options)
    arguments = {
        "sources": [str(source) for source in sources],
        "out": str(out),
        "options": TypeAdapter(AnalyzeOptions).dump_python(options, mode="json"),
    }
    return Analysis.model_validate(run_limited(_analyze, arguments, f"analyzing {', '.join(files)}"))


def _evaluate(artifact: str, data: str, images: str, options: dict[str, Any]) -> object:
    result = evaluate(Path(artifact), Path(data), Path(images), **options)
    return TypeAdapter(Evaluation).dump_python(result, mode="json")


def _predict(
    artifact: str, images: list[str], out: str, threshold: float, options: dict[str, Any]
) -> list[tuple[str, int]]:
    opened = open_artifact(Path(artifact), **options)
    found = drawn(opened, [Path(image) for image in images], Path(out), threshold)
    return [(str(one.picture), len(one.detections.above(threshold))) for one in found]


def _benchmark(artifacts: list[str], data: str, images: str, baseline: str | None, options: object) -> str:
    results = benchmark(
        [Path(artifact) for artifact in artifacts],
        Path(data),
        Path(images),
        baseline=None if baseline is None else Path(baseline),
        options=TypeAdapter(BenchmarkOptions).validate_python(options),
    )
    return results.to_json()


def _analyze(sources: list[str], out: str, options: object) -> object:
    chosen = TypeAdapter(AnalyzeOptions).validate_python(options)
    return analyze([Path(source) for source in sources], Path(out), chosen).model_dump(mode="json")
