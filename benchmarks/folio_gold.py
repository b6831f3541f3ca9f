"""How well the prover reads FOLIO: its gold formulas decided, against its gold labels.

A row that cannot be read, or that is decided otherwise than labelled, is listed with the reason.
LINC (Olausson et al. 2023) reports that the gold formulas of 182 of the 204 validation rows parse
and agree, by Prover9. The file has one JSON object a line, with ``id``, ``answer`` and ``meta``,
which holds ``premises_fol`` and ``conclusion_fol``.

    python benchmarks/folio_gold.py --data folio.jsonl
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from pathlib import Path

from ponder.verify.logic import Prover

LABELS = ("True", "False", "Uncertain")


def decided(prover: Prover, row: dict) -> dict:
    """The prover's answer to a row."""
    meta = row["meta"]
    return prover.answer({"premises": meta["premises_fol"], "conclusion": meta["conclusion_fol"]})


def table(pairs: Counter[tuple[str, str]]) -> str:
    """Counts of (gold label, what was decided), as lines."""
    columns = [*LABELS, "inconsistent", "unknown", "unreadable"]
    lines = [f"{'gold':12}" + "".join(f"{column:>14}" for column in columns)]
    for gold in LABELS:
        lines.append(f"{gold:12}" + "".join(f"{pairs[gold, column]:14}" for column in columns))
    return "\n".join(lines)


def main() -> None:
    """Print the counts and every disagreement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=10.0)
    given = parser.parse_args()
    rows = [json.loads(line) for line in given.data.read_text(encoding="utf-8").splitlines()]
    prover = Prover(given.seconds)
    pairs: Counter[tuple[str, str]] = Counter()
    others = []
    began = time.perf_counter()
    for row in rows:
        answer = decided(prover, row)
        found = answer["label"] or answer["status"]
        pairs[row["answer"], found] += 1
        if found != row["answer"]:
            others.append(f"{row['id']}: {row['answer']}, decided {found} {answer['detail']}")
    took = time.perf_counter() - began
    prover.close()
    unreadable = sum(count for (_, found), count in pairs.items() if found == "unreadable")
    agreeing = sum(pairs[label, label] for label in LABELS)
    print(f"{len(rows)} rows, {len(rows) - unreadable} parsed, {agreeing} agreeing, {took:.1f} s\n")
    print(table(pairs))
    print("\n" + "\n".join(others))


if __name__ == "__main__":
    main()
