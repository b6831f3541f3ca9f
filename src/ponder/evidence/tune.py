"""Tuning: choose a strategy under a token budget on questions with known answers; the card.

Two thirds of the questions choose, by a hash of their ids; the last third is held out, and seen
only through the reusable holdout. All of them calibrate the strategy that was chosen.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Literal

import numpy as np

from ponder.answering import Answer
from ponder.errors import PonderError
from ponder.evidence import classes as difficulty
from ponder.evidence.calibrating import calibrated, certified
from ponder.evidence.candidates import Candidate
from ponder.evidence.card import Card
from ponder.evidence.classes import Classes, Ints, allotting
from ponder.evidence.evaluate import Evaluation, Measured
from ponder.evidence.learning import Learning, Unlearnable, has_odds, joined
from ponder.evidence.search import Tried, affordable, chosen, exhaustive, halving
from ponder.evidence.tasks import Tasks
from ponder.evidence.verifiers import rates, verifier_of
from ponder.guarantee.holdout import Look, Thresholdout
from ponder.guarantee.shrinkage import winner
from ponder.guarantee.signals import signals
from ponder.lm import cost
from ponder.lm.protocol import LanguageModel
from ponder.question import Question
from ponder.strategy import Pipeline

Search = Literal["exhaustive", "halving"]
LOOKS = 3
"""At one held-out part: more say less, at the sizes that people label."""
RISKS = (0.2, 0.1, 0.05)
PROMPTS, OUTPUTS = (16, 128, 512), (1, 16)
"""Tokens of the requests that time a model: half a minute of a small one on two cores."""
LISTED = 10
"""How many of the candidates a card lists, best first."""


def held_out(question: Question) -> bool:
    """Whether a question is of the third that does not choose; a matter of its id alone."""
    return _hash(f"held out {question.id}") % 3 == 0


@dataclass
class Tuning:
    """Tunes among ``candidates`` on ``tasks`` by ``evaluation``; ``made`` says how, for the card.

    ``max_tokens`` is what the method may cost a question in the mean. ``again`` is an earlier card
    on the same questions, whose looks at the held-out part are spent.
    """

    tasks: Tasks
    candidates: Sequence[Candidate]
    evaluation: Evaluation
    made: Mapping[str, Any]
    max_tokens: float | None = None
    search: Search = "exhaustive"
    again: Card | None = None
    stage: Callable[[str], None] = lambda _: None
    left_out: dict[str, str] = field(default_factory=dict)
    """Candidates that fail on every question, or cannot be learnt, with why."""
    _learning: Learning = field(init=False, repr=False)

    def run(self) -> Card:
        """Search, check, calibrate. Raises PonderError, with what to do, where that cannot be."""
        questions = self.tasks.questions
        here, there = _parts(questions)
        guard = self._guard(len(here), len(there))
        choosing = [questions[i] for i in here]
        wholes = [candidate.whole for candidate in self.candidates]
        self._learning = Learning(choosing, wholes, self._answered, self.evaluation.grader)
        tried = self._search(choosing)
        if not tried:
            name, why = next(iter(self.left_out.items()))
            raise PonderError(f"every candidate fails on every question; {name}: {why}")
        best = tried[chosen(tried, self.max_tokens)]
        curve = [t for t in tried if repr(t.candidate.whole) == repr(best.candidate.whole)]
        split = difficulty.classes(best, curve, choosing, self._measured)
        final = best.candidate.strategy
        if split.sizes is not None:
            final = allotting(best.candidate.whole, split.sizes)
        whole = self._measured(final, questions, signals)
        look = guard.ask(whole.right[here], lambda: whole.right[there])
        figures = self._accuracy(tried, best, split, whole, len(here))
        figures["held_out"] = _seen(look, len(there))
        found = calibrated(whole, self.evaluation.seed)
        stated = best.candidate.strategy if split.sizes is None else best.candidate.whole
        return Card(
            strategy=repr(self._learning.fitted(stated)),
            sizes=split.sizes,
            law=whole.law,
            model=self.evaluation.name,
            recorded=self.evaluation.model is None and bool(self.evaluation.samples.recorded),
            made={name: value for name, value in self.made.items() if name != "command"},
            tuned_on=self._tuned_on(len(here), len(there)),
            accuracy=figures,
            classes=split.as_dict(),
            calibrator=found.calibrator,
            calibration=found.figures,
            points=found.points,
            risks=[certified(found.points, risk) for risk in RISKS],
            verifiers=self._verifiers(tried, choosing),
            cost=_timed(self.evaluation.model),
            holdout=guard.as_dict(),
            tried=_listed(tried),
        )

    # The parts of it.

    def _guard(self, choosing: int, held: int) -> Thresholdout:
        if self.again is None:
            return Thresholdout(choosing, held, LOOKS, seed=self.evaluation.seed)
        if self.again.tuned_on.get("fingerprint") != self._fingerprint():
            raise PonderError(
                "the card given to tune again was tuned on other questions; give the same tasks "
                "and the same --limit"
            )
        guard = Thresholdout.from_dict(self.again.holdout)
        if guard.left < 1:
            raise PonderError(
                f"all {guard.budget} looks at these held-out questions are spent; label new ones"
            )
        return guard

    def _fingerprint(self) -> str:
        ids = sorted(question.id for question in self.tasks.questions)
        return sha256("\n".join(ids).encode()).hexdigest()[:16]

    def _search(self, questions: Sequence[Question]) -> list[Tried]:
        def trial(candidate: Candidate, asked: Sequence[Question]) -> Measured | None:
            try:
                found = self._measured(candidate.strategy, asked)
            except Unlearnable as why:
                self.left_out[repr(candidate)] = str(why)
                return None
            if len(found.failures) < len(asked):
                return found
            self.left_out[repr(candidate)] = found.failures[0][1]
            return None

        if self.search == "halving":
            return halving(self.candidates, questions, trial, self.max_tokens)
        return exhaustive(self.candidates, questions, trial)

    def _measured(
        self,
        strategy: Pipeline,
        questions: Sequence[Question],
        seen: Callable[[Any], dict[str, float]] = difficulty.told_by,
    ) -> Measured:
        """What a strategy is worth on some of the questions, none by what was learnt from it."""
        self.stage(repr(strategy))
        found = []
        for learnt, places in self._learning.parts(strategy, questions):
            part = self._part([questions[i] for i in places], seen)
            found.append((part.measure(learnt, _sampled(part, learnt)), places))
        return joined(found, repr(strategy))

    def _answered(
        self, strategy: Pipeline, questions: Sequence[Question]
    ) -> list[Answer | PonderError]:
        return _sampled(self._part(questions), strategy)

    def _part(
        self,
        questions: Sequence[Question],
        seen: Callable[[Any], dict[str, float]] = difficulty.told_by,
    ) -> Evaluation:
        return dataclasses.replace(self.evaluation, questions=questions, signals=seen)

    def _accuracy(
        self, tried: Sequence[Tried], best: Tried, split: Classes, whole: Measured, questions: int
    ) -> dict[str, Any]:
        """What the choice is worth: as measured, and less the luck of having been chosen."""
        within = [tried[i] for i in affordable(tried, self.max_tokens)]
        place = next(i for i, t in enumerate(within) if t is best)
        credit = [t.measured.right for t in within]
        if split.right is not None:  # one more that might have been chosen, and was
            credit, place = [*credit, split.right], len(credit)
        found = winner(np.clip(credit, 0, 1), chosen=place)
        return {
            "naive": found.score,
            "shrunk": found.expected,
            "interval": [found.low, found.high],
            "questions": questions,
            "among": len(credit),
            "tokens": float(whole.tokens.mean()),
            "answered": float(whole.answered.mean()),
            "covered": float(whole.covered.mean()),
        }

    def _tuned_on(self, choosing: int, held: int) -> dict[str, Any]:
        names = dict.fromkeys(self.tasks.names)
        return {
            "tasks": {name: self.tasks.names.count(name) for name in names},
            "chose": choosing,
            "held_out": held,
            "fingerprint": self._fingerprint(),
            "search": self.search,
            "candidates": len(self.candidates),
            "max_tokens": self.max_tokens,
        }

    def _verifiers(
        self, tried: Sequence[Tried], questions: Sequence[Question]
    ) -> list[dict[str, Any]] | None:
        """The rates of each verifier, by the largest candidate that weighs by it; None of none."""
        largest: dict[str, Candidate] = {}
        for candidate in sorted((t.candidate for t in tried), key=lambda c: c.size):
            name = verifier_of(candidate.strategy)
            if name is not None and not has_odds(candidate.strategy):
                largest[name] = candidate
        part = dataclasses.replace(self.evaluation, questions=questions)
        found = []
        for name, candidate in largest.items():
            try:
                found.append(rates(name, part.sample(candidate.strategy), part.grader))
            except PonderError as error:
                found.append({"name": name, "why": str(error)})
        return found or None


def _sampled(part: Evaluation, strategy: Pipeline) -> list[Answer | PonderError]:
    """A strategy's answers; PonderError, with what to do, if sampling them was cut short."""
    first = part.sample(strategy)
    if part.cut is not None:
        raise PonderError(
            f"cut short by {part.cut} in {strategy!r}; what was sampled is in the bank: start the "
            "same again to go on"
        )
    return first


def _parts(questions: Sequence[Question]) -> tuple[Ints, Ints]:
    """The places of the questions that choose, mixed, and of those held out."""
    mixed = sorted(range(len(questions)), key=lambda i: _hash(f"race {questions[i].id}"))
    here = [i for i in mixed if not held_out(questions[i])]
    there = [i for i in mixed if held_out(questions[i])]
    if len(here) < 2 or not there:
        raise PonderError(
            f"of {len(questions)} questions {len(here)} would choose and {len(there)} be held "
            "out; give more, 30 or so at least"
        )
    return np.array(here), np.array(there)


def _seen(look: Look, questions: int) -> dict[str, Any]:
    """A look at the held-out part, for JSON."""
    return {
        "value": look.value,
        "error": look.error,
        "questions": questions,
        "from_held_out": look.tripped,
        "looks_left": look.left,
    }


def _timed(model: LanguageModel | None) -> dict[str, Any]:
    """The idealised cost of a model on this machine, for JSON; or ``why`` there is none."""
    if model is None:
        return {"why": "samples were replayed, no model was there to time"}
    batches = getattr(model, "engine", None) is not None
    try:
        timings = cost.measure(
            model, prompts=PROMPTS, outputs=OUTPUTS, widths=(1, 8) if batches else (1,), repeats=2
        )
        return cost.fit(timings).as_dict()
    except PonderError as error:
        return {"why": str(error)}


def _listed(tried: Sequence[Tried]) -> list[dict[str, Any]]:
    best = sorted(tried, key=lambda t: (-t.accuracy, t.tokens))[:LISTED]
    return [
        {
            "strategy": repr(t.candidate),
            "accuracy": round(t.accuracy, 4),
            "tokens": round(t.tokens, 1),
        }
        for t in best
    ]


def _hash(text: str) -> int:
    return int.from_bytes(sha256(text.encode()).digest()[:6])
