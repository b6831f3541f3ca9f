"""Methods at equal tokens on recorded replies: accuracy, tokens, paired differences.

    python benchmarks/methods.py gsm8k gsm8k.jsonl gsm8k.cot.jsonl.gz gsm8k.pot.jsonl.gz --out DIR
    python benchmarks/methods.py code mbpp.jsonl benchmarks/data/mbpp.direct.jsonl.gz --out DIR

The methods of a set, replayed by ``ponder.bench`` on the replies that the files hold (their names
tell the recipe): a line for each, with the best of the plain votes at the same tokens beside it,
and the report in DIR.
"""

from __future__ import annotations

import argparse
import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from harness import machine

import ponder
from ponder.evidence.compare import AtTokens, at_tokens, paired
from ponder.evidence.recordings import import_recordings, recipe_of

SETS = {
    "gsm8k": (
        "cot | draw(16) | vote",
        "pot | draw(16) | vote",
        "cot | draw(8) | weigh(perplexity) | vote",
        "cot | draw(8) | best(perplexity)",
        "cot | draw(8) | likely(perplexity) | distinct | weigh(perplexity) | vote",
        "cot | draw(16) | likely(perplexity) | distinct | weigh(perplexity) | vote",
        "cot | draw(16, stop=agreement(0.95)) | vote",
        "cot | draw(16, stop=dirichlet(0.95)) | vote",
        "cot | draw(16, stop=settled(0.2)) | vote",
        "cot | draw(16, stop=settled(0.2)) | certify(0.2)",
        "pot | draw(16, stop=agreement(0.95)) | vote",
        "either(cot, pot) | stratify(8, 16) | vote",
        "either(cot, pot) | stratify(8, 16) | product",
        "either(cot, pot) | stratify(4, 8) | vote",
        "either(cot, pot) | stratify(4, 8) | product",
        "either(cot, pot) | stratify(4, 8, stop=corroborated) | product",
        "either(cot, pot) | stratify(8, 16, stop=corroborated) | product",
        "either(cot, pot) | stratify(8, 16, stop=corroborated(2)) | product",
    ),
    "code": (
        "direct | draw(16) | vote",
        "direct | draw(4) | best(passes)",
        "direct | draw(16) | best(passes)",
        "direct | draw(16) | weigh(passes) | vote",
    ),
}


class _At:
    """A point of a curve in results.json, as arrays."""

    def __init__(self, point: dict[str, Any]) -> None:
        rows = point["by_question"]
        self.right, self.tokens, self.covered = (
            np.array(rows[name]) for name in ("right", "tokens", "covered")
        )


def row(method: dict[str, Any], votes: dict[str, list[_At]]) -> str:
    """One line: the method, and the best vote over one recipe at its tokens."""
    last = method["curve"][-1]
    own, name = _At(last), method["strategy"]
    line = f"{name:74} {last['accuracy']:.3f} {last['answered']:.2f} {last['tokens']:6.0f}"
    rivals: dict[str, AtTokens] = {
        vote: at_tokens(curve, last["tokens"]) for vote, curve in votes.items() if vote != name
    }
    if not rivals:
        return line
    vote = max(rivals, key=lambda vote: float(rivals[vote].right.mean()))
    apart = paired(own.right, rivals[vote].right)
    against = f"{rivals[vote].right.mean():.3f} {vote}"
    return f"{line}  {apart.mean:+.3f} [{apart.low:+.3f}, {apart.high:+.3f}]  against {against}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("set", choices=SETS)
    parser.add_argument("tasks", type=Path)
    parser.add_argument("recordings", type=Path, nargs="+")
    parser.add_argument("--limit", type=int, default=60)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    with TemporaryDirectory() as folder:
        bank = ponder.Bank(Path(folder) / "bank.sqlite")
        for path in given.recordings:
            import_recordings(path, bank, recipe_of(path) or "direct", "recorded")
        found = ponder.bench(
            given.tasks, SETS[given.set], bank=bank, replay=True, limit=given.limit, out=given.out
        )
    questions, orders = len(found["questions"]), found["made"]["orders"]
    print(
        f"{machine()['processor']}, {datetime.date.today()}: {questions} questions, "
        f"{orders} orders of the replies; any of them right: "
        f"{found['baselines'][1]['accuracy']:.3f}, one: {found['baselines'][0]['accuracy']:.3f}"
    )
    plain = [m for m in found["methods"] if m["strategy"].endswith("| draw(16) | vote")]
    votes = {m["strategy"]: [_At(point) for point in m["curve"]] for m in plain}
    for method in plain:
        for point in method["curve"][:-1]:
            print(row({"strategy": point["strategy"], "curve": [point]}, {}))
    for method in found["methods"]:
        print(row(method, votes))


if __name__ == "__main__":
    main()
