"""llama.cpp's own server on this machine, against the same model embedded."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

import ponder
from conftest import Cli
from ponder.bank import Bank
from ponder.dist import Stream
from ponder.ledger import Ledger
from ponder.lm.endpoint.model import EndpointLM, load_endpoint
from ponder.lm.protocol import Completion, Draw, OptionLogProbs
from ponder.lm.registry import resolve
from ponder.lm.sampling_law import SamplingLaw
from ponder.verify.judge import spellings

pytest.importorskip("httpx")
pytest.importorskip("xllamacpp")
pytestmark = pytest.mark.smollm2
ASKED = [{"role": "user", "content": "Tell a long story about a dog and a house."}]
SERVE = """
import sys, xllamacpp
parameters = xllamacpp.CommonParams()
parameters.model.path = sys.argv[1]
parameters.n_parallel, parameters.n_ctx = 4, 4 * 512
parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = 1
parameters.hostnames, parameters.port = ["127.0.0.1"], 0
server = xllamacpp.Server(parameters)
print("listening at " + server.listening_address, flush=True)
sys.stdin.read()
import os
os._exit(0)
"""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The address of a server of SmolLM2, in a process of its own."""
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE, str(resolve("smollm2-135m").path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "GOMP_SPINCOUNT": "1000"},
    )
    assert process.stdout is not None
    assert process.stdin is not None
    lines = (line.split("listening at ")[1] for line in process.stdout if "listening at " in line)
    yield f"{next(lines).strip()}/v1"
    process.stdin.close()
    process.wait(20)


@pytest.fixture(scope="module")
def served(url: str) -> Iterator[EndpointLM]:
    """SmolLM2 behind the server."""
    model = load_endpoint(f"openai:{url}#smollm2")
    yield model
    model.close()


@pytest.fixture(scope="module")
def embedded() -> Iterator[Any]:
    """SmolLM2 in this process."""
    model: Any = ponder.load("smollm2-135m", cells=1024, threads=1)
    yield model
    model.close()


def _drawn(model: Any, prompt: tuple[int, ...], **how: Any) -> Draw:
    dist = Completion(model, prompt, SamplingLaw(0.5), **how)
    draw: Draw = model.draw(dist, Stream(b"s" * 32))
    return draw


def _scored(embedded: Any, served: EndpointLM, tokens: Sequence[int]) -> list[float]:
    """Log-probabilities of a server's tokens under the embedded model, one after the other."""
    prompt = embedded.chat(ASKED)
    found = []
    for token in tokens:
        (own,) = embedded.tokenize(served.detokenize((token,)))
        found.append(float(embedded.next_log_probs(prompt)[own]))
        prompt += (own,)
    return found


def test_it_reads_the_prompt_that_the_embedded_model_reads(
    served: EndpointLM, embedded: Any
) -> None:
    assert served.context == 512
    draw = _drawn(served, served.chat(ASKED), max_tokens=8)
    assert draw.finish == "length"
    assert len(draw.tokens) == 8
    assert served.detokenize(draw.tokens) == draw.text
    # Other kernels, other noise: but another prompt would be off by nats.
    assert draw.logp == pytest.approx(_scored(embedded, served, draw.tokens), abs=0.3)


def test_a_judge_reads_what_the_embedded_one_reads(served: EndpointLM, embedded: Any) -> None:
    found = []
    for model in (served, embedded):
        said = [{"role": "user", "content": "Is water wet? Reply Yes or No."}]
        groups = (spellings(model, "yes"), spellings(model, "no"))
        dist: Any = OptionLogProbs(model, model.chat(said), groups)
        engine = model.engine
        request = engine.request(dist, b"s" * 32, Ledger())
        engine.submit(request)
        while not (ended := engine.step()):
            pass
        found.append(ended[0][1])
    assert found[0] == pytest.approx(found[1], abs=0.3)
    assert all(math.isfinite(log) for log in found[0])


def test_steps_go_on_where_they_stopped(served: EndpointLM, embedded: Any) -> None:
    prompt = served.chat(ASKED)
    tokens: tuple[int, ...] = ()
    logs: list[float] = []
    segments = 0
    while len(tokens) < 10:
        how: Any = {"max_tokens": 10 - len(tokens), "stop": (" ",), "segment": True}
        draw = _drawn(served, prompt + tokens, **how)
        assert draw.text == served.detokenize(draw.tokens)
        assert draw.text.count(" ") == 1 or len(tokens) + len(draw.tokens) == 10
        tokens, logs, segments = tokens + draw.tokens, [*logs, *draw.logp], segments + 1
    assert segments > 3
    assert logs == pytest.approx(_scored(embedded, served, tokens), abs=0.3)


def test_a_question_and_its_replay(
    url: str, cli: Cli, tmp_path: Path, environment: dict[str, str]
) -> None:
    bank = ("--bank", str(tmp_path / "b.sqlite"), "--json", "-k", "number")
    strategy = ("-s", "cot(max_tokens=12) | draw(4) | vote")
    ask = ("ask", "What is 3 + 4?", "-m", "smol", "--endpoint", url, *strategy, *bank)
    first = cli(*ask)
    assert first.returncode in (0, 1), first.stderr
    told = json.loads(first.stdout)
    assert told["model"] == "openai:smol"
    assert told["ledger"]["calls"] == 4
    again = json.loads(cli(*ask, "--replay").stdout)
    assert again["posterior"] == told["posterior"]
    assert again["ledger"]["calls"] == 0
    assert again["ledger"]["banked"] == told["ledger"]["generated"]


def test_a_particle_filter_and_its_replay(served: EndpointLM, tmp_path: Path) -> None:
    bank = Bank(tmp_path / "b.sqlite")
    how: dict[str, Any] = {
        "strategy": "steps(max_tokens=10, every=5) | weigh(judge) | smc(2) | vote",
        "kind": "number",
        "bank": bank,
    }
    first = ponder.ask("What is 3 + 4?", model=served, **how)
    assert first.ledger.judge > 0
    assert first.ledger.prompt_reused > 0  # the server's cache is found
    again = ponder.ask("What is 3 + 4?", model="openai:smollm2", replay=True, **how)
    assert again.shares() == first.shares()
    assert again.ledger.calls == 0
