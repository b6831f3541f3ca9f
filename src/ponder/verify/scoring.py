"""What scores have in common: what is scored, how errors name it, and rewards of its steps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ponder.dist import NEG_INF
from ponder.errors import PonderError
from ponder.lm.protocol import Draw, LanguageModel, Tokens

SEPARATOR = "\n\n"
COMBINATIONS = ("last", "min", "product")
LEAST = 1e-7
"""The least that a score of what is not finished yet counts as, see :func:`as_twist`."""
_SHOWN = 60  # characters


def candidate(value: Any) -> str:
    """A candidate as errors name it: the first 60 characters of its text, and its answer."""
    text = getattr(value, "text", value)
    text = " ".join((text if isinstance(text, str) else repr(value)).split())
    shown = repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...")
    answer = getattr(value, "answer", None)
    return f"the candidate {shown}" if answer is None else f"the candidate {shown} ({answer})"


def transcript_of(value: Any, who: str) -> Tokens:
    """What a model reads on from after a reply. Raises PonderError if ``value`` is none."""
    transcript = getattr(value, "transcript", None)
    if transcript is None:
        raise PonderError(
            f"{who} scores replies of a model, not {candidate(value)}; use it after a source such "
            "as cot"
        )
    found: Tokens = transcript
    return found


def last_draw(values: Sequence[Any], model: LanguageModel) -> Draw | None:
    """What ``model`` wrote last among these samples."""
    own = (v for v in reversed(values) if isinstance(v, Draw) and v.model == model.fingerprint)
    return next(own, None)


def transcript_so_far(draw: Draw, model: LanguageModel) -> Tokens:
    """What ``model`` can read on from after a draw: all tokens, but for the end token."""
    ended = bool(draw.tokens) and draw.tokens[-1] in model.end_tokens
    return draw.prompt + (draw.tokens[:-1] if ended else draw.tokens)


def text_so_far(values: Sequence[Any]) -> str | None:
    """The text being written: the last draw with those that it goes on from; None without any."""
    draws: list[Draw] = []
    for value in reversed(values):
        if isinstance(value, Draw):
            if draws and value.prompt + value.tokens != draws[-1].prompt:
                break
            draws.append(value)
    return "".join(draw.text for draw in reversed(draws)) if draws else None


def as_twist(log_score: float) -> float:
    """A score of what is not finished yet, as a twist: at least log 1e-7.

    Zero would assert that every continuation is worth nothing, which a score only guesses: the
    target would change. As small as it is, it steers just as well.
    """
    return max(log_score, math.log(LEAST))


def steps_of(text: str) -> list[str]:
    """The steps of a text, between blank lines; a text without any is one step."""
    steps = [step.strip() for step in text.split(SEPARATOR)]
    return [step for step in steps if step] or [text.strip()]


def check_combination(combine: str) -> str:
    """One of the ways to combine the rewards of steps, or PonderError."""
    if combine not in COMBINATIONS:
        raise PonderError(
            f'rewards of steps are combined by "last", "min" or "product", not {combine!r}'
        )
    return combine


def log_combined(rewards: Sequence[float], combine: str) -> float:
    """The log of the reward of a whole, given those of its steps, one at least.

    "last" is right where r_t = P(the end is correct | steps up to t), a value: then the last
    says all that the earlier ones do. "product" is right where r_t = P(step t is correct | those
    before are): by the chain rule it is P(all are). "min" is neither of these nor a bound on them;
    it goes by the weakest step, and does not fall with the number of steps as the product does.
    """
    logs = [math.log(r) if r > 0 else NEG_INF for r in rewards]
    if combine == "last":
        return logs[-1]
    return min(logs) if combine == "min" else math.fsum(logs)


def rewards_in(said: Any, steps: int, who: str, about: str) -> dict[str, Any]:
    """What a verifier said of so many steps, checked.

    ``{"rewards": [one for each step]}``, or ``{"reward": r}`` for a single number, which is of
    the whole. Raises PonderError, naming ``who`` said it and ``about`` what, unless these are
    numbers from 0 to 1, and of the right count.
    """
    several = _listed(said)
    for number in [said] if several is None else several:
        value = _number(number)
        if value is None or not 0 <= value <= 1:
            raise PonderError(
                f"{who} gave {_shown(number)} for {about}; a reward is a number from 0 to 1"
            )
    if several is None:
        return {"reward": float(said)}
    if len(several) != steps:
        raise PonderError(
            f"{who} gave {len(several)} rewards for the {steps} steps of {about}; give one for "
            "each, or a single number"
        )
    return {"rewards": [float(number) for number in several]}


def _listed(said: Any) -> list[Any] | None:
    """The elements of a list or an array; None of what is none."""
    if isinstance(said, str | bytes | Mapping):
        return None
    try:
        return list(said)
    except TypeError:
        return None


def _number(said: Any) -> float | None:
    if isinstance(said, str | bytes):
        return None
    try:
        return float(said)
    except (TypeError, ValueError, OverflowError):
        return None


def _shown(said: Any) -> str:
    text = " ".join(repr(said).split())
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
