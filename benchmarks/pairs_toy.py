"""A transformer trained on pairs of responses, against the truth that it can see only in part.

    python benchmarks/pairs_toy.py --json pairs_toy.json --png pairs_toy.png

A question X is a topic, which the model reads, and a detail, which it cannot. Topics are as
frequent as words are (Zipf), so that rare ones are hardly learnt either. A response is a sequence
of two tokens; its law p(Y | X) has a small support, of the same answers whatever the detail is, or
not. The pair model learns p(y1, y2 | topic) from two independent responses to one X. Compared at
what they claim, exactly, over all questions: the pair model, a model of single responses with a
threshold on its probability, and an ensemble of four of those. All networks are alike and see
equally many responses.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ponder.amortize.training import Plan, train
from ponder.checking.pairs import second_order
from ponder.guarantee.pairs import hallucination_bound, pair_table

Floats = NDArray[np.float64]
HEADS, TAILS = 6, 4  # a response is one of 6 tokens, then one of 4
ANSWERS = HEADS * TAILS
BETAS = (0.05, 0.1, 0.2)
SUPPORTS = (1, 2, 4, 8)  # many answers may be right: a small p(y | X) is no ignorance


@dataclass(frozen=True)
class World:
    """p(y | topic, detail), ``law`` (topics, details, answers), and how frequent topics are."""

    law: Floats
    frequency: Floats

    @property
    def ideal(self) -> Floats:
        """The pairs that are calibrated on topics: E p p^T, (topics, answers, answers)."""
        products = np.einsum("tda,tdb->tab", self.law, self.law)
        return np.asarray(products / self.law.shape[1])

    def responses(self, n: int, each: int, seed: int) -> tuple[Tensor, Tensor]:
        """Topics (n,) and ``each`` responses to n questions, (n, each)."""
        rng = np.random.default_rng(seed)
        topics = rng.choice(len(self.frequency), n, p=self.frequency)
        laws = self.law[topics, rng.integers(self.law.shape[1], size=n)].cumsum(axis=1)
        uniforms = rng.random((n, each)) * laws[:, -1:]
        drawn = (laws[:, None, :] <= uniforms[:, :, None]).sum(axis=2)
        return torch.from_numpy(topics), torch.from_numpy(drawn)


def world(topics: int, details: int, seed: int = 0) -> World:
    """Quarters of the topics: the detail never counts; it does for one, or for two; it decides."""
    rng = np.random.default_rng(seed)
    law = np.zeros((topics, details, ANSWERS))
    for topic in range(topics):
        common = _some_law(rng)
        for detail in range(details):
            own = detail < (0, 1, 2, details)[topic % 4]
            law[topic, detail] = _some_law(rng) if own else common
    frequency = 1 / (1 + np.arange(topics, dtype=np.float64))
    return World(law, rng.permutation(frequency / frequency.sum()))


def _some_law(rng: np.random.Generator) -> Floats:
    size = int(rng.choice(SUPPORTS))
    law = np.zeros(ANSWERS)
    law[rng.choice(ANSWERS, size, replace=False)] = rng.dirichlet(np.full(size, 3.0))
    return law


class Responder(nn.Module):
    """Next tokens of the responses to a topic, each after all that is before it."""

    def __init__(self, topics: int, width: int = 48, layers: int = 2) -> None:
        super().__init__()
        self.topics = topics
        self.embed = nn.Embedding(topics + HEADS + TAILS, width)
        self.place = nn.Parameter(torch.zeros(4, width))
        layer = nn.TransformerEncoderLayer(
            width, 4, 2 * width, dropout=0.0, batch_first=True, norm_first=True
        )
        self.body = nn.TransformerEncoder(layer, layers, nn.LayerNorm(width), False)
        self.head, self.tail = nn.Linear(width, HEADS), nn.Linear(width, TAILS)

    def forward(self, topic: Tensor, responses: Tensor) -> Tensor:
        """log p(response i | topic, responses before it), (n, k), of responses (n, k)."""
        heads, tails = responses // TAILS, responses % TAILS
        words = torch.stack([heads + self.topics, tails + self.topics + HEADS], 2).flatten(1)
        read = self.embed(torch.cat([topic[:, None], words[:, :-1]], 1))
        length = read.shape[1]
        mask = nn.Transformer.generate_square_subsequent_mask(length)
        read = self.body(read + self.place[:length], mask=mask, is_causal=True)
        first = self.head(read[:, 0::2]).log_softmax(2).gather(2, heads[:, :, None])
        then = self.tail(read[:, 1::2]).log_softmax(2).gather(2, tails[:, :, None])
        logs: Tensor = (first + then).squeeze(2)
        return logs


def trained(given: World, each: int, steps: int, batch: int, seed: int) -> Responder:
    """A network for ``each`` responses a question; of ``batch`` responses a step."""
    torch.manual_seed(seed)
    network = Responder(len(given.frequency))

    def loss_at(step: int) -> Tensor:
        drawn = given.responses(batch // each, each, seed=(seed + 1) * 10_000_000 + step)
        loss: Tensor = -network(*drawn).sum(1).mean()
        return loss

    train(loss_at, network.parameters(), Plan(steps, 2e-3))
    return network.eval()


@torch.no_grad()
def shares(network: Responder) -> Floats:
    """p(y | topic), (topics, answers)."""
    topics = torch.arange(network.topics).repeat_interleave(ANSWERS)
    answers = torch.arange(ANSWERS).repeat(network.topics)[:, None]
    found: Floats = network(topics, answers).exp().double().reshape(-1, ANSWERS).numpy()
    return found


@torch.no_grad()
def table(network: Responder) -> Floats:
    """p(y1, y2 | topic), (topics, answers, answers)."""
    both = torch.cartesian_prod(torch.arange(ANSWERS), torch.arange(ANSWERS))
    rows = [network(torch.full((len(both),), t), both).sum(1) for t in range(network.topics)]
    return torch.stack(rows).exp().double().reshape(-1, ANSWERS, ANSWERS).numpy()


@dataclass(frozen=True)
class Claim:
    """What a method says of every (topic, answer): the probability, its variance, a confidence."""

    m: Floats
    variance: Floats
    confidence: Floats  # that the answer is in the support, larger is surer


def of_pairs(tables: Floats) -> tuple[Claim, Floats]:
    """What the pairs say, and c."""
    p = pair_table(tables)
    return Claim(p.m, p.m * (p.c - p.m), 1 - hallucination_bound(p.m, p.c)), p.c


def of_ensemble(members: Floats) -> Claim:
    """The spread of members (k, topics, answers), taken for what is not known; Cantelli on it."""
    m, variance = members.mean(axis=0), members.var(axis=0, ddof=1)
    return Claim(m, variance, m**2 / (m**2 + variance))


def judged(given: World, claim: Claim) -> dict[str, Any]:
    """The claim against the truth: exact means over questions and answers drawn from ``m``."""
    weight = given.frequency[:, None, None] * claim.m[:, None, :] / given.law.shape[1]
    weight = np.broadcast_to(weight, given.law.shape)
    squares = (given.law - claim.m[:, None, :]) ** 2
    outside = (given.law == 0) * weight
    found: dict[str, Any] = {
        "variance": float((weight * np.abs(claim.variance)[:, None, :]).sum() / weight.sum()),
        "squared_distance": float((weight * squares).sum() / weight.sum()),
        "bins": _bins(claim.variance, squares, weight),
        "outside_at": {},
        "accepted": {},
    }
    for beta in BETAS:
        reach = np.sqrt(np.abs(claim.variance) / beta)[:, None, :]
        missed = np.sqrt(squares) > reach + 1e-9
        found["outside_at"][beta] = float((weight * missed).sum() / weight.sum())
        kept = (claim.confidence >= 1 - beta)[:, None, :] * weight
        made_up = (claim.confidence >= 1 - beta)[:, None, :] * outside
        rate = float(made_up.sum() / kept.sum()) if kept.sum() > 0 else None
        found["accepted"][beta] = {"share": float(kept.sum() / weight.sum()), "made_up": rate}
    found["curve"] = _curve(claim.confidence, weight.sum(axis=1), outside.sum(axis=1))
    return found


def _bins(variance: Floats, squares: Floats, weight: Floats) -> list[tuple[float, float, float]]:
    """(mean variance said, mean squared distance, weight) in bins of equal weight by variance."""
    said = np.abs(variance).ravel()
    mass, true = weight.sum(axis=1).ravel(), (weight * squares).sum(axis=1).ravel()
    order = np.argsort(said)
    depth = np.cumsum(mass[order]) / mass.sum()
    part = np.minimum((depth * 8).astype(int), 7)
    rows = []
    for b in np.unique(part):
        inside = order[part == b]
        total = mass[inside].sum()
        rows.append(
            (float(mass[inside] @ said[inside] / total), float(true[inside].sum() / total), total)
        )
    return rows


def _curve(confidence: Floats, mass: Floats, outside: Floats) -> list[tuple[float, float]]:
    """(share answered, made up among them), from the surest answers on."""
    order = np.argsort(-confidence.ravel(), kind="stable")
    kept = np.cumsum(mass.ravel()[order])
    lost = np.cumsum(outside.ravel()[order])
    places = np.unique(np.searchsorted(kept / kept[-1], np.linspace(0.02, 1, 50) - 1e-12))
    return [(float(kept[i] / kept[-1]), float(lost[i] / kept[i])) for i in places]


def calibration(given: World, claim: Claim, c: Floats, n: int) -> dict[str, Any]:
    """The check of held-out pairs, about the most probable answer of each."""
    topics, drawn = (x.numpy() for x in given.responses(n, 2, seed=5))
    about = claim.m.argmax(axis=1)[topics]
    m, again = claim.m[topics, about], c[topics, about]
    report = second_order(m, again, drawn[:, 0] == about, drawn[:, 1] == about)
    copied = second_order(m, m, drawn[:, 0] == about, drawn[:, 1] == about)
    return {
        "pairs": n,
        "verdict": report.verdict,
        "findings": [f.as_dict() for f in report.findings],
        "verdict_if_c_were_m": copied.verdict,
    }


def measured(given: World, steps: int, batch: int, heldout: int) -> dict[str, Any]:
    """Train all and judge all."""
    started = time.perf_counter()
    pair_model = trained(given, 2, steps, batch, seed=0)
    seconds = time.perf_counter() - started
    tables = table(pair_model)
    singles = np.stack([shares(trained(given, 1, steps, batch, seed=1 + k)) for k in range(4)])
    pair, c = of_pairs(tables)
    ideal, _ = of_pairs(given.ideal)
    nothing = np.zeros_like(singles[0])
    claims: Mapping[str, Claim] = {
        "pairs": pair,
        "single, by its probability": Claim(singles[0], nothing, singles[0]),
        "ensemble of 4": of_ensemble(singles),
        "pairs, calibrated exactly": ideal,
    }
    return {
        "setting": {
            "topics": len(given.frequency),
            "details": given.law.shape[1],
            "answers": ANSWERS,
            "steps": steps,
            "responses_a_step": batch,
        },
        "asymmetry": float(given.frequency @ pair_table(tables).asymmetry),
        "below": float((given.frequency[:, None] * pair.m * (c < pair.m)).sum()),
        "methods": {name: judged(given, claim) for name, claim in claims.items()},
        "calibration": calibration(given, pair, c, heldout),
        "seconds": {
            "pairs": round(seconds, 1),
            "all": round(time.perf_counter() - started, 1),
        },
    }


def drawing(found: dict[str, Any], path: Path) -> None:
    """Variance said against truth; made-up answers by the share answered."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
    for (name, row), colour in zip(
        found["methods"].items(), ("C0", "C1", "C2", "0.4"), strict=True
    ):
        if row["variance"] > 0 and name != "pairs, calibrated exactly":
            said, true, _ = zip(*row["bins"], strict=True)
            left.plot(said, true, "o-", color=colour, label=name)
        right.plot(*zip(*row["curve"], strict=True), color=colour, label=name, linewidth=1.4)
    low, high = 1e-6, 0.3
    left.plot([low, high], [low, high], color="grey", linewidth=0.8, label="calibrated")
    left.set(xscale="log", yscale="log", xlabel="epistemic variance said, mean of a bin")
    left.set(ylabel="(p(y | X) - m)², mean of the bin", title="What is said and what is true")
    for beta in BETAS:
        right.axhline(beta, color="grey", linewidth=0.5, linestyle=":")
        kept = found["methods"]["pairs"]["accepted"][beta]
        if kept["made_up"] is not None:
            right.plot(kept["share"], kept["made_up"], "o", color="C0", markersize=4)
    right.set(xlabel="share of answers given, surest first", ylabel="share of them made up")
    right.set(title="Answers outside the support (dots: β = .05, .1, .2)", ylim=(0, None))
    left.legend(frameon=False)
    right.legend(frameon=False)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main() -> None:
    """Measure, print a table, write the files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--png", type=Path)
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--batch", type=int, default=256)
    args = parser.parse_args()
    torch.set_num_threads(1)
    found = measured(world(topics=128, details=16), args.steps, args.batch, heldout=50_000)
    print(f"{'':28} {'V said':>8} {'(p-m)^2':>8}  outside at     answered / made up at .05, .1, .2")
    for name, row in found["methods"].items():
        outside = " ".join(f"{row['outside_at'][b]:.3f}" for b in BETAS)
        kept = "  ".join(
            f"{a['share']:.2f} / " + ("-" if a["made_up"] is None else f"{a['made_up']:.3f}")
            for a in (row["accepted"][b] for b in BETAS)
        )
        said = f"{row['variance']:8.4f} {row['squared_distance']:8.4f}"
        print(f"{name:28} {said}  {outside}  {kept}")
    check = found["calibration"]
    print(f"calibration on {check['pairs']} held-out pairs: {check['verdict']};", end=" ")
    print(f"if c were m: {check['verdict_if_c_were_m']}; asymmetry {found['asymmetry']:.3f}")
    print(f"seconds: {found['seconds']}")
    if args.png:
        drawing(found, args.png)
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
