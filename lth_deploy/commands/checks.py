"""`lth-deploy checks`."""

from typing import Annotated

import typer

from lth_deploy.commands.output import print_json, print_table


def checks(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Show versions, processor and what is missing for which verb."""
    from lth_deploy.workflow.environment import check_environment

    report = check_environment()
    print_table(["what", "found"], [[key, value] for key, value in report.facts.items()], to_stderr=as_json)
    for warning in report.warnings:
        typer.echo(f"warning: {warning}", err=True)
    if as_json:
        print_json({"facts": report.facts, "warnings": report.warnings})
