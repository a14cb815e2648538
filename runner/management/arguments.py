"""Arguments and options that several commands take, so that they read the same everywhere."""

from __future__ import annotations

from typing import Annotated

import typer

Id = Annotated[str, typer.Argument(metavar="ID", help="The run's id.")]
Thread = Annotated[str, typer.Argument(metavar="THREAD", help="The thread's id.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
Watch = Annotated[bool, typer.Option("--watch", "-w", help="Stay and show its progress.")]
