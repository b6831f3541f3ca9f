"""``twice`` and ``pairs``: two people's answers in one reply, and whether the second gives it away.

After Johnson, Tarlow, Duvenaud and Maddison, "Experts Don't Cheat" (ICML 2024). There a model is
trained on pairs of responses; here a language model is asked to write the answers of two people who
do not know of each other, the second after the first. If it knows how answers are spread, the first
tells it nothing, and its second agrees as often as its first gives that answer. If it does not
know, it copies. No training makes these pairs calibrated, so nothing is claimed: law heuristic.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any, ClassVar

from ponder.binding import Binding
from ponder.blocks.vote import choose, posterior_of, tied, with_answer
from ponder.effects import Effects, Program
from ponder.errors import PonderError
from ponder.guarantee.pairs import CALIBRATED, Counted, counted_pairs
from ponder.guarantee.stopping import within
from ponder.law import Law, heuristic
from ponder.lm.sampling_law import SamplingLaw
from ponder.measure import Abstain, Population, Posterior, answer_of
from ponder.question import Question
from ponder.recipes.prompting import Reply, answer_in, prompt_of, wanted, written
from ponder.recipes.replies import SETTINGS, sampling_law
from ponder.strategy import Decide, Source

HEADS = {False: "Person 1: Answer:", True: "Person 1:"}
"""How the reply begins, thinking or not: not left to the model, as small ones forget the form."""
_SECOND = re.compile(r"\bperson[ \t]*2[ \t*_]*:[ \t*_]*", re.IGNORECASE)
_ANSWER = re.compile(r"^[ \t#*_>-]*answer[ \t*_]*:", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True)
class PairedReply(Reply):
    """A reply with two people's answers: ``answer`` is the first one's, ``second`` the other's.

    Either is None if it cannot be read, both are if the reply was cut off.
    """

    second: Hashable | None = None


def twice_instruction(question: Question, think: bool = False) -> str:
    """Ask for the answers of two people who do not know of each other."""
    asked = wanted(question)
    if think:
        return (
            "Two people answer this, each alone, without knowing what the other says. Write what "
            "each of them replies: first 'Person 1:', a few short steps of their own and "
            f"'Answer: ' with {asked}, then 'Person 2:' in the same way."
        )
    return (
        "Two people answer this, each alone, without knowing what the other says. Write their "
        f"answers on two lines and nothing else: 'Person 1: Answer: ' and {asked}, then "
        f"'Person 2: Answer: ' and {asked}."
    )


def halves(text: str) -> tuple[str, str]:
    """What each of the two says; the second is empty if no such part can be found.

    ``text`` is what the first person says and on. The second part begins at "Person 2:", or else
    where a second line begins with an answer.
    """
    second = _SECOND.search(text)
    if second is not None:
        return text[: second.start()].strip(), text[second.end() :].strip()
    said = list(_ANSWER.finditer(text))
    cut = said[1].start() if len(said) > 1 else len(text)
    return text[:cut].strip(), text[cut:].strip()


def paired(reply: Reply, question: Question, think: bool = False) -> PairedReply:
    """The reply with its head and both answers."""
    fields = {f.name: getattr(reply, f.name) for f in dataclasses.fields(Reply)}
    fields["text"] = HEADS[think] + reply.text
    first, second = (
        _read(part, question, think) if part and reply.finish == "stop" else None
        for part in halves(fields["text"].removeprefix("Person 1:"))
    )
    return PairedReply(**(fields | {"answer": first}), second=second)


def _read(said: str, question: Question, think: bool) -> Hashable | None:
    """The answer in what one person says: of one who does not think, the first line is it."""
    if not think:
        said = said.splitlines()[0]
        said = said if _ANSWER.match(said) else f"Answer: {said}"
    return answer_in(said, question)


def _build(
    binding: Binding, *, think: bool = False, max_tokens: int = 512, **law: Any
) -> Program[PairedReply]:
    """Two people's answers to the question in one reply; the second is written after the first."""
    sampling = _check(think, max_tokens=max_tokens, **law)
    question = binding.question
    if question.kind == "code":
        raise PonderError("twice compares two answers in one reply; for code use direct or cot")
    head = binding.model.tokenize(HEADS[think])
    prompt = prompt_of(binding, twice_instruction(question, think)) + head

    def run() -> Effects[PairedReply]:
        reply = yield from written(binding, prompt, sampling, max_tokens)
        return paired(reply, question, think)

    return Program(run, "twice", normalised=True)


def _check(think: bool = False, **law: Any) -> SamplingLaw:
    if not isinstance(think, bool):
        raise PonderError(f"twice takes think=True for short chains of thought, got {think!r}")
    return sampling_law(**law)


twice = Source("twice", _build, normalised=True, allowed=(*SETTINGS, "think"), check=_check)


@dataclass(frozen=True)
class PairPosterior(Posterior):
    """The posterior of the first answers, and beside it what the pairs say of the leading one.

    ``pair`` is None if no trace gave two answers; ``leader`` is the answer that it is about, also
    where none is given.
    """

    leader: Any = None
    pair: Counted | None = field(default=None, repr=False)


@dataclass(frozen=True, repr=False)
class Pairs(Decide):
    """The answer that most first people give; with ``beta`` only if the second know it as well.

    Over the traces with two answers, by weight: m is the share whose first answer is the leader, c
    how many of those have it again as the second. The law of the posterior states both, the
    epistemic variance m (c - m) with its error, and the bound 1 - m / c on being made up.
    With ``beta`` the answer is None where that bound is larger. The shares are those of the first
    answers, the ordinary posterior of independent samples. Ties are broken at random, by the seed.
    Law: heuristic, since no language model is known to be calibrated on pairs.
    """

    beta: float | None = None
    notation: ClassVar[str] = "pairs"
    sizes: ClassVar[tuple[str, ...]] = ()

    def __call__(self, beta: float | None = None) -> Pairs:
        if beta is not None:
            within("pairs", "beta, a share of made-up answers,", beta, such_as=0.1)
        return Pairs(beta)

    def law(self, incoming: Law) -> Law:
        return heuristic(incoming, "pairs that are not known to be calibrated")

    def decide(self, population: Population[Any], binding: Binding) -> Program[Posterior]:
        def run() -> Effects[Posterior]:
            plain = posterior_of(population, self.law(population.law))
            top = plain.shares[0].share if plain.shares else 0.0
            leader = yield from choose([s.answer for s in plain.shares if tied(s.share, top)])
            pair = pair_of(population, leader)
            law = plain.law.noting(stated(pair)) if leader is not None else plain.law
            voted = dataclasses.replace(with_answer(plain, leader), law=law)
            accepted = self.beta is None or (
                pair is not None and pair.prediction.accepts(self.beta)
            )
            fields = {f.name: getattr(voted, f.name) for f in dataclasses.fields(Posterior)}
            given = leader if accepted else None
            return PairPosterior(**(fields | {"answer": given}), leader=leader, pair=pair)

        return Program(run, repr(self))


pairs = Pairs()


def pair_of(population: Population[Any], answer: Hashable) -> Counted | None:
    """m, c and V of an answer, over the traces of positive weight that gave two; None without any.

    Raises PonderError for replies of one answer, such as those of cot.
    """
    values = [trace.value for trace in population.traces if isinstance(trace.value, Reply)]
    if values and not any(hasattr(value, "second") for value in values):
        raise PonderError("pairs needs replies with two answers; draw them from twice")
    both = []
    for trace, weight in zip(population.traces, population.weights.tolist(), strict=True):
        first, second = answer_of(trace), getattr(trace.value, "second", None)
        if weight > 0 and second is not None and not isinstance(first, Abstain):
            both.append((first, second, weight))
    if not both:
        return None
    firsts, seconds, weights = zip(*both, strict=True)
    return counted_pairs(firsts, seconds, answer, weights)


def stated(pair: Counted | None) -> str:
    """What pairs say of an answer, in a line."""
    if pair is None:
        return "no trace gave two answers"
    many = f"{pair.n} pair{'s' if pair.n > 1 else ''}"
    if math.isnan(pair.c):
        return f"of {many} none gave the answer first"
    spread = "" if math.isnan(pair.variance_error) else f" ± {pair.variance_error:.2f}"
    variance = "unknown" if math.isnan(pair.variance) else f"{pair.variance:.2f}{spread}"
    return (
        f"of {many} {pair.m:.2f} give it first, of those {pair.c:.2f} again; epistemic variance "
        f"{variance}, made up with probability <= {pair.prediction.hallucination:.2f} {CALIBRATED}"
    )
