"""Write the samples of a bank as JSON lines, so that methods can be replayed on them anywhere.

    python benchmarks/export.py --data humaneval.jsonl --bank code.sqlite --limit 40 \\
        --strategy "direct(top_p=0.95) | draw(16)" --out humaneval.direct.jsonl.gz

One object a sample: ``id``, ``sample``, ``text``, ``finish``, ``token_logp`` (at temperature 1) and
``logq`` (the sum under the law drawn from), the form that ``recorded.py`` reads.
"""

from __future__ import annotations

import argparse
import gzip
import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from ponder.answering import Answer, Session, as_strategy
from ponder.bank import Bank
from ponder.lm.protocol import Draw
from ponder.question import Question, read_questions


def samples(answer: Answer) -> Iterator[dict[str, Any]]:
    """What the model wrote for a question, trace by trace."""
    for number, trace in enumerate(answer.posterior.population.traces):
        for choice in trace.choices:
            if isinstance(choice.value, Draw):
                draw = choice.value
                yield {
                    "id": answer.question.id,
                    "sample": number,
                    "text": draw.text,
                    "finish": draw.finish,
                    "token_logp": [round(p, 4) for p in draw.logp],
                    "logq": round(sum(draw.logq), 4),
                    "prompt_tokens": len(draw.prompt),
                    "law": repr(draw.law),
                }


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("--data", "--bank", "--out"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--strategy", required=True)
    parser.add_argument("--limit", type=int, default=40)
    parser.add_argument("--model", default="qwen2.5-coder-1.5b")
    given = parser.parse_args()
    questions = [
        question
        for question in islice(read_questions(given.data), given.limit)
        if isinstance(question, Question)
    ]
    session = Session(
        None,
        as_strategy(given.strategy),
        model_name=given.model,
        bank=Bank(given.bank, create=False),
        replay=True,
    )
    found = {question.id: answer for question, answer in session.answers(questions)}
    rows = [row for q in questions for row in _rows(found.get(q.id))]
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    given.out.write_bytes(gzip.compress(text.encode(), mtime=0))
    print(f"{len(rows)} samples of {len({row['id'] for row in rows})} questions: {given.out}")


def _rows(answer: Answer | BaseException | None) -> list[dict[str, Any]]:
    return list(samples(answer)) if isinstance(answer, Answer) else []


if __name__ == "__main__":
    main()
