"""Streams as ponder serve sends them, made up: its wire format without a model."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

HOSTILE = (
    "<script>document.title='owned'</script>"
    "<img src=x onerror=\"document.title='owned'\"> &amp; \u202e${x}"
)
HOLD = object()
"""In a stream: wait until the test lets it go on."""
MODELS = ("toy", "toy@sc8", "toy@filter", "toy@certain", "toy@cut", "toy@busy", "toy@hostile",
          "toy@broken", "toy@nothing", "toy@many", "toy@midway")  # fmt: skip

_STEPS = (
    "In April, Natalia sold clips to 48 of her friends.",
    "In May she sold half as many as in April, which is 48 / 2 = 24 clips.",
    "To find how many she sold altogether, add the two months together.",
)
_ENDS = {
    "72": "48 + 24 = 72. So Natalia sold 72 clips in April and May.\nAnswer: 72",
    "96": "Half as many again means 48 + 48 = 96.\nAnswer: 96",
    "24": "So she sold 24 clips.\nAnswer: 24",
}
_SAID: tuple[str | None, ...] = ("72", "72", "96", "72", "24", "72", "72", None)


def _text(answer: str | None) -> str:
    return "\n".join([*_STEPS, _ENDS[answer] if answer else "That makes, in all, the sum of"])


def shares(said: list[tuple[str | None, float]]) -> list[dict[str, Any]]:
    """The posterior of answers with weights."""
    voting = [(answer, weight) for answer, weight in said if answer is not None and weight > 0]
    total = sum(weight for _, weight in voting) or 1.0
    rows = []
    for answer in dict.fromkeys(answer for answer, _ in voting):
        weights = [weight / total for other, weight in voting if other == answer]
        share = sum(weights)
        error = math.sqrt(share * (1 - share) / len(voting))
        rows.append({"answer": answer, "share": share, "error": error, "count": len(weights)})
    return sorted(rows, key=lambda row: -row["share"])


def progresses(ticks: int = 12) -> list[dict[str, Any]]:
    """Traces that fill at different speeds, and what they have come to."""
    found = []
    texts = [_text(answer) for answer in _SAID]
    for tick in range(ticks):
        traces: list[dict[str, Any]] = []
        for i, (answer, text) in enumerate(zip(_SAID, texts, strict=True)):
            part = min(1.0, (tick + 1) * (1.35 - 0.09 * i) / (ticks - 3))
            done = part == 1.0
            status = "running" if not done else "finished" if answer else "dead"
            traces.append(
                {
                    "text": text[: int(part * len(text))],
                    "answer": answer if done else None,
                    "status": status,
                    "tokens": int(part * len(text) / 3.6),
                }
            )
        tokens = 95 + sum(trace["tokens"] for trace in traces)
        found.append(
            {
                "tokens": tokens,
                "expected_tokens": 700,
                "seconds": 0.3 * (tick + 1),
                "posterior": shares([(trace["answer"], 1.0) for trace in traces]),
                "traces": traces,
            }
        )
    return found


def _ledger(**changes: Any) -> dict[str, Any]:
    return {
        "prompt_computed": 95, "prompt_reused": 609, "generated": 1954, "judge": 0, "wasted": 31,
        "banked": 0, "calls": 8, "checks": 0, "check_seconds": 0.0, "seconds": 29.6,
        "tokens_per_second": 32.3,
    } | changes  # fmt: skip


def _traces(weights: list[float]) -> list[dict[str, Any]]:
    return [
        {
            "text": _text(answer),
            "answer": answer,
            "status": "finished" if answer else "unfinished",
            "finish": "stop" if answer else "length",
            "weight": weight,
        }
        for answer, weight in zip(_SAID, weights, strict=True)
    ]


def _genealogy(stages: int) -> dict[str, Any]:
    """A particle filter of eight that forgets some of its ancestors at each stage."""
    rows: list[dict[str, Any]] = []
    heirs = (0, 0, 1, 3, 3, 4, 6, 7)
    last: list[int | None] = [None] * 8
    for stage in range(stages):
        here = []
        for i in range(8):
            parent = None if stage == 0 else last[heirs[(i + stage) % 8] if stage > 1 else heirs[i]]
            end = stage == stages - 1
            weight = (1 + ((i * 5 + stage * 3) % 7)) / 32 if stages > 1 else 0.125
            here.append(len(rows))
            rows.append(
                {
                    "index": len(rows),
                    "parent": parent,
                    "stage": stage,
                    "weight": weight if i != 5 or not end else 0.0,
                    "answer": _SAID[i] if end else None,
                    "text": _text(_SAID[i]) if end else "\n".join(_STEPS[: stage + 1]),
                    "tokens": 40 * (stage + 1) + i,
                    "alive": i != 5 or not end,
                }
            )
        last = list(here)
    return {"question": "q", "text": "?", "strategy": "s", "right_answer": None, "traces": rows}


def result(**changes: Any) -> dict[str, Any]:
    """What stands beside the last chunk."""
    weights = [0.125] * 8
    return {
        "answer": "72",
        "probability": 0.714286,
        "probability_of": "model posterior",
        "abstained": None,
        "posterior": shares(list(zip(_SAID, weights, strict=True))),
        "ess": 7.0,
        "law": "consistent for cot (unbiased shares while every trace votes)",
        "strategy": "cot | draw(8) | vote",
        "model": "toy",
        "seed": 1726354,
        "cut_short": None,
        "unparsed": 1,
        "unfinished": 0,
        "cost": {"now": _ledger(), "alone": _ledger(seconds=0.0, tokens_per_second=0.0, wasted=0)},
        "genealogy": _genealogy(1),
        "traces": _traces(weights),
    } | changes


def _chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> dict[str, Any]:
    choices = [{"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}]
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "choices": choices, **more}


def stream(name: str) -> Iterator[Any]:
    """Chunks, comments (text) and holds of a reply."""
    yield _chunk({"role": "assistant", "content": ""})
    if name == "toy":
        words = "Natalia sold 48 clips in April and half as many, 24, in May: 72 – in all, naïvely."
        for i, word in enumerate(words.split(" ")):
            if i == 10:
                yield HOLD
            yield _chunk({"content": word if i == 0 else f" {word}"})
        bare = {"answer": words, "probability": 1.0, "posterior": [], "unparsed": 0}
        bare |= {"strategy": "chat | draw(1) | vote", "law": "consistent for chat"}
        bare |= {"genealogy": None, "traces": None}
        yield _chunk({}, "stop", ponder=result(**bare))
        return
    yield "5 traces, 123 tokens"
    said = progresses(ticks=12)
    for i, progress in enumerate(said):
        if i == 8:
            yield HOLD
        if name == "toy@hostile":
            progress["traces"][0] |= {"text": HOSTILE, "answer": HOSTILE, "status": "finished"}
            progress["posterior"] = [{"answer": HOSTILE, "share": 1.0, "error": None, "count": 1}]
        yield _chunk({}, ponder={"progress": progress})
        if name == "toy@broken" and i == 9:
            return
        if name == "toy@midway" and i == 9:
            yield {"error": {"message": "the model stopped (id 7f3a)", "type": "server_error"}}
            return
    yield _chunk({"content": _text("72")})
    yield _chunk({}, "stop", ponder=_ending(name))


def _ending(name: str) -> dict[str, Any]:
    match name:
        case "toy@filter":
            found = result(genealogy=_genealogy(5), strategy="steps | weigh(judge) | smc(8) | vote")
            weights = [row["weight"] for row in found["genealogy"]["traces"][-8:]]
            total = sum(weights)
            weights = [round(weight / total, 6) for weight in weights]
            found |= {"traces": _traces(weights), "law": "consistent for steps * exp(judge)"}
            return found | {"posterior": shares(list(zip(_SAID, weights, strict=True))), "ess": 5.4}
        case "toy@certain":
            return result(
                answer=None,
                abstained="the most common answer is not settled at 0.05",
                strategy="cot | draw(8) | certify(0.05)",
                law="bounded for cot (the answer is the mode with 95%, at any time)",
            )  # fmt: skip
        case "toy@cut":
            return result(cut_short="max_tokens", unfinished=1, law="heuristic for cot (cut short)",
                          probability_of="share of the votes, no law")  # fmt: skip
        case "toy@nothing":
            return result(answer=None, probability=None, posterior=[], ess=0.0, unparsed=8)
        case "toy@hostile":
            traces = _traces([0.125] * 8)
            traces[0] |= {"text": HOSTILE, "answer": HOSTILE}
            family = _genealogy(3)
            for row in family["traces"]:
                row["text"] = HOSTILE
                row["answer"] = HOSTILE if row["stage"] == 2 else None
            posterior = [{"answer": HOSTILE, "share": 1.0, "error": 0.0, "count": 8}]
            names = dict.fromkeys(("answer", "law", "strategy", "model", "probability_of"), HOSTILE)
            return result(posterior=posterior, traces=traces, genealogy=family, **names)
        case "toy@many":
            posterior = [
                {"answer": f"{'a rather long answer ' * 8}{i}" if i == 1 else str(1000 + i),
                 "share": 0.2 / (i + 1), "error": 0.03, "count": 20 - i} for i in range(14)
            ]  # fmt: skip
            return result(posterior=posterior, answer="1000", traces=_traces([0.125] * 8) * 9)
    return result()
