"""A model that repeats samples instead of drawing them: in their order, or in a random one.

Samples of one prompt under one law are exchangeable, so any order of them is as good as a draw. A
method can be run on as many orders as one likes, at no cost, and methods that share samples are
compared on the same ones.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ponder.binding import Binding
from ponder.dist import Stream
from ponder.errors import PonderError
from ponder.evidence.recordings import Recording
from ponder.interpret import evaluate
from ponder.lm.protocol import (
    Completion,
    Draw,
    LanguageModel,
    Message,
    ModelDist,
    NextToken,
    OptionLogProbs,
    Tokens,
    drawn,
)
from ponder.notation import parse
from ponder.question import Question

END = -1  # the end token of recorded replies, whose tokens are not known


class Exhausted(PonderError):
    """More samples are asked for than there are."""


@dataclass
class Samples:
    """The samples that may be repeated, by what they were drawn from.

    ``prompts`` are the stand-ins for the prompts of recorded replies: as long as these were, and
    different where these are. ``names`` say what they are, for messages.
    """

    drawn: dict[Hashable, dict[bytes, Any]] = field(default_factory=dict)
    recorded: dict[Tokens, list[Recording]] = field(default_factory=dict)
    prompts: dict[str, Tokens] = field(default_factory=dict)

    def see(self, key: bytes, dist: ModelDist, value: Any) -> None:
        """One more sample; ``key`` tells it from others of the same distribution."""
        self.drawn.setdefault(_place(dist), {})[key] = value

    def bind(self, recordings: Sequence[Recording], questions: Sequence[Question]) -> None:
        """Let each recorded reply stand for a draw of what its recipe asks for its question.

        Raises PonderError if a recipe asks for something else first, or two ask for the same.
        """
        asked = {question.id: question for question in questions}
        for recording in recordings:
            question = asked.get(recording.question)
            if question is None:
                continue
            name = _first_request(recording.recipe, question)
            prompt = self.prompts.get(name)
            if prompt is None:
                prompt = (-2 - len(self.prompts),) * recording.prompt_tokens
                self.prompts[name] = prompt
                self.recorded[prompt] = []
            replies = self.recorded[prompt]
            if replies and replies[0].recipe != recording.recipe:
                raise PonderError(
                    f"{recording.recipe} and {replies[0].recipe} ask {question.id} the same; "
                    "import the recordings of one of them"
                )
            replies.append(recording)


class Rerun:
    """Repeats samples, each at most once. ``base`` spells prompts that were not recorded.

    With ``shuffled`` they come in an order that the randomness of the draws decides, otherwise in
    their own. Raises Exhausted where there is none left. A point mass is repeated as often as it
    is asked for.
    """

    def __init__(
        self, samples: Samples, base: LanguageModel | None, name: str, *, shuffled: bool
    ) -> None:
        self.name = name
        self.fingerprint = base.fingerprint if base is not None else f"recorded {name}"
        self.context = 1_000_000
        self.end_tokens = frozenset({END}) | (base.end_tokens if base is not None else frozenset())
        self._samples = samples
        self._base = base
        self._shuffled = shuffled
        self._left: dict[Hashable, list[Any]] = {}

    def chat(self, messages: Sequence[Message]) -> Tokens:
        known = self._samples.prompts.get(_name(messages))
        return known if known is not None else self._spelt("a prompt").chat(messages)

    def follow_up(self, messages: Sequence[Message]) -> Tokens:
        return self._spelt("what follows a reply").follow_up(messages)

    def tokenize(self, text: str, *, special: bool = False) -> Tokens:
        return self._spelt(f"{text!r:.40}").tokenize(text, special=special)

    def detokenize(self, tokens: Sequence[int]) -> str:
        raise PonderError(f"replay: the model {self.name} itself is needed; run without --replay")

    def next_log_probs(self, prompt: Tokens) -> Any:
        return self.detokenize(prompt)

    def completions(self, dist: Completion) -> None:
        return None

    def draw(self, dist: ModelDist, stream: Stream) -> Any:
        recorded = self._samples.recorded.get(dist.prompt)
        if recorded is not None:
            return _reply(dist, self._next(dist.prompt, recorded, stream), self)
        place = _place(dist)
        known = list(self._samples.drawn.get(place, {}).values())
        if isinstance(dist, OptionLogProbs) and known:
            return known[0]
        value = self._next(place, known, stream)
        if not isinstance(value, Draw) or not isinstance(dist, Completion):
            return value
        return drawn(
            dist,
            value.tokens,
            value.text,
            value.finish,
            value.logp,
            value.logq,
            None if dist.grammar is None else value.log_evidence,
        )

    def _next(self, place: Hashable, known: Sequence[Any], stream: Stream) -> Any:
        left = self._left.setdefault(place, list(known))
        if not left:
            raise Exhausted(
                f"replay: all {len(known)} samples of this prompt have been drawn; ask for fewer, "
                "or run without --replay"
            )
        return left.pop(int(stream.uniform() * len(left)) if self._shuffled else 0)

    def _spelt(self, what: str) -> LanguageModel:
        if self._base is None:
            raise PonderError(
                f"replay: {what} was not recorded for this question and method; run without "
                "--replay"
            )
        return self._base


def _reply(dist: ModelDist, recording: Recording, model: Rerun) -> Draw:
    """A recorded reply as a draw; of its tokens only their number is known."""
    if not isinstance(dist, Completion) or dist.segment or dist.grammar is not None:
        raise PonderError(
            f"replay: replies of {recording.recipe} are recorded whole; this method asks for "
            "parts of them, so run it without --replay"
        )
    n = len(recording.token_logp)
    ended = recording.finish == "stop"
    tokens = [recording.index] * (n - 1) + [END if ended else recording.index]
    # Only the sum is known; every token takes an equal part of it.
    logq = [recording.logq / n] * n
    return drawn(
        dist, tokens, recording.text, "stop" if ended else "length", recording.token_logp, logq
    )


def _place(dist: ModelDist) -> Hashable:
    """What a distribution is, apart from the model; equal where its samples are exchangeable."""
    if isinstance(dist, OptionLogProbs):
        return ("options", dist.prompt, dist.groups)
    if isinstance(dist, NextToken):
        return ("token", dist.prompt, dist.law)
    grammar = None if dist.grammar is None else dist.grammar.key
    return (dist.prompt, dist.law, dist.max_tokens, dist.stop, dist.segment, grammar)


def _name(messages: Sequence[Message]) -> str:
    return json.dumps([[m["role"], m["content"]] for m in messages], ensure_ascii=False)


class _Asked(Exception):
    """A recipe has said what it asks."""


class _Listener:
    """A model that listens to the first request and answers nothing."""

    name = "listener"
    fingerprint = "listener"
    context = 1_000_000
    end_tokens: frozenset[int] = frozenset()

    def __getattr__(self, name: str) -> Any:
        raise _Asked(None)

    def chat(self, messages: Sequence[Message]) -> Tokens:
        raise _Asked(_name(messages))


def _first_request(recipe: str, question: Question) -> str:
    """The chat with which a recipe begins on a question, as text."""
    try:
        program = parse(recipe).bind(
            Binding(question=question, model=_Listener(), services=_Nobody())
        )
        evaluate(program)
    except _Asked as asked:
        if asked.args[0] is not None:
            return str(asked.args[0])
    raise PonderError(
        f"the recipe {recipe!r} does not begin with a reply of a model; name with --recipe the one "
        "whose replies these are, such as cot"
    )


class _Nobody(Mapping[str, Any]):
    """Services none of which is asked before the first reply."""

    def __getitem__(self, name: str) -> Any:
        return None

    def __contains__(self, name: object) -> bool:
        return True

    def __iter__(self) -> Any:
        return iter(())

    def __len__(self) -> int:
        return 0
