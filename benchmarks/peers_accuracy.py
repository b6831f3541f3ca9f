"""Accuracy and tokens of its-hub and optillm beside ponder, on the same questions and model.

    python benchmarks/peers_accuracy.py gsm8k.jsonl --skip 60 --server URL --its-hub PYTHON \\
        --optillm PYTHON --record replies.jsonl --ponder gsm8k.fresh.*.jsonl.gz --out peers.json

The server is llama.cpp's (``xllamacpp.Server``, or ``llama-server -np 8 -c 16384``); of several the
least busy is asked, and without any nothing is drawn. The peers' Pythons (``pip install
'its-hub[lm]'``, ``pip install optillm``) run this file again, and ask through a
:class:`recorder.Recorder`, with the chat of ponder's cot, whose own samples are recordings. The
server draws by ponder's law, top-p 0.95 after the temperature (of 1,000 tokens, for speed): 0.7 for
its-hub, which is told so, and 1 for optillm, which has it so. Every method is run on ``--orders``
orders of the samples that it has drawn, so that ties fall as they do on average.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import subprocess
import sys
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import Any

# The peers' Pythons run this file too: nothing but the standard library up here.
LAW = {"top_k": 1000, "top_p": 0.95, "min_p": 0.0, "samplers": ["top_k", "temperature", "top_p"]}
ANSWER = r"(?:Answer(?: is)?:?|\\boxed\{)[^\d\n-]*(-?[\d,]*\.?\d+)"  # what its-hub compares
SAMPLES, LONGEST = 8, 512
# First what is most worth knowing; about how many tokens a sample adds to those before.
METHODS = {
    "sc": ("its-hub self-consistency", 165),
    "adaptive": ("its-hub adaptive self-consistency", 0),
    "bon": ("its-hub best-of-N, its LLM judge", 90),
    "optillm-bon": ("optillm best-of-N, T 1", 180),
    "optillm-sc": ("optillm self-consistency, T 1", 0),
}
PONDER = (
    "cot | draw(8) | vote",
    "pot | draw(16) | vote",
    "either(cot, pot) | stratify(8, 16, stop=corroborated) | product",
)
COUNTS = ("prompt", "generated", "sent", "calls")


def work(at_once: int) -> None:
    """In a peer's Python: its method on every job read, so many at once; a line for each."""

    def do(job: dict[str, Any]) -> None:
        run = optillm if job["method"].startswith("optillm") else its_hub
        try:
            said = {"text": run(job["method"], job["url"], job["chat"])}
        except Exception as error:
            said = {"error": f"{type(error).__name__}: {error}"[:300]}
        os.write(1, f"peer: {json.dumps({**job, **said})}\n".encode())

    with ThreadPoolExecutor(at_once) as pool:
        for line in sys.stdin:
            pool.submit(do, json.loads(line))


def its_hub(method: str, url: str, chat: Any) -> str:
    """Its answer: everything as shipped but for temperature, length, and what votes compare."""
    import asyncio

    aiohttp, hub = import_module("aiohttp"), import_module("its_hub")
    aiohttp.client.DEFAULT_TIMEOUT = aiohttp.ClientTimeout(total=3000)  # five minutes as shipped
    lm = hub.OpenAICompatibleLanguageModel(
        url, "none", "local", temperature=0.7, max_completion_tokens=LONGEST
    )
    voting = import_module("its_hub.core.algorithms.self_consistency")
    projection = voting.create_regex_projection_function(ANSWER)
    if method == "bon":
        algorithm = hub.BestOfN(hub.LLMJudge(lm))
    else:
        vote = hub.SelfConsistency if method == "sc" else hub.AdaptiveSelfConsistency
        algorithm = vote(consistency_space_projection_func=projection)

    async def ask() -> Any:
        async with lm:
            return await algorithm.ainfer(lm, chat[-1]["content"], budget=SAMPLES)

    return str(asyncio.run(ask())["content"])


def optillm(method: str, url: str, chat: Any) -> str:
    """Its answer, asked as its server does: as shipped but for length and 8 samples, not 3 or 5."""
    client = import_module("openai").OpenAI(base_url=url, api_key="none", timeout=3000)
    system, query, _ = import_module("optillm.server").parse_conversation(chat)
    config = {"max_tokens": LONGEST}
    if method == "optillm-bon":
        best = import_module("optillm.bon").best_of_n_sampling
        return str(best(system, query, client, "local", SAMPLES, config)[0])
    voter = import_module("optillm.self_consistency").AdvancedSelfConsistency(
        client, "local", SAMPLES, request_config=config
    )
    clusters = voter.evaluate(system, query)["aggregated_result"]["clusters"]
    return str(clusters[0]["answer"]) if clusters else "No consistent answer found."


def worked(python: str, at_once: int, jobs: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The jobs as a peer's Python has done them, with ``text`` or ``error``, in any order."""
    with TemporaryFile("w+") as given:
        given.writelines(json.dumps(job) + "\n" for job in jobs)
        given.seek(0)
        command = [python, __file__, "work", str(at_once)]
        with subprocess.Popen(
            command, stdin=given, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as child:
            assert child.stdout is not None
            yield from (json.loads(line[6:]) for line in child.stdout if line.startswith("peer: "))


def row(method: str, given: argparse.Namespace, questions: Sequence[Any], proxy: Any) -> Any:
    """By question its mean credit and tokens; questions that it could not answer are left out."""
    from ponder.recipes.prompting import ask_messages
    from ponder.recipes.replies import cot_instruction

    shuffle, by_id = random.Random(0), {q.id: q for q in questions}
    orders = [shuffle.sample(range(SAMPLES), SAMPLES) for _ in range(given.orders)]
    jobs = []
    for number, order in enumerate([range(SAMPLES), *orders]):  # the first is the one that draws
        for q in questions:
            url = proxy.begin(f"{method}.{number}", q.id, order)
            chat = ask_messages(q, cot_instruction(q))
            jobs.append({"id": q.id, "number": number, "method": method, "url": url, "chat": chat})
    found: dict[str, list[dict[str, float]]] = defaultdict(list)
    done = 0
    python, at_once = (given.its_hub, 2) if "optillm" not in method else (given.optillm, 4)
    for job in worked(python, at_once, jobs):
        if job["number"] == 0:
            done += 1
            so_far = f"  {method} {done}/{len(questions)}, {proxy.drawn} tokens drawn"
            print(so_far, job.get("error", ""), flush=True)
        elif "error" not in job:
            price = proxy.price(f"{method}.{job['number']}", job["id"])
            counts = {name: getattr(price, name) for name in COUNTS}
            found[job["id"]].append({**graded(by_id[job["id"]], job["text"]), **counts})
    whole = {i: runs for i, runs in found.items() if len(runs) == len(orders)}
    return {"method": METHODS[method][0]} | {
        name: {i: sum(run[name] for run in runs) / len(runs) for i, runs in whole.items()}
        for name in ("right", "strict", *COUNTS)
    }


def graded(question: Any, text: str) -> dict[str, float]:
    """``strict``: by what ponder reads; ``right``: or else by the last number in the text."""
    from ponder.recipes.prompting import answer_in
    from ponder.verify.answers import parse_answer

    answer = answer_in(text, question)
    strict = float(bool(question.correct(answer)))
    numbers = re.findall(r"-?\d[\d,]*(?:\.\d+)?", text) if answer is None else []
    last = parse_answer(f"Answer: {[None, *numbers][-1]}", question.kind)
    return {"strict": strict, "right": max(strict, float(bool(question.correct(last))))}


def plain_votes(proxy: Any, questions: Sequence[Any]) -> dict[str, Any]:
    """The vote over its-hub's samples as ponder reads them; ties share, cut-off ones abstain."""
    from ponder.recipes.prompting import answer_in

    found: dict[str, Any] = {name: {} for name in ("right", *COUNTS)}
    otherwise = 0
    for q in questions:
        prompt, replies = proxy.recorded("sc.0", q.id)
        votes, replies = Counter[Any](), replies[:SAMPLES]
        if len(replies) < SAMPLES:
            continue
        for reply in replies:
            answer = answer_in(reply["text"], q) if reply["finish"] == "stop" else None
            read = re.search(ANSWER, reply["text"], re.IGNORECASE)
            otherwise += answer != (answer_in(f"Answer: {read[1]}", q) if read else None)
            votes.update([] if answer is None else [answer])
        top = [a for a, n in votes.items() if n == max(votes.values())]
        found["right"][q.id] = sum(bool(q.correct(a)) for a in top) / max(1, len(top))
        generated = sum(reply["generated"] for reply in replies)
        counts = len(prompt), generated, len(prompt) * SAMPLES, SAMPLES
        found |= {name: {**found[name], q.id: n} for name, n in zip(COUNTS, counts, strict=True)}
    note = (
        f"of {sum(found['calls'].values())} samples its-hub's pattern reads {otherwise} otherwise"
    )
    return {"method": "plain vote on its-hub's samples", **found, "note": note}


def ponder_rows(recordings: Sequence[Path], tasks: Path) -> list[dict[str, Any]]:
    """Ponder's own methods, replayed on its own samples."""
    import ponder
    from ponder.evidence.recordings import import_recordings, recipe_of

    with TemporaryDirectory() as folder:
        bank = ponder.Bank(Path(folder) / "bank.sqlite")
        for path in recordings:
            import_recordings(path, bank, recipe_of(path) or "cot", "recorded")
        found = ponder.bench(tasks, PONDER, bank=bank, replay=True)
    ids, rows = [q["id"] for q in found["questions"]], []
    for method in found["methods"]:
        at = method["curve"][-1]["by_question"]
        by_id = {name: dict(zip(ids, at[name], strict=True)) for name in ("right", "tokens")}
        rows.append({"method": f"ponder `{method['strategy']}`", **by_id})
    return rows


def table(rows: Sequence[dict[str, Any]], against: Sequence[dict[str, Any]]) -> str:
    """Markdown: accuracy, tokens a question, differences paired by question; 95% intervals."""
    import numpy as np

    from ponder.evidence.compare import accuracy_interval, paired

    head = ["method", "questions", "right", "prompt + generated tokens", "calls"]
    head += [f"less {other['method']}" for other in against]
    lines = [head, ["---"] * len(head)]
    for row in rows:
        right = np.array(list(row["right"].values()))
        low, high = accuracy_interval(right)
        n = {name: np.mean(list(row[name].values())) for name in (*COUNTS, "tokens") if name in row}
        total = n.get("tokens") or n["prompt"] + n["generated"]
        parts = f"{n['prompt']:,.0f} + {n['generated']:,.0f} = " if "prompt" in n else ""
        line = [row["method"], f"{len(right)}", f"{right.mean():.3f} [{low:.3f}, {high:.3f}]"]
        line += [f"{parts}{total:,.0f}", f"{n['calls']:.1f}" if "calls" in n else ""]
        for other in against:
            both = [i for i in row["right"] if i in other["right"] and other is not row]
            apart = both and paired(
                *(np.array([r["right"][i] for i in both]) for r in (row, other))
            )
            line.append(f"{apart.mean:+.3f} [{apart.low:+.3f}, {apart.high:+.3f}]" if apart else "")
        lines.append(line)
    cells = ([cell.replace("|", "\\|") for cell in line] for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def options() -> argparse.ArgumentParser:
    """The options of the run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tasks", type=Path)
    parser.add_argument("--server", nargs="*", default=[], metavar="URL")
    parser.add_argument("--its-hub", metavar="PYTHON")
    parser.add_argument("--optillm", metavar="PYTHON")
    parser.add_argument("--record", type=Path, required=True, help="the peers' replies")
    parser.add_argument("--ponder", type=Path, nargs="*", default=[], help="ponder's replies")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--methods", nargs="*", choices=METHODS, default=list(METHODS))
    for name, default in (("--skip", 0), ("--limit", 30), ("--orders", 20), ("--rate", 40)):
        parser.add_argument(name, type=int, default=default, help=f"{default} by default")
    return parser


def versions(given: argparse.Namespace) -> dict[str, str]:
    """Of the peers and the server."""
    found = {}
    for name, python in (("its-hub", given.its_hub), ("optillm", given.optillm)):
        ask = f"from importlib.metadata import version; print(version({name!r}), end='')"
        if python:
            found[name] = subprocess.check_output([python, "-c", ask], text=True)
    for server in given.server:
        with urllib.request.urlopen(f"{server}/props") as reply:
            found["llama.cpp"] = json.load(reply)["build_info"]
    return found


def main() -> None:
    """Run the methods, most important first; after each the table so far."""
    from harness import machine
    from recorder import Recorder

    from ponder.question import Question, read_questions

    given = options().parse_args()
    lines = given.tasks.read_text().splitlines()[given.skip : given.skip + given.limit]
    with TemporaryDirectory() as folder:
        tasks = Path(folder) / "tasks.jsonl"
        tasks.write_text("\n".join(lines) + "\n")
        questions = [q for q in read_questions(tasks) if isinstance(q, Question)]
        own = ponder_rows(given.ponder, tasks) if given.ponder else []
    about, rows, proxy = machine() | versions(given), [], Recorder(given.record, given.server, LAW)
    methods = [m for m in given.methods if (given.optillm if "optillm" in m else given.its_hub)]
    tokens = len(questions) * SAMPLES * sum(METHODS[m][1] for m in methods) - proxy.known
    minutes = max(0, tokens) / given.rate / 60  # at --rate tokens a second
    print(f"{about}\nabout {minutes:.0f} minutes of the model", flush=True)
    for method in methods:
        rows.append(row(method, given, questions, proxy))
        plain = plain_votes(proxy, questions)
        shown = [one for one in [*own, plain, *rows] if one["right"]]
        given.out.write_text(json.dumps({"about": about, "rows": shown}, indent=1) + "\n")
        print(table(shown, [*own[:1], plain]), plain["note"], sep="\n", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["work"]:
        work(int(sys.argv[2]))
    else:
        main()
