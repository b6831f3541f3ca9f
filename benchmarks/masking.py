"""Grammars: what masking alone gets wrong, how far evidence spreads, and what a mask costs.

law         total variation of masking from the law of accepted texts, exactly, on a finite model
evidence    16 replies held to a JSON schema: their log-evidence, effective sample size, endings
overhead    milliseconds that a grammar adds to each token, by part and as a whole
"""

from __future__ import annotations

import json
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from full_batch import endless_engine
from harness import Quiet, Report, alternate, begin, options

import ponder
from ponder.binding import Binding
from ponder.blocks import draw, smc
from ponder.dist import Stream, derive
from ponder.interpret import enumerate_measure
from ponder.ledger import Ledger
from ponder.lm.grammar import FormalGrammar, GrammarCompiler, PredicateGrammar
from ponder.lm.llama import LlamaLM
from ponder.lm.protocol import Completion
from ponder.lm.sampling import Sampler
from ponder.lm.sampling_law import SamplingLaw
from ponder.lm.table import TableLM
from ponder.question import Question
from ponder.recipes.constrained import conditioned, constrained
from ponder.runtime import Runtime

SMALL = "smollm2-135m"
LAW = SamplingLaw(0.7)
SCHEMA = json.dumps(
    {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "born": {"type": "integer"},
            "fields": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["name", "born", "fields"],
        "additionalProperties": False,
    }
)
QUESTION = Question("Who was Ada Lovelace?", "json", id="ada", meta={"schema": SCHEMA})


def law(report: Report) -> None:
    """Half of the texts begin with "one", which is followed by "yes" once in ten, else nine."""
    rows = {
        (): [0.5, 0.5, 0.0, 0.0, 0.0],
        (0,): [0.0, 0.0, 0.1, 0.9, 0.0],
        (1,): [0.0, 0.0, 0.9, 0.1, 0.0],
        (2,): [0.0, 0.0, 0.0, 0.0, 1.0],
        (3,): [0.0, 0.0, 0.0, 0.0, 1.0],
    }
    model = TableLM(("one", "two", " yes", " no", "<end>"), rows, name="planted")
    grammar = PredicateGrammar("yes", lambda t: " no" not in t, lambda t: t.endswith(" yes"))
    free = Completion(model, (), max_tokens=5)
    listed = [(d.text, math.exp(lp)) for d, lp in free.support() or ()]
    masked = {d.text: math.exp(lp) for d, lp in replace(free, grammar=grammar).support() or ()}
    program = conditioned(Binding(QUESTION, model), grammar, "", SamplingLaw(), 5, 1)
    weighed = {reply.text: mass for reply, mass in enumerate_measure(program).items()}
    right = {text: mass for text, mass in listed if grammar.accepts(text)}
    place = ("law", model.name)
    report.add(place, "masking alone, total variation", variation(masked, right))
    report.add(place, "weighed, total variation", variation(weighed, right), target="<= 1e-12")
    error = abs(sum(weighed.values()) - sum(right.values()))
    report.add(place, "weighed, error of the evidence", error, target="<= 1e-12")


def variation(a: dict[str, float], b: dict[str, float]) -> float:
    """Total variation between two measures, normalised."""
    mass_a, mass_b = math.fsum(a.values()), math.fsum(b.values())
    return sum(abs(a.get(x, 0) / mass_a - b.get(x, 0) / mass_b) for x in {**a, **b}) / 2


def evidence(model: LlamaLM, report: Report, quick: bool) -> None:
    """Weights of independent replies, and of replies resampled every eight tokens."""
    n, longest = (4, 30) if quick else (16, 100)
    source = constrained(max_tokens=longest)
    for name, block in ((f"draw({n})", draw(n)), (f"smc({n})", smc(n))):
        program = (source | block).bind(Binding(QUESTION, model))
        (outcome,) = Runtime(seed=1).run([("ada", program)])
        if outcome.error is not None:
            raise outcome.error
        found = outcome.value
        place = (name, model.name)
        alive = [trace for trace in found.traces if trace.status == "finished"]
        sums = [trace.log_potential for trace in alive]
        report.add(place, "log-evidence of a reply", sums, "nats")
        report.add(place, "its standard deviation", statistics.pstdev(sums), "nats")
        report.add(place, "log of the estimated evidence", found.log_evidence, "nats")
        families = f"{len(set(found.eves))} families"
        report.add(place, f"effective sample size of {n}", found.ess, note=families)
        ended = sum(trace.value.finish == "stop" for trace in alive)
        report.add(place, "replies that ended", ended, note=f"within {longest} tokens")


def overhead(model: LlamaLM, report: Report, quick: bool) -> None:
    """What is done for each token, while a text of the schema is retraced."""
    place = ("overhead", model.name)
    text = '{"name": "Ada Lovelace", "born": 1815, "fields": ["mathematics", "computing"]}'
    tokens = model.tokenize(text)
    grammar = FormalGrammar("json", SCHEMA)
    tokenizers = milliseconds(lambda: GrammarCompiler(model.vocabulary), 3)
    report.add(place, "tokenizer, once a model", tokenizers, "ms")
    texts = iter(SCHEMA.replace("born", f"born {i}") for i in range(10))
    compiled = milliseconds(lambda: FormalGrammar("json", next(texts)).compile(model))
    report.add(place, "grammar, once", compiled, "ms")
    report.add(
        place,
        "start of a segment after the text",
        milliseconds(lambda: grammar.after(tokens).compile(model)),
        "ms",
    )
    logits = np.random.default_rng(0).standard_normal(model.vocabulary.size).astype(np.float32)
    sampler, masks, advances, free, held = Sampler(model.vocabulary.size), [], [], [], []
    for _ in range(1 if quick else 5):
        matcher = grammar.compile(model)
        for i, token in enumerate(tokens):
            u = Stream(derive(b"u", str(i))).uniform()
            began = time.perf_counter()
            allowed = matcher.allowed()
            masked = time.perf_counter()
            sampler.draw_allowed(logits, LAW, u, allowed)
            drawn = time.perf_counter()
            sampler.draw(logits, LAW, u)
            undrawn = time.perf_counter()
            matcher.advance(token)
            ended = time.perf_counter()
            masks.append(1e3 * (masked - began))
            held.append(1e3 * (drawn - masked))
            free.append(1e3 * (undrawn - drawn))
            advances.append(1e3 * (ended - undrawn))
    report.add(place, "mask", masks, "ms/token")
    report.add(place, "advance", advances, "ms/token")
    report.add(place, "draw without a grammar", free, "ms/token")
    report.add(place, "draw with one", held, "ms/token")


def together(model: LlamaLM, report: Report, repeat: int, quick: bool) -> None:
    """16 sequences in the engine, in which the parts above are a small share."""
    place = ("overhead", model.name)
    endless = FormalGrammar("regex", "(.|\\n){2000,}")  # does not end within what is written
    count = 8 if quick else 48
    cases: dict[str, Callable[[], float]] = {
        "without": partial(rate, model, None, count),
        "with": partial(rate, model, endless, count),
    }
    found = alternate(cases, repeat, Quiet(30))
    for name, values in found.items():
        report.add(place, f"16 sequences, {name} a grammar", values, "ms/token")
    added = [b - a for a, b in zip(found["without"], found["with"], strict=True)]
    report.add(place, "16 sequences, what it adds", added, "ms/token")


def milliseconds(call: Callable[[], Any], times: int = 10) -> list[float]:
    """How long each of some calls takes."""
    found = []
    for _ in range(times):
        began = time.perf_counter()
        call()
        found.append(1e3 * (time.perf_counter() - began))
    return found


def rate(model: LlamaLM, grammar: FormalGrammar | None, count: int) -> float:
    """Milliseconds a token with 16 sequences together, once all have their prompt."""
    engine = endless_engine(model, 16)
    prompt = model.chat([{"role": "user", "content": QUESTION.text}])
    dist = Completion(model, prompt, LAW, max_tokens=count, grammar=grammar)
    ledger = Ledger()
    requests = [engine.request(dist, derive(b"rate", str(i)), ledger) for i in range(16)]
    for request in requests:
        engine.submit(request)
    while not all(request.generated for request in requests):
        engine.step()
    before, began = ledger.generated, time.perf_counter()
    while engine.running:
        engine.step()
    return 1e3 * (time.perf_counter() - began) / (ledger.generated - before)


def main() -> None:
    """Run the cases asked for."""
    cases = ("law", "evidence", "overhead")
    args = options(__doc__, cases).parse_args()
    wanted = args.cases or cases
    report = begin()
    if "law" in wanted:
        law(report)
    for name in args.model or [SMALL]:
        if not {"evidence", "overhead"} & set(wanted):
            break
        model = ponder.load(name)
        assert isinstance(model, LlamaLM)
        if "evidence" in wanted:
            evidence(model, report, args.quick)
        if "overhead" in wanted:
            overhead(model, report, args.quick)
            together(model, report, args.repeat, args.quick)
        model.close()
    if args.json:
        report.write(args.json)


if __name__ == "__main__":
    main()
