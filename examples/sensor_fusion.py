"""A robot in the plane hears beacons: a learned filter whose posteriors have several modes.

Each beacon says where it stands and, with an error, how far away the robot is. Two distances fit
two places, so the posterior has two modes, until the robot has moved. A Distribution Transformer
learns the update from simulations; the robot's own motion is an exact convolution. Every posterior
then proposes draws that are corrected by weights; how many of them count says how good it was:

    python examples/sensor_fusion.py      (a minute or two; needs ponder[torch])
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import ponder
from ponder.amortize import dt
from ponder.amortize.closed_forms import moved
from ponder.amortize.guides import as_guide
from ponder.amortize.mixtures import Gaussians, Mixtures
from ponder.arrays import Normals
from ponder.effects import Effects

Floats = NDArray[np.float64]
NOISE = 0.2  # of a distance
MOTION = 0.15  # of a step, each coordinate
FIELD = 3.0  # standard deviation of where beacons and robots are
START = Gaussians.normal([0.0, 0.0], 2.0)
COMPONENTS = 6


@ponder.program
def priors(batch: int) -> Effects[Mixtures]:
    """What the robot may believe at first: one Gaussian anywhere, of spread 0.5 to 3."""
    means = yield from ponder.sample(Normals(np.zeros((batch, 1, 2)), FIELD))
    noise = yield from ponder.sample(Normals(np.zeros((batch, 1, 1)), 1.0))
    return Mixtures.diagonal(np.ones((batch, 1)), means, 1.2 * np.exp(0.9 * np.tanh(noise)))


@ponder.program
def hears(x: Floats, m: int) -> Effects[Floats]:
    """m beacons of robots at x (B, 2): (B, m, 3) of beacon and distance."""
    beacons = yield from ponder.sample(Normals(np.zeros((len(x), m, 2)), FIELD))
    errors = yield from ponder.sample(Normals(np.zeros((len(x), m)), NOISE))
    distances = np.linalg.norm(x[:, None] - beacons, axis=-1) + errors
    return np.concatenate([beacons, distances[..., None]], axis=-1)


def seen_from(observed: Floats, centre: Floats, factor: Floats) -> Floats:
    """A distance as a component sees it: what an extended Kalman filter would make of it."""
    away = centre - observed[..., :2]
    distance = np.sqrt((away**2).sum(-1, keepdims=True) + 1e-6)
    towards = away / distance
    along = np.einsum("...ji,...j->...i", factor, towards)
    aside = np.stack([-towards[..., 1], towards[..., 0]], axis=-1)
    bend = np.einsum("...ji,...j->...i", factor, aside) / distance
    spread = np.sqrt((along**2).sum(-1, keepdims=True) + NOISE**2)
    surprise = (observed[..., 2:] - distance) / spread
    parts = [np.arcsinh(surprise), along / spread, along / spread * np.clip(surprise, -4, 4)]
    parts += [np.arctan(bend), np.log(spread), np.log(distance)]
    return np.concatenate(parts, axis=-1)


def train(steps: int, *, width: int = 48, layers: int = 2, resume: str | None = None) -> dt.Dt:
    """A network for up to two beacons at a time, used to priors that were posteriors."""
    return dt.train(
        priors,
        hears,
        components=COMPONENTS,
        observations=2,
        view=seen_from,
        chain=4,
        motion=MOTION,
        steps=steps,
        batch=128,
        width=width,
        layers=layers,
        resume=resume,
    )


@dataclass(frozen=True)
class Journey:
    """Where the robot was (T, 2), its commands (T, 2), and what it heard (T, 2, 3)."""

    places: Floats
    commands: Floats
    observed: Floats


def journey(seed: int, length: int = 15) -> Journey:
    """Two beacons that stand still, and a robot that turns while it drives."""
    noise = np.random.default_rng(seed)
    beacons = noise.normal(size=(2, 2)) * FIELD
    angles = noise.uniform(0, 2 * np.pi) + 0.35 * np.arange(length)
    commands = 0.5 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    commands[0] = 0.0
    steps = commands + MOTION * noise.normal(size=(length, 2))
    steps[0] = START.means[0] + START.factors[0] @ noise.normal(size=2)
    places = np.cumsum(steps, axis=0)
    distances = np.linalg.norm(places[:, None] - beacons, axis=-1)
    distances += NOISE * noise.normal(size=distances.shape)
    both = np.broadcast_to(beacons, (length, 2, 2))
    return Journey(places, commands, np.concatenate([both, distances[..., None]], axis=-1))


@ponder.program
def place(prior: Gaussians, observed: Floats) -> Effects[Floats]:
    """The model of one moment: a place of the prior, and what is heard there."""
    x: Floats = yield from ponder.sample(prior, "place")
    distances = np.linalg.norm(x - observed[:, :2], axis=1)
    yield from ponder.observe(Normals(distances, NOISE), observed[:, 2])
    return x


def main() -> None:
    """Train, drive, and say how good every posterior was."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=1000, help="training steps (1000)")
    parser.add_argument("--seed", type=int, default=1, help="the journey (1)")
    args = parser.parse_args()
    net = train(args.steps, width=32, layers=1)
    way = journey(args.seed)
    belief = START
    print("step  the truth          log-density  modes' shares     effective draws of 200")
    for t, (truth, observed) in enumerate(zip(way.places, way.observed, strict=True)):
        prior = moved(belief, way.commands[t], MOTION) if t else belief
        belief = net.posterior(prior, observed)
        guide = as_guide(belief, "place")
        strategy = place(prior, observed) | ponder.propose(guide, defensive=0.1) | ponder.draw(200)
        corrected = ponder.infer(strategy, seed=t)
        shares = " ".join(f"{w:.2f}" for w in sorted(belief.weights, reverse=True)[:3])
        where = f"{truth[0]:6.2f} {truth[1]:6.2f}"
        print(
            f"{t:4}  {where}   {belief.log_prob(truth):14.2f}  {shares:<16}  {corrected.ess:8.0f}"
        )


if __name__ == "__main__":
    main()
