"""``ponder methods``: the methods of the literature that run here, as compositions."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from ponder.recipes.catalogue import Method


def methods(
    name: Annotated[
        str | None, typer.Argument(help="Explain this one; without it all are listed.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the methods that run here, or explain one: what it does, claims, needs and costs."""
    from ponder.recipes import catalogue

    if name is None:
        found = catalogue.methods()
        if as_json:
            print(json.dumps([m.as_dict() for m in found], ensure_ascii=False))
        else:
            _list(found)
        return
    method = catalogue.method(name)
    if as_json:
        print(json.dumps(method.as_dict(), ensure_ascii=False))
    else:
        _explain(method)


def _list(found: tuple[Method, ...]) -> None:
    """Two lines a method, since its columns take more than 80 characters: cost and needs below."""
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    width = max(len(m.name) for m in found) + 2
    for m in found:
        needs = f"; needs {', '.join(m.needs)}" if m.needs else ""
        console.print(f"[bold]{m.name:{width}}[/]{m.law.kind:12}{m.paper.short}")
        console.print(f"    {m.cost}{needs}", style="dim", markup=False)
    console.print("\n`ponder methods NAME` explains one; each is a strategy: ponder ask -s NAME")


def _explain(m: Method) -> None:
    from rich.console import Console
    from rich.markup import escape

    from ponder.law import MEANING

    console = Console(highlight=False)
    console.print(f"[bold]{m.name}[/]: {escape(m.title)}")
    console.print(escape(m.about))
    console.print(f"\n  {escape(m.composition)}\n", soft_wrap=True)
    console.print(_pairs(m.parts()))
    law = m.law
    facts = [
        ("law", f"{law}: {MEANING[law.kind]}"),
        ("needs", ", ".join(m.needs) or "nothing but samples of the model"),
        ("cost", m.cost),
        ("questions", m.question),
        ("measured", m.measured or "not measured on a real model yet"),
        ("paper", str(m.paper)),
    ]
    console.print()
    console.print(_pairs([(head, text) for head, text in facts if text]))
    console.print(f"\n{escape(m.example)}", soft_wrap=True)


def _pairs(rows: list[tuple[str, str]]) -> Table:
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, style="dim")
    table.add_column()
    for head, text in rows:
        table.add_row(head, escape(text))
    return table
