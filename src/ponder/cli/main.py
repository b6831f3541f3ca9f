"""``ponder``: the commands, and how errors reach a person.

Nothing heavy is imported here: help and usage errors answer at once.
"""

from __future__ import annotations

import os
import sys

import typer

from ponder.cli import bank_command, models_command
from ponder.cli.ask_command import ask
from ponder.cli.bench_command import bench
from ponder.cli.check_command import check
from ponder.cli.methods_command import methods
from ponder.cli.papers_command import papers
from ponder.cli.run_command import run
from ponder.cli.serve_command import serve
from ponder.cli.tune_command import tune
from ponder.errors import PonderError

app = typer.Typer(
    name="ponder",
    help="Spend inference-time compute on a language model, and say what the answer is worth.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(ask)
app.command()(run)
app.command()(serve)
app.command()(check)
app.command()(bench)
app.command()(tune)
app.command()(methods)
app.command()(papers)
app.add_typer(models_command.app, name="models")
app.add_typer(bank_command.app, name="bank")


def _version(show: bool) -> None:
    if show:
        from ponder import __version__

        typer.echo(f"ponder {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version."
    ),
) -> None:
    pass


def main() -> None:
    """Run the command line; errors become one line and an exit status."""
    _mend_streams()
    try:
        app()
    except PonderError as error:
        fail(str(error))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except OSError as error:
        fail(f"{error.filename or 'the system'}: {error.strerror or error}")
    except Exception as error:
        if os.environ.get("PONDER_DEBUG"):
            raise
        fail(
            f"a bug in ponder: {type(error).__name__}: {' '.join(str(error).split())}; please "
            "report it, with what PONDER_DEBUG=1 prints",
            status=70,
        )


def _mend_streams() -> None:
    """Closed streams lead nowhere; what a terminal cannot spell is replaced."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 - for the process's life
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def fail(message: str, status: int = 2) -> None:
    """Print one line to the error output and exit."""
    print(f"ponder: {message}", file=sys.stderr)
    sys.exit(status)
