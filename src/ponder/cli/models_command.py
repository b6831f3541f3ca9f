"""``ponder models``: which weights are here, fetch them, remove them."""

from __future__ import annotations

import json
from typing import Annotated

import typer

app = typer.Typer(help="List, fetch and remove model weights.", no_args_is_help=False)


@app.callback(invoke_without_command=True)
def models(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON array.")] = False,
) -> None:
    """List the known models: where their weights come from, their size, whether present."""
    if context.invoked_subcommand is not None:
        return
    from ponder.lm.registry import status

    found = status()
    if as_json:
        rows = [
            {
                "name": m.name,
                "state": m.state,
                "size": m.size,
                "source": m.source,
                "path": None if m.path is None else str(m.path),
                "how_to_get": m.how_to_get,
            }
            for m in found
        ]
        print(json.dumps(rows))
        return
    from rich.console import Console
    from rich.markup import escape

    console = Console(highlight=False)
    for m in found:
        console.print(f"[bold]{m.name}[/]  {m.size / 1e9:.2f} GB  {m.state}")
        for line in (m.source, m.note, str(m.path) if m.path else m.how_to_get):
            if line:
                console.print(f"    {escape(line)}", soft_wrap=True)
    console.print("Any GGUF file works too: --model FILE.gguf, or --model hf:ORG/REPO/FILE.gguf")


@app.command()
def get(
    name: Annotated[str, typer.Argument(help="A known model, or hf:ORG/REPO/FILE.gguf.")],
) -> None:
    """Make a model ready: assemble and verify its weights."""
    from ponder.cli.progress import byte_progress
    from ponder.lm.registry import get as fetch

    with byte_progress("assembling weights") as progress:
        file = fetch(name, progress)
    print(f"{file.name} is ready at {file.path}")


@app.command()
def rm(name: Annotated[str, typer.Argument(help="A known model.")]) -> None:
    """Remove a model's assembled weights from the cache."""
    from ponder.lm.registry import remove

    print(f"freed {remove(name) / 1e9:.2f} GB")
