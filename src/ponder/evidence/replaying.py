"""Recorded replies in place of a model: the one way in which ask, run, bench and tune replay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ponder.answering import Session
from ponder.bank import Bank
from ponder.errors import PonderError
from ponder.evidence.credit import Grader
from ponder.evidence.evaluate import Evaluation
from ponder.evidence.recordings import Recording, described, recorded
from ponder.evidence.rerun import Rerun, Samples
from ponder.evidence.sharing import AskedOnce, Frozen
from ponder.evidence.tasks import Tasks
from ponder.lm.protocol import LanguageModel
from ponder.lm.remembered import RememberedLM
from ponder.question import Question
from ponder.strategy import Pipeline


@dataclass(frozen=True)
class Replay:
    """What a bank can answer without a model: samples of the model ``name``.

    ``recordings`` are bound to questions in ``samples``. ``base`` spells the prompts of what the
    bank's own runs have drawn; None if there were none.
    """

    bank: Bank
    name: str
    recordings: Sequence[Recording]
    samples: Samples
    base: LanguageModel | None

    @property
    def notes(self) -> list[str]:
        """What stands for what, a line for each recipe: to be printed."""
        return [f"replaying {line}" for line in described(self.recordings)]

    def session(self, strategy: Pipeline, **options: Any) -> Session:
        """A session that repeats samples; ``options`` are those of :class:`Session`.

        Recorded replies are given in their order, and cost what drawing them anew would. The bank
        is read and not written. Without recorded replies the bank alone answers.
        """
        if not self.recordings:
            return Session(
                None, strategy, model_name=self.name, bank=self.bank, replay=True, **options
            )
        options["load"] = lambda other: RememberedLM(self.bank, other, None)
        return Session(
            Rerun(self.samples, self.base, self.name, shuffled=False),
            strategy,
            bank=Frozen(self.bank),  # type: ignore[arg-type]
            **options,
        )


def replay(bank: Bank, model: str | None, questions: Sequence[Question]) -> Replay:
    """Bind what was recorded of these questions; of ``model``, or of the only one there is.

    Where nothing was, it is the bank's own samples that are replayed, of the model that drew last
    unless it is named. Raises PonderError if recordings are of several models and none is named,
    or if they are not what their recipe asks first.
    """
    asked = {question.id for question in questions}
    bound = [r for r in recorded(bank, model) if r.question in asked]
    name = model or (bank.recorded_model() if bound else bank.fact("", "default")) or ""
    samples = Samples()
    samples.bind(bound, questions)
    known = bank.fact(name, "fingerprint") is not None
    recordings = len({r.question for r in recorded(bank, model)})
    if not (known or bound) and recordings:
        raise PonderError(
            f"replay: the bank has recorded replies for {recordings} questions, by their ids, and "
            "none of yours is among them; ask those, or run once without --replay"
        )
    known = known or not bound
    base = RememberedLM(bank, name, None) if known else None
    return Replay(bank, name, bound, samples, base)


def evaluation(
    tasks: Tasks,
    bank: Bank,
    model: LanguageModel | str | None,
    services: Mapping[str, Any],
    **options: Any,
) -> tuple[Evaluation, list[str]]:
    """An evaluation on the questions of ``tasks``, with what to say about what it replays.

    With a loaded ``model`` it draws what the bank does not have; with a name, or None, it replays.
    ``options`` are those of :class:`Evaluation`.
    """
    asked_once = AskedOnce(services)
    options["grader"] = Grader(asked_once, tasks.scorers)
    if model is not None and not isinstance(model, str):
        found = Evaluation(
            tasks.questions, bank, asked_once, model=model, name=model.name, **options
        )
        return found, []
    bound = replay(bank, model, tasks.questions)
    options["load"] = lambda other: RememberedLM(bank, other, None)
    found = Evaluation(
        tasks.questions,
        bank,
        asked_once,
        base=bound.base,
        name=bound.name,
        samples=bound.samples,
        **options,
    )
    return found, bound.notes
