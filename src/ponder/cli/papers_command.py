"""``ponder papers``: of which papers something runs here, what, and how."""

from __future__ import annotations

import json
from typing import Annotated

import typer


def papers(
    words: Annotated[
        list[str] | None, typer.Argument(help="Only papers in which all these words stand.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON array.")] = False,
) -> None:
    """List the papers of which something runs here: what does, what does not, and how to run it."""
    from ponder.recipes.catalogue import papers as all_papers

    found = [entry for entry in all_papers() if entry.has(words or ())]
    if as_json:
        print(json.dumps([entry.as_dict() for entry in found], ensure_ascii=False))
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.padding import Padding

    console = Console(highlight=False)

    def say(text: str, indent: int) -> None:
        console.print(Padding(escape(text), (0, 0, 0, indent)))

    for entry in found:
        paper = entry.paper
        console.print(f"[bold]{escape(paper.title)}[/]")
        say(f"{paper.authors}, {paper.year}", 2)
        say(entry.runs, 2)
        if entry.lacks:
            say(f"Not here: {entry.lacks}", 2)
        for command in entry.commands:
            console.print(f"    {escape(command)}", soft_wrap=True)
        console.print()
    total = len(all_papers())
    console.print(f"{len(found)} of {total} papers" if words else f"{total} papers", style="dim")
