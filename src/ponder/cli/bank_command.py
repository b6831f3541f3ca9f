"""``ponder bank``: what is in a bank, and putting recorded samples there."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ponder.cli.setup import BankOption, default_bank
from ponder.evidence import UNKNOWN

app = typer.Typer(
    no_args_is_help=True, help="Samples that are kept: what there is; import others'."
)


@app.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(help="Recorded replies, one JSON object a line.")],
    bank: BankOption = None,
    recipe: Annotated[
        str | None,
        typer.Option("--recipe", help="Whose replies these are; else NAME.RECIPE.jsonl tells."),
    ] = None,
    model: Annotated[
        str, typer.Option("--model", "-m", help="The model that wrote them, by any name.")
    ] = "recorded",
    prompt: Annotated[
        str, typer.Option("--prompt", help="How it was asked, where the file does not say.")
    ] = UNKNOWN,
    law: Annotated[
        str, typer.Option("--law", help="The sampling law, where the file does not say.")
    ] = UNKNOWN,
) -> None:
    """Bind replies that another program has recorded to (question, recipe, draw), for --replay."""
    import ponder.recipes  # noqa: F401 - registers the recipes
    from ponder.bank import Bank
    from ponder.errors import PonderError
    from ponder.evidence.recordings import described, import_recordings, recipe_of, recorded
    from ponder.notation import NAMES
    from ponder.strategy import Source

    name = recipe or recipe_of(file)
    if not isinstance(NAMES.get(name or ""), Source):
        raise PonderError(
            f"{'no recipe is called ' + repr(name) if name else 'the file name tells no recipe'}; "
            "say whose replies these are, like --recipe cot"
        )
    opened = Bank(bank or default_bank())
    before = len(opened.recordings(model))
    found = import_recordings(file, opened, str(name), model, prompt=prompt, law=law)
    new = len(opened.recordings(model)) - before
    known = f" ({len(found) - new} were there)" if new < len(found) else ""
    print(f"{new} replies imported{known} into {opened.path}, as samples of {model}")
    kept = [r for r in recorded(opened, model) if r.recipe == name]
    print("\n".join(described(kept)))


@app.command("show")
def show(bank: BankOption = None) -> None:
    """Say what a bank holds."""
    from ponder.bank import Bank
    from ponder.evidence.recordings import described, recorded

    opened = Bank(bank or default_bank(), create=False)
    replies = recorded(opened)
    print(f"{opened.path}: {len(opened)} samples of its own, {len(replies)} recorded replies")
    for line in described(replies):
        print(line)
