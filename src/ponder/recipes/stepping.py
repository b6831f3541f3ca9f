"""A reply that two models write together, step by step: the loop, and what each has read of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ponder.binding import Binding
from ponder.effects import Effects, sample
from ponder.lm.protocol import Completion, Draw, LanguageModel, Tokens
from ponder.lm.sampling_law import SamplingLaw
from ponder.question import Question
from ponder.recipes.coding import entry_point
from ponder.recipes.prompting import Reply, answer_in, ask_messages
from ponder.recipes.replies import cot_instruction
from ponder.verify.announced import find_announcement
from ponder.verify.structured import program_text

SEPARATOR = "\n\n"


@dataclass(frozen=True)
class Reader:
    """A model, a prompt, and the reply so far in its own tokens: vocabularies may differ."""

    model: LanguageModel
    prompt: Tokens
    tokens: Tokens = ()
    text: str = ""

    @property
    def transcript(self) -> Tokens:
        """What the model reads on from."""
        return self.prompt + self.tokens

    @property
    def draw(self) -> Draw:
        """The reply so far as if this model had drawn it, for what scores unfinished replies."""
        own = self.model.fingerprint
        return Draw(self.tokens, self.text, "stop", (), (), prompt=self.prompt, model=own)

    def step(self, law: SamplingLaw, max_tokens: int, name: str) -> Effects[Draw]:
        """The next step as this model writes it: up to a blank line or the end."""
        stop = (SEPARATOR,)
        segment = Completion(
            self.model, self.transcript, law, max_tokens, stop, segment=True, keep=True
        )
        return (yield from sample(segment, name))

    def having_read(self, step: Draw) -> Reader:
        """This model after a step, whoever wrote it; its own tokens are not read again."""
        if step.model != self.model.fingerprint:
            tokens = self.model.tokenize(step.text)
        else:
            tokens = step.tokens[:-1] if is_last(step) else step.tokens
        return replace(self, tokens=self.tokens + tokens, text=self.text + step.text)


Pick = Callable[[Reader, Reader, int], Effects[Draw]]
"""The next step, given the base model, the draft model and the number of tokens left."""


def in_steps(
    binding: Binding, draft: str, law: SamplingLaw, max_tokens: int, pick: Pick
) -> Effects[Reply]:
    """The reply to the question whose steps ``pick`` takes from the bound model or the draft's.

    It ends with an end token, a step that announces an answer, ``max_tokens`` tokens in the steps
    taken (what is drafted in vain is paid for, but does not count here), or a step that repeats an
    earlier one; in the last two cases it counts as cut off. ``transcript`` is in the tokens of the
    bound model; ``log_prob`` and ``length`` are of the steps under the models that wrote them.
    """
    question = binding.question
    messages = ask_messages(question, cot_instruction(question))
    models = (binding.model, binding.draft(draft))
    base, small = (Reader(model, model.chat(messages)) for model in models)
    left, finish = max_tokens, "length"
    steps: list[Draw] = []
    while left > 0:
        step = yield from pick(base, small, left)
        repeated = any(step.text.strip() == s.text.strip() != "" for s in steps)
        steps.append(step)
        left -= len(step.tokens)
        base, small = base.having_read(step), small.having_read(step)
        if is_last(step) or announces(step.text, question):
            finish = "stop"
            break
        if repeated or step.finish != "stop":
            break
    return _reply(question, steps, finish, base.transcript)


def _reply(question: Question, steps: Sequence[Draw], finish: str, transcript: Tokens) -> Reply:
    """What ``reply_of`` makes of one model's draws: that would ask it for the other's tokens."""
    text = "".join(step.text for step in steps)
    complete = finish == "stop"
    answer = answer_in(text, question) if complete else None
    code = complete and question.kind == "code"
    program = program_text(text, entry_point(question)) if code else None
    log_prob = math.fsum(p for step in steps for p in step.logp)
    length = sum(len(step.tokens) for step in steps)
    return Reply(text, answer, finish, transcript, log_prob, length, program)


def is_last(step: Draw) -> bool:
    """Whether the model ended the reply with this step."""
    return step.finish == "stop" and SEPARATOR not in step.text


def announces(text: str, question: Question) -> bool:
    """Whether a step announces an answer that can be read."""
    return find_announcement(text) is not None and answer_in(text, question) is not None
