"""The one family of errors that a user is meant to read.

Every message is one line and says what to do next. The command line prints it and exits with
status 2; anything else that escapes is a bug in ponder.
"""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class PonderError(Exception):
    """A mistake that the user can mend; the message says how."""


class Unavailable(PonderError):
    """What the work needs is not to be had now: a disk is full, no server of a model answers.

    Whoever asked through a server of ours can only ask later; its operator can mend it.
    """


class CutShort(Exception):
    """Thrown into a program whose model request will not be served: budget spent or interrupted.

    Not a :class:`PonderError`: blocks catch it and turn the unfinished trace into an abstention.
    """


class NotAFunctionOfItsChoices(PonderError):
    """A replayed program asked for another address or distribution than it did the first time."""


class CannotEnumerate(PonderError):
    """A program samples what has no listed support."""


class TooManyRuns(CannotEnumerate):
    """An enumeration that would take too long; smaller sizes may do."""


def told_of(error: BaseException) -> str:
    """An error in one line, and where it was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}: {' '.join(str(error).split())}{where}"


@contextmanager
def failing(what: str) -> Iterator[None]:
    """Around a call of a user's code: what it raises, unless it is ours, is told after ``what``."""
    try:
        yield
    except PonderError:
        raise
    except Exception as error:
        raise PonderError(f"{what}: {told_of(error)}") from error
