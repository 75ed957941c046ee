"""Options that several verbs have."""

from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout, the table on stderr.")]
DecoderOption = Annotated[
    str | None,
    typer.Option(help="auto, a decoder's name, or FILE.py:function, for models from elsewhere.", show_default="auto"),
]
ShapeOption = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=1,3,640,640", help="Shape of an input whose sizes are open; once for each input."),
]

VerifyOption = Annotated[
    bool, typer.Option("--verify", help="Refuse files that are not those that the gates of their export passed.")
]
