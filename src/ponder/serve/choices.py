"""From an answer to one choice of a reply; in the loop's thread, where models may be asked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ponder.answering import Answer
from ponder.errors import PonderError
from ponder.ledger import Ledger
from ponder.lm.endpoint import is_endpoint
from ponder.lm.protocol import Draw
from ponder.measure import answer_of
from ponder.recipes.constrained import constrained
from ponder.serve.asking import Request
from ponder.serve.naming import BARE
from ponder.serve.work import Ended
from ponder.trace import Choice, Trace


@dataclass(frozen=True)
class Said:
    """One choice: its text, or why there is none (``refusal``), and what is said beside it.

    ``spelled`` has (bytes, log-probability) of each token, if that was asked for; ``price`` counts
    what it costs by itself, what was cancelled included.
    """

    index: int
    text: str
    finish: str
    refusal: str | None
    spelled: tuple[tuple[bytes, float], ...] | None
    ponder: dict[str, Any]
    price: Ledger


def said(request: Request, ended: Ended, written: str = "") -> Said:
    """What an answer says. ``written`` is what has been heard of its text already.

    Raises PonderError for log-probabilities that the model does not tell.
    """
    answer = ended.answer
    assert isinstance(answer, Answer)
    trace = winner(answer)
    text, finish = _text(answer, trace, written)
    refusal = None
    if answer.abstained is not None:
        text, finish, refusal = "", "stop", f"abstains: {answer.abstained}"
    elif answer.text is None and answer.posterior.shares:
        text, finish, refusal = "", "stop", f"no answer: {answer.why_none}"
    elif answer.text is None and _held_to_schema(request) and finish != "length":
        text, finish = "", "stop"
        refusal = "no reply that the schema allows; leave top_p out, or raise the temperature"
    places = [place for stop in request.stops if (place := text.find(stop)) >= 0]
    if places:
        text, finish = text[: min(places)], "stop"
    spelled = None
    if request.logprobs and trace is not None and refusal is None:
        spelled = _spelled(trace, text)
    return Said(
        ended.index, text, finish, refusal, spelled, _beside(request, ended, answer), _price(answer)
    )


def winner(answer: Answer) -> Trace[Any] | None:
    """The heaviest trace of the answer; of all, those that have finished first, if none gave it."""
    population = answer.posterior.population
    best: tuple[tuple[bool, bool, float], Trace[Any]] | None = None
    for trace, weight in zip(population.traces, population.weights, strict=True):
        wins = answer.posterior.answer is not None and answer_of(trace) == answer.posterior.answer
        rank = (wins, trace.status == "finished", float(weight))
        if best is None or rank > best[0]:
            best = rank, trace
    return None if best is None else best[1]


def _text(answer: Answer, trace: Trace[Any] | None, written: str) -> tuple[str, str]:
    """What a trace says, and why it ends; one that was cut short says what it has."""
    if trace is None:
        return written, "length"
    text = getattr(trace.value, "text", None)
    if not isinstance(text, str):
        drawn = "".join(draw.text for _, draw in _draws(trace))
        text = drawn if len(drawn) >= len(written) else written
    finish = getattr(trace.value, "finish", "length" if trace.status == "unfinished" else "stop")
    return text, "length" if finish == "length" else "stop"


def _held_to_schema(request: Request) -> bool:
    form = getattr(request.body, "response_format", None)
    source = request.work.pipeline.source
    return form is not None and form.type != "text" and source.name == constrained.name


def _draws(trace: Trace[Any]) -> list[tuple[Choice, Draw]]:
    return [(choice, choice.value) for choice in trace.choices if isinstance(choice.value, Draw)]


def _spelled(trace: Trace[Any], text: str) -> tuple[tuple[bytes, float], ...]:
    """The tokens of the text: of the last draws of the trace that together wrote it."""
    draws = _draws(trace)
    if trace.status == "unfinished":  # what it was writing has not been handed over
        return ()
    whole = getattr(trace.value, "text", text)
    first = len(draws)
    for first in reversed(range(len(draws))):
        if "".join(draw.text for _, draw in draws[first:]) == whole:
            break
    else:
        raise PonderError("this strategy's replies are not made of tokens; leave logprobs out")
    found: list[tuple[bytes, float]] = []
    left = len(text.encode())
    for choice, draw in draws[first:]:
        for token, logp in zip(draw.tokens, draw.logp, strict=True):
            if math.isnan(logp):
                raise PonderError(
                    "the model's endpoint tells no log-probabilities; leave logprobs out"
                )
            piece = _piece(getattr(choice.dist, "model", None), token)
            if left <= 0 or not piece:
                continue
            left -= len(piece)
            found.append((piece, logp))
    return tuple(found)


def _piece(model: Any, token: int) -> bytes:
    """The bytes of a token; none for what ends a reply."""
    if model is None or token in model.end_tokens:
        return b""
    vocabulary = getattr(getattr(model, "engine", None), "vocabulary", None)
    if vocabulary is not None:
        return bytes(vocabulary.piece(token))
    return str(model.detokenize((token,))).encode()


def _beside(request: Request, ended: Ended, answer: Answer) -> dict[str, Any]:
    """The ``ponder`` object. One reply of the model says nothing of what it is worth."""
    found = {"seed": request.work.seed, **answer.as_dict()}
    if request.method == BARE and answer.text is not None:
        (row,) = answer.traces()
        found |= {"answer": row["text"], "probability": None, "probability_of": "one reply"}
    found["cost"] = {"now": found.pop("ledger"), "alone": answer.price.as_dict()}
    if ended.genealogy is not None:
        found["genealogy"] = ended.genealogy
    if request.wanted.traces:
        found["traces"] = answer.traces()
    return _plain(found)  # type: ignore[no-any-return]


def _price(answer: Answer) -> Ledger:
    """What is counted: what the answer costs by itself, and what was cancelled on the way.

    Where nothing came from the bank, what was spent says more of traces that were cut short, and
    of a model whose server counts for itself.
    """
    total, spent = Ledger(), answer.ledger
    says_more = answer.cut_short is not None or is_endpoint(answer.model)
    if says_more and not spent.banked:
        total.add(spent)
    else:
        total.add(answer.price)
        total.generated += spent.wasted
    return total


def _plain(value: Any) -> Any:
    """For JSON, which has no infinities."""
    if isinstance(value, dict):
        return {str(name): _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def usage(parts: Sequence[Said]) -> dict[str, Any]:
    """OpenAI's counts, of all choices together."""
    total = Ledger()
    for part in parts:
        total.add(part.price)
    prompt = total.prompt_computed + total.prompt_reused + total.judge
    return {
        "prompt_tokens": prompt,
        "completion_tokens": total.generated,
        "total_tokens": prompt + total.generated,
        "prompt_tokens_details": {"cached_tokens": total.prompt_reused},
    }
