"""`lth-deploy benchmark`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from lth_deploy.commands.board_options import (
    BoardFolderOption,
    BundleOption,
    CoresOption,
    HostOption,
    NcnnLibraryOption,
    PowerCommandOption,
    ReadImagesOption,
    RemoveOption,
    SustainOption,
    board_options,
)
from lth_deploy.commands.options import DecoderOption, ShapeOption, VerifyOption
from lth_deploy.commands.output import numbers_of, print_json, print_table, seconds_of, shapes_of


def benchmark(
    artifacts: Annotated[list[Path], typer.Argument(help="ONNX files, or exported run directories.")],
    data: Annotated[Path, typer.Option(help="COCO annotations.")],
    images: Annotated[Path, typer.Option(help="Folder of their images.")],
    baseline: Annotated[Path | None, typer.Option(help="Dense ONNX file to compare with.")] = None,
    engine: Annotated[
        str | None,
        typer.Option(
            help="Engines, separated by commas.",
            show_default="onnxruntime, lth_deploy where it was built, and installed peers on the dense model",
        ),
    ] = None,
    int8: Annotated[bool, typer.Option("--int8", help="Add the dense model in static INT8 as a row.")] = False,
    calibrate: Annotated[
        Path | None, typer.Option(help="Images to calibrate INT8 on; best not those of --images.")
    ] = None,
    threads: Annotated[str, typer.Option(help="Numbers of threads, separated by commas.")] = "1",
    time: Annotated[str, typer.Option(help="Time measured for each row, for instance 5s.")] = "5s",
    limit: Annotated[int | None, typer.Option(min=1, help="AP on the first so many images only.")] = None,
    shape: ShapeOption = None,
    decoder: DecoderOption = None,
    imports: Annotated[
        list[Path] | None,
        typer.Option("--import", help="Add the rows of another benchmark's JSON, or of lth_consumer --bench."),
    ] = None,
    verify: VerifyOption = False,
    host: HostOption = None,
    cores: CoresOption = "big",
    sustain: SustainOption = None,
    remove: RemoveOption = False,
    board_folder: BoardFolderOption = None,
    bundle: BundleOption = None,
    power_command: PowerCommandOption = None,
    ncnn_library: NcnnLibraryOption = None,
    read_images: ReadImagesOption = "host",
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write every sample to this file; - for stdout.")
    ] = None,
) -> None:
    """Measure size, load time, latency, memory and AP beside the dense baseline."""
    from lth_deploy import storage
    from lth_deploy.measure.table import table_notes, table_rows
    from lth_deploy.workflow.benchmark.options import BenchmarkOptions
    from lth_deploy.workflow.limits.limited_verbs import limited_benchmark

    options = BenchmarkOptions(
        engines=tuple(engine.split(",")) if engine is not None else None,
        threads=numbers_of(threads, "--threads"),
        seconds=seconds_of(time) or 0.0,
        int8=int8,
        calibration_folder=calibrate,
        images=limit,
        shapes=shapes_of(shape or ()) or None,
        decoder=decoder,
        imports=tuple(imports or ()),
        command=("lth-deploy", *sys.argv[1:]),
        verify=verify,
        boards=board_options(
            host, cores, sustain, remove, board_folder, bundle, power_command, ncnn_library, read_images
        ),
    )
    results = limited_benchmark(artifacts, data, images, baseline=baseline, options=options)
    to_stdout = str(json_file) == "-"
    header, *rows = table_rows(results)
    print_table(header, rows, to_stderr=to_stdout)
    for note in table_notes(results):
        print(note, file=sys.stderr)
    if to_stdout:
        print_json(results.to_data())
    elif json_file is not None:
        storage.write_json(json_file, results.to_data())
