"""Options of `benchmark` for hosts."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lth_deploy.commands.output import seconds_of
from lth_deploy.errors import UsageError

if TYPE_CHECKING:
    from lth_deploy.workflow.boards.options import BoardOptions

HostOption = Annotated[
    list[str] | None,
    typer.Option(
        "--host",
        metavar="USER@NAME",
        help="Measure there, by ssh; `local` is this machine, adb:SERIAL an Android device. May be repeated.",
    ),
]
CoresOption = Annotated[
    str, typer.Option(help="With --host: pin to the big or the little cores, or let Linux choose among all.")
]
SustainOption = Annotated[
    str | None, typer.Option(help="With --host: run each row this long without a pause too, for instance 60s,10m.")
]
RemoveOption = Annotated[bool, typer.Option("--remove", help="With --host: afterwards, remove what was copied there.")]
BoardFolderOption = Annotated[
    str | None,
    typer.Option(help="With --host: folder there for programs and models.", show_default="~/.cache/lth_deploy/board"),
]
BundleOption = Annotated[
    Path | None,
    typer.Option(help="With --host: folder with lth_consumer, liblth_ops.so and libonnxruntime.so of your own."),
]
PowerCommandOption = Annotated[
    str | None,
    typer.Option(
        "--power-command",
        metavar="COMMAND",
        help="With one --host: a command on this machine that prints watts, for instance of a USB meter.",
    ),
]
NcnnLibraryOption = Annotated[
    Path | None,
    typer.Option(help="With --host: ncnn's shared library for hosts.", show_default="the host's own"),
]
ReadImagesOption = Annotated[
    str,
    typer.Option(
        "--read-images",
        metavar="host|board",
        help="With --host: decode and prepare images on this machine, or there, which takes JPEG and PNG.",
    ),
]


def board_options(
    hosts: list[str] | None,
    cores: str,
    sustain: str | None,
    remove: bool,
    folder: str | None,
    bundle: Path | None,
    power_command: str | None,
    ncnn_library: Path | None,
    read_images: str,
) -> "BoardOptions | None":
    """The options as one object; None without hosts.

    Raises:
        UsageError: an option without a host, or a value that cannot work.
    """
    from lth_deploy.boards.drivers import checked, driver_of
    from lth_deploy.boards.power_command import parse_power_command
    from lth_deploy.workflow.boards.options import BoardOptions

    given = {
        "--cores": cores != "big",
        "--sustain": sustain is not None,
        "--remove": remove,
        "--board-folder": folder is not None,
        "--bundle": bundle is not None,
        "--power-command": power_command is not None,
        "--ncnn-library": ncnn_library is not None,
        "--read-images": read_images != "host",
    }
    if not hosts:
        orphan = next((name for name, is_given in given.items() if is_given), None)
        if orphan is not None:
            raise UsageError(f"{orphan} says how to measure on a host; name one with --host")
        return None
    for host in hosts:
        driver_of(host)
    if folder is not None:
        folder = checked([folder])[0].removeprefix("~/")
    if cores not in ("big", "little", "all"):
        raise UsageError(f"--cores {cores}: write big, little or all")
    if read_images not in ("host", "board"):
        raise UsageError(f"--read-images {read_images}: write host or board")
    times = tuple(seconds_of(text) or 0.0 for text in sustain.split(",")) if sustain else ()
    if any(not 0 < seconds <= 86400 for seconds in times):
        raise UsageError(f"--sustain {sustain}: give times up to a day, separated by commas, for instance 60s,10m")
    if power_command is not None and len(set(hosts)) > 1:
        raise UsageError(
            f"--power-command measures one host, here are {len(set(hosts))}; run the benchmark once for each"
        )
    if ncnn_library is not None and not ncnn_library.is_file():
        raise UsageError(f"--ncnn-library {ncnn_library}: there is no such file; give a libncnn.so for the hosts")
    watts = parse_power_command(power_command) if power_command is not None else ()
    return BoardOptions(
        tuple(hosts),
        cores,  # type: ignore[arg-type]
        times,
        remove,
        folder,
        bundle,
        watts,
        ncnn_library=ncnn_library,
        read_images=read_images,  # type: ignore[arg-type]
    )
