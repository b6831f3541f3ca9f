"""The prover as a service: z3 in a process that can be killed, since z3 may overrun its limits."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from ponder.errors import PonderError
from ponder.verify.logic.solver import REVISION
from ponder.verify.worker import Worker

_GRACE = 5.0  # seconds that z3 may take to stop when told to


class Prover:
    """Decides whether premises prove a conclusion; a :class:`~ponder.outside.Service`.

    A request is ``{"premises": [text], "conclusion": text}``, formulas as ``read_formula`` reads
    them; it may ask for fewer ``seconds`` than the prover has. The answer is
    ``{"label", "status", "detail"}``. ``label`` is True, False or Uncertain, or None where
    ``status`` says why: ``inconsistent`` premises, ``unknown`` (more than the seconds were needed),
    ``unreadable``, or a failure of the :class:`~ponder.verify.worker.Worker`.
    """

    name = "z3"

    def __init__(self, seconds: float = 10.0) -> None:
        try:
            z3_version = version("z3-solver")
        except PackageNotFoundError:
            raise PonderError("proofs need z3; install it: pip install 'ponder[logic]'") from None
        self.fingerprint = f"z3 {z3_version}, logic {REVISION}, {seconds:g} s"
        self._seconds = seconds
        self._worker = Worker("ponder.verify.logic.solver:answer", seconds + _GRACE)

    def answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to ``request``. Raises PonderError if it is not as the class says."""
        premises, conclusion = request.get("premises"), request.get("conclusion")
        texts = [*premises, conclusion] if isinstance(premises, list) else [None]
        seconds = request.get("seconds", self._seconds)
        if not all(isinstance(text, str) for text in texts) or not _is_time(seconds):
            raise PonderError(
                'the prover takes {"premises": [text], "conclusion": text, "seconds": number}'
            )
        seconds = min(seconds, self._seconds)
        asked = {"premises": premises, "conclusion": conclusion, "seconds": seconds}
        return {"label": None, **self._worker.answer(asked)}

    def abort(self) -> None:
        """Stop what is being proved, from any thread."""
        self._worker.abort()

    def close(self) -> None:
        """End the process; a later request starts another."""
        self._worker.close()


def _is_time(seconds: object) -> bool:
    """Whether ``seconds`` is a positive number."""
    return isinstance(seconds, int | float) and not isinstance(seconds, bool) and seconds > 0
