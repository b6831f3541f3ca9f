"""What layers ask a model: one question about all replies, or one more after a reply."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from ponder.binding import Binding
from ponder.effects import Effects
from ponder.lm.further import further
from ponder.lm.sampling_law import SamplingLaw
from ponder.recipes.prompting import Reply, prompt_of, written

GREEDY = SamplingLaw(temperature=0)
LONGEST = 2_000  # characters of a reply in a prompt, about what 512 tokens take
_CHARACTERS = 3  # that a token has at least, as a rule


def asked(binding: Binding, request: str, max_tokens: int, name: str) -> Effects[str]:
    """What the model says, greedily, to the question and a request after it: one call."""
    quiet = dataclasses.replace(binding, keep_state=False)
    reply = yield from written(quiet, prompt_of(binding, request), GREEDY, max_tokens, name)
    return reply.text


def gone_on(
    binding: Binding,
    reply: Reply,
    request: str,
    max_tokens: int,
    name: str,
    law: SamplingLaw = GREEDY,
    keep: bool = False,
) -> Effects[Reply]:
    """What the model says to a request after a reply of its own, in the same chat: one call.

    ``keep``: it will be read on, so that the model's state is worth keeping.
    """
    prompt = further(binding.model, reply.transcript, request)
    kept = dataclasses.replace(binding, keep_state=keep)
    return (yield from written(kept, prompt, law, max_tokens, name))


def listed(binding: Binding, replies: Iterable[Reply]) -> str:
    """Replies with what was noted of them, numbered [1], [2], ... in this order.

    All together take about half of the model's context at most; what is too long for that, or
    longer than 2,000 characters, loses its middle.
    """
    listing = list(replies)
    parts = len(listing) + sum(bool(reply.notes) for reply in listing)
    longest = min(LONGEST, _CHARACTERS * binding.model.context // (2 * max(parts, 1)))
    entries = []
    for number, reply in enumerate(listing, 1):
        entry = f"[{number}]\n{elided(reply.text, longest) or '(nothing)'}"
        if reply.notes:
            entry += f"\nCritique of [{number}]: {elided(reply.notes, longest)}"
        entries.append(entry)
    return f"Here are {len(listing)} replies to this.\n\n" + "\n\n".join(entries)


def elided(text: str, longest: int) -> str:
    """The text without the middle of what is longer than ``longest`` characters."""
    text = text.strip()
    if len(text) <= longest:
        return text
    half = max(longest // 2, 1)
    return f"{text[:half]}\n...\n{text[-half:]}"
