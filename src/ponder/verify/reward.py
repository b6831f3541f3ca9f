"""Rewards from outside: a function or a service that scores a reply, or each of its steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from ponder.binding import AnyPotential, Binding, Potential, PotentialSource
from ponder.blocks.weigh import notation_name
from ponder.effects import Effects, Program, as_log_weight, sample
from ponder.errors import PonderError
from ponder.outside import Outside, Service
from ponder.verify.scoring import (
    LEAST,
    as_twist,
    candidate,
    check_combination,
    log_combined,
    rewards_in,
    steps_of,
    text_so_far,
)


def reward_from(
    verifier: Callable[[str, list[str]], Any] | Service,
    combine: str = "last",
    *,
    name: str | None = None,
    version: str = "",
) -> PotentialSource:
    """The log of a reward, as a potential: of the finished reply, and of the text so far.

    ``verifier(question, steps)`` returns one reward for each step, what stands between blank
    lines, or a single number for the whole; all of them from 0 to 1. ``combine`` says what the
    whole is worth if it is a list: "last", "min" or "product", see :func:`log_combined`. A
    verifier that raises, or returns anything else, ends its question with an error that names
    the candidate.

    It is called in a thread beside the models. Under a ``version``, to be changed whenever its
    answers might, what it has said is kept in the bank; without one it is asked again in every
    run. A service with answers of this form (see :class:`~ponder.verify.endpoint.Endpoint`) may
    stand in place of the function.
    """
    check_combination(combine)
    service: Any = verifier
    if not hasattr(verifier, "answer"):
        if not callable(verifier):
            raise PonderError(
                f"reward_from needs a function of (question, steps), not {verifier!r}"
            )
        service = Called(verifier, name or str(getattr(verifier, "__name__", "reward")), version)
    known: str = name or service.name
    return PotentialSource(known, partial(_build, service, combine, known))


class Called:
    """A function as a service. Not kept in the bank without a version."""

    def __init__(self, function: Callable[[str, list[str]], Any], name: str, version: str) -> None:
        self.name = name
        self.fingerprint = f"function {name}, version {version}" if version else ""
        self._function = function

    def answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The rewards for ``request["steps"]``. Raises PonderError if there are none to be had."""
        steps, about = request["steps"], request["candidate"]
        try:
            said = self._function(request["question"], list(steps))
        except Exception as error:
            why = f"{type(error).__name__}: {' '.join(str(error).split())}"
            raise PonderError(f"{self.name} raised {why}, asked about {about}") from error
        return rewards_in(said, len(steps), self.name, about)


def _build(service: Service, combine: str, name: str, binding: Binding) -> Potential:
    question = _text_of(binding)

    def asks(text: str, value: Any) -> Program[float]:
        request = Outside.ask(
            service,
            question=question,
            text=text,
            steps=steps_of(text),
            candidate=candidate(value),
        )

        def run() -> Effects[float]:
            answer = yield from sample(request, "reward")
            rewards = answer["rewards"] if "rewards" in answer else [answer["reward"]]
            return log_combined(rewards, combine)

        return Program(run, name)

    def complete(value: Any) -> Program[float]:
        text = getattr(value, "text", value)
        if not isinstance(text, str):
            raise PonderError(
                f"{name} scores texts, not {candidate(value)}; use it after a source such as cot"
            )
        return asks(text, value)

    def prefix(values: tuple[Any, ...]) -> float | Program[float]:
        text = text_so_far(values)
        if text is None:
            return 0.0
        return mapped(as_twist, asks(text, text))

    return Potential(name, complete, prefix)


def _text_of(binding: Binding) -> str:
    from ponder.recipes.prompting import question_text  # recipes are made of what is here

    return "" if binding.question is None else question_text(binding.question)


def mapped(function: Callable[[float], float], score: float | Program[float]) -> Program[float]:
    """A program that answers ``function`` of a score."""

    def run() -> Effects[float]:
        return function((yield from as_log_weight(score)))

    return Program(run, "score")


def published(reward: AnyPotential) -> PotentialSource:
    """``published(f)``: the log-odds of a reward, of which f is the log.

    The potential in the code of Puri et al. (2025), where each step multiplies the target by
    r / (1 - r): ``weigh_steps(published(f))``. r is kept within 1e-7 of 0 and 1, as there.
    """
    name = f"published({notation_name(reward)})"

    def build(binding: Binding) -> Potential:
        potential = binding.potential(reward)
        odds = partial(log_odds, notation_name(reward))
        prefix = potential.prefix

        def complete(value: Any) -> Program[float]:
            return mapped(odds, potential.complete(value))

        def so_far(values: tuple[Any, ...]) -> Program[float]:
            assert prefix is not None
            return mapped(odds, prefix(values))

        return Potential(name, complete, None if prefix is None else so_far)

    return PotentialSource(name, build, reads_trace=getattr(reward, "reads_trace", False))


def log_odds(name: str, log_reward: float) -> float:
    """log r - log(1 - r) of a reward from 0 to 1, given log r; kept finite."""
    if log_reward > 1e-12:
        raise PonderError(
            f"published needs the log of a reward from 0 to 1, but {name} gave {log_reward:g}"
        )
    reward = min(max(math.exp(log_reward), LEAST), 1 - LEAST)
    return math.log(reward) - math.log1p(-reward)
