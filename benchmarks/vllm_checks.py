"""What ``vllm_cpu.py`` asks of vLLM but speed: answers, log-probabilities, steps."""

from __future__ import annotations

import statistics
import sys
from typing import Any

import httpx
from harness import QUESTION
from scipy.special import logsumexp
from vllm_server import SERVED, Server

import ponder
from ponder.dist import Stream
from ponder.lm.protocol import Completion
from ponder.lm.sampling_law import SamplingLaw
from ponder.question import make_question
from ponder.recipes.prompting import ask_messages
from ponder.recipes.replies import cot_instruction

COT = "cot(max_tokens={}, temperature=0.7, top_p=0.95) | draw({}) | vote"


class Table:
    """Rows as they are measured, and all of them at the end."""

    def __init__(self) -> None:
        self._rows: list[str] = []

    def add(self, what: str, found: str) -> None:
        """A row, printed at once on the error output."""
        print(f"{what}: {found}", file=sys.stderr, flush=True)
        escaped = (text.replace("|", "\\|") for text in (what, found))
        self._rows.append(f"| {' | '.join(escaped)} |")

    def show(self) -> None:
        """The table, as markdown."""
        print("\n".join(["| what | found |", "|---|---|", *self._rows]))


def answers(model: Any, table: Table) -> None:
    """A vote of eight, and what it has cost."""
    strategy = COT.format(96, 8)
    answer = ponder.ask("What is 12 plus 30?", kind="number", strategy=strategy, model=model)
    cost, shares = answer.ledger, answer.posterior
    votes = sum(s.count for s in shares.shares)
    said = f"{answer.text}, {votes} votes of 8, law: {answer.law}"
    table.add(
        f"`{answer.strategy}`",
        f"{said}; {cost.prompt_computed} prompt tokens computed, {cost.prompt_reused} reused, "
        f"{cost.generated} generated, {cost.calls} calls",
    )


def log_probs(model: Any, embedded: Any, table: Table) -> None:
    """Log-probabilities of sampled replies against those of the embedded model, token by token."""
    law, chat = SamplingLaw(temperature=0.7, top_p=0.95), chat_of(0)
    plain, tempered, told = [], [], []
    for number in range(4):
        dist = Completion(model, model.chat(chat), law, 16)
        drawn = model.draw(dist, Stream(bytes([number] * 8)))
        tokens = embedded.tokenize(drawn.text)
        if len(tokens) != 16 or drawn.finish != "length":
            continue  # the same text may be other tokens, of which nothing is told
        rows = _next(embedded, embedded.chat(chat), tokens)
        plain += [float(row[token]) for row, token in zip(rows, tokens, strict=True)]
        bent = rows / law.temperature - logsumexp(rows / law.temperature, axis=1, keepdims=True)
        tempered += [float(row[token]) for row, token in zip(bent, tokens, strict=True)]
        told += drawn.logp
    off = [abs(a - b) for a, b in zip(told, plain, strict=True)]
    bent_off = [abs(a - b) for a, b in zip(told, tempered, strict=True)]
    table.add(
        f"log-probabilities of {len(told)} tokens drawn at temperature 0.7, against the embedded "
        "model's at 1 (at 0.7)",
        f"mean {statistics.mean(told):.3f} against {statistics.mean(plain):.3f}; off by "
        f"{statistics.mean(off):.3f} a token (by {statistics.mean(bent_off):.3f})",
    )


def _next(embedded: Any, prompt: tuple[int, ...], tokens: tuple[int, ...]) -> Any:
    """The embedded model's log-probabilities before each token, shape (tokens, vocabulary)."""
    embedded.next_log_probs(prompt)  # what all states share is computed once
    states = [embedded.states.open(prompt + tokens[:place]) for place in range(len(tokens))]
    rows = embedded.states.log_probs(states)
    for state in states:
        embedded.states.release(state)
    return rows


def chat_of(number: int) -> list[dict[str, str]]:
    """The chat that ponder's cot asks; its first word differs, so that no cache holds it."""
    question = make_question(f"({number}) {QUESTION}", kind="number")
    return ask_messages(question, cot_instruction(question))


def steps(server: Server, model: Any, embedded: Any, table: Table) -> None:
    """A greedy reply in steps is the greedy reply; and the prompts are the embedded model's."""
    chat, stream, greedy = chat_of(1), Stream(b"steps"), SamplingLaw(temperature=0)
    whole = model.draw(Completion(model, model.chat(chat), greedy, 64), stream)
    tokens, start = model.chat(chat), len(model.chat(chat))
    parts: list[Any] = []
    while len(tokens) - start < 64 and (not parts or parts[-1].tokens[-1] not in model.end_tokens):
        left = 64 - (len(tokens) - start)
        parts.append(
            model.draw(Completion(model, tokens, greedy, left, (". ",), segment=True), stream)
        )
        tokens += parts[-1].tokens
    same = "the same text" if model.detokenize(tokens[start:]) == whole.text else "ANOTHER TEXT"
    table.add(f"greedy reply of 64 tokens in {len(parts)} steps, against in one", same)
    equal = []
    for begun in ("", "First, 48 / 2 = 24.", "First, 48 / 2 = 24.\n\n", "So "):
        more = [{"role": "assistant", "content": begun}] if begun else []
        body: dict[str, Any] = {"model": SERVED, "messages": [*chat, *more]}
        body |= {"add_generation_prompt": not begun, "continue_final_message": bool(begun)}
        theirs = httpx.post(f"{server.root}/tokenize", json=body, timeout=60).json()["tokens"]
        equal.append(tuple(theirs) == embedded.chat(chat) + embedded.tokenize(begun))
    table.add("prompts with a begun reply that are the embedded model's tokens", f"{sum(equal)}/4")
    strategy = 'steps(max_tokens=96, separator=". ") | draw(4) | vote'
    answer = ponder.ask(QUESTION, kind="number", strategy=strategy, model=model)
    found = f"{answer.text}; {answer.ledger.calls} calls, {answer.ledger.generated} tokens"
    table.add(f"`{answer.strategy}`", found)
