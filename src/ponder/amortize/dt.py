"""Distribution Transformers: the prior is an input, a Gaussian mixture; so is the posterior.

So the answer to one question can be the prior of the next, and priors change without retraining.
Trained on simulations alone: a prior from a meta-prior, a parameter from the prior, observations
from the simulator; the loss is the posterior's negative log-density at the parameter. After
"Distribution Transformers: Fast Approximate Bayesian Inference With On-The-Fly Prior Adaptation".
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from ponder.amortize import checkpoint
from ponder.amortize.closed_forms import reduced
from ponder.amortize.dt_draws import Draw, MetaPrior, Simulator, Source
from ponder.amortize.dt_network import (
    Components,
    Network,
    Shape,
    View,
    look,
    own_features,
    seen_features,
    tensor_of,
)
from ponder.amortize.dt_seen import Seen, observed_rows, prior_rows
from ponder.amortize.mixtures import Gaussians, Mixtures
from ponder.amortize.training import Plan, Resume, Told, training_bar
from ponder.amortize.training import train as run_training
from ponder.amortize.warps import Warp
from ponder.blocks.arguments import check_sizes
from ponder.errors import PonderError

Floats = NDArray[np.float64]
KIND = "distribution transformer"
CALIBRATION = 16  # batches from which scales and the trained range are learnt
CHUNK = 4096  # questions that go through the network at once


class Dt:
    """A trained network; see :func:`train` and :func:`load`."""

    def __init__(
        self,
        network: Network,
        warps: tuple[Warp, ...],
        view: View | None,
        seen: Seen | None = None,
        about: dict[str, Any] | None = None,
    ) -> None:
        self.network = network
        self.warps = warps
        self.view = view
        self.seen = seen
        """What it was trained on; a question beyond it warns."""
        self.about = about or {}

    def posterior(self, prior: Gaussians, observed: ArrayLike) -> Gaussians:
        """The posterior after ``observed`` (m, columns), or (m,) for a single column.

        A prior with fewer components than the network is written with more, one with more is
        reduced (moments kept). No observations: the prior. Warns outside of the trained range.
        """
        if not isinstance(prior, Gaussians):
            raise PonderError(f"the prior must be a Gaussian mixture, Gaussians, not {prior!r:.80}")
        z = np.asarray(observed, dtype=np.float64)
        z = z[:, None] if z.ndim == 1 and self.network.shape.columns == 1 else z
        if z.ndim != 2 and z.size:
            raise PonderError(
                f"observations must be (m, {self.network.shape.columns}), not {z.shape}"
            )
        if not len(z):
            return prior
        k = self.network.shape.components
        batch = Mixtures.of(
            [reduced(prior, k).padded(k) if prior.components > k else prior.padded(k)]
        )
        return self.posteriors(batch, z[None], stacklevel=2)[0]

    def posteriors(self, priors: Mixtures, observed: ArrayLike, stacklevel: int = 1) -> Mixtures:
        """Of many questions at once: ``observed`` (B, m, columns), ``priors`` of the same B.

        ``priors`` have the network's number of components (see :meth:`Mixtures.padded`). A warning
        blames the caller's line, or the one that called it for ``stacklevel`` 2.
        """
        z = np.asarray(observed, dtype=np.float64)
        self._require(priors, z)
        parts = []
        with torch.inference_mode():
            for i in range(0, len(priors), CHUNK):
                chunk = Components.of(priors, slice(i, i + CHUNK))
                observed = z[i : i + CHUNK]
                if self.seen is not None:
                    self.seen.warn(chunk, observed, stacklevel + 1)
                viewed = look(self.view, observed, chunk)
                found = self.network(chunk, tensor_of(observed), viewed)
                parts.append((found.log_weights.exp(), found.means, found.factors))
        weights, means, factors = (torch.cat(c).numpy() for c in zip(*parts, strict=True))
        return Mixtures(weights, means, factors, self.warps)

    def _require(self, priors: Mixtures, z: Floats) -> None:
        shape = self.network.shape
        if (priors.components, priors.dims) != (shape.components, shape.dims):
            raise PonderError(
                f"this network takes priors of {shape.components} components in {shape.dims} "
                f"coordinates, not {priors.components} in {priors.dims}; give another prior"
            )
        if priors.warps != self.warps:
            raise PonderError(
                f"this network was trained with warps {'/'.join(self.warps)}; the prior has "
                f"{'/'.join(priors.warps)}; write it with the same"
            )
        if (
            z.ndim != 3
            or z.shape[0] != len(priors)
            or z.shape[2] != shape.columns
            or not z.shape[1]
        ):
            raise PonderError(
                f"observations must be ({len(priors)}, m, {shape.columns}) with m >= 1, "
                f"not {z.shape}"
            )
        if not np.isfinite(z).all():
            raise PonderError("an observation is not a finite number; leave it out of the set")

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write one file, atomically."""
        config = {
            "shape": asdict(self.network.shape),
            "warps": list(self.warps),
            "view": name_of(self.view),
        }
        ranges = None if self.seen is None else self.seen.to_list()
        about = {**self.about, "ranges": ranges}
        checkpoint.save(path, KIND, config, self.network.state_dict(), about)


def load(path: str | os.PathLike[str], view: View | None = None) -> Dt:
    """Read what :meth:`Dt.save` wrote; ``view`` must be the function that it was trained with."""
    saved = checkpoint.load(path, KIND)
    wanted = saved.config["view"]
    if name_of(view) != wanted:
        remedy = "leave view out" if wanted is None else f"give view={wanted}"
        raise PonderError(f"{path} was trained with view {wanted}, not {name_of(view)}; {remedy}")
    network = Network(Shape(**saved.config["shape"]))
    network.load_state_dict(saved.weights)
    network.eval()
    about = dict(saved.about)
    ranges = about.pop("ranges")
    return Dt(
        network,
        tuple(saved.config["warps"]),
        view,
        None if ranges is None else Seen.from_list(ranges),
        about,
    )


def train(
    meta_prior: MetaPrior,
    simulator: Simulator,
    *,
    components: int | None = None,
    observations: int = 1,
    view: View | None = None,
    chain: int = 1,
    motion: float | tuple[float, ...] = 0.0,
    steps: int = 3000,
    batch: int = 256,
    learning_rate: float = 2e-3,
    width: int = 64,
    layers: int = 2,
    heads: int = 4,
    seed: int = 0,
    resume: str | os.PathLike[str] | None = None,
    told: Told | None = None,
) -> Dt:
    """Train on simulations: ``meta_prior(B)`` of priors, ``simulator(x, m)`` of observations.

    Both return programs: of :class:`Mixtures` (B of them; their warps are the support's), and of
    an array (B, m, columns) of m observations given ``x`` (B, d). Each batch has between 1 and
    ``observations`` of them. ``components`` is the network's K (default: the meta-prior's; more
    if posteriors have more modes than priors).

    ``view(observed, centre, factor)`` may add features: what observations (..., columns) look
    like from a component with this mean (..., d) and Cholesky factor (..., d, d), all broadcast
    against one another: an innovation, say. ``chain`` > 1 trains on that many updates in a row,
    each with the last posterior as prior, and in between x moves by Normal noise with standard
    deviations ``motion`` (in f(x)); ask for it what a filter will.

    Deterministic given the seed. With ``resume``, a file, a training that was killed goes on.
    Raises PonderError for draws that are not finite or change their shapes, naming the draw.
    """
    check_sizes("train", observations=observations, chain=chain, steps=steps, batch=batch)
    check_sizes("train", width=width, layers=layers, heads=heads)
    if components is not None:
        check_sizes("train", components=components)
    noise = np.asarray(motion, dtype=np.float64)
    if not (np.isfinite(noise) & (noise >= 0)).all():
        raise PonderError(f"train needs motion, standard deviations of at least 0, got {motion}")
    source = Source(meta_prior, simulator, components, observations, chain, noise, batch, seed)
    first = source.draw(-1)
    dt = _untrained(first, view, (width, layers, heads), seed)
    covariance = None
    if noise.any():
        dims = first.priors.dims
        covariance = torch.from_numpy(np.diag(np.broadcast_to(noise**2, (dims,))))
    _learn_scales(dt, source, covariance)
    going = None
    if resume is not None:
        settings = {"observations": observations, "chain": chain, "motion": noise.tolist()}
        settings |= {"batch": batch, "seed": seed, "shape": asdict(dt.network.shape)}
        settings["programs"] = [name_of(f) for f in (meta_prior, simulator, view)]
        # A program that has changed under its name draws something else.
        settings["drawn"] = [float(a.mean()) for a in (first.u[0], first.observed[0])]
        going = Resume(resume, settings)
    with training_bar("training") if told is None else nullcontext(told) as shown:
        losses = run_training(
            lambda step: _loss(dt, source.draw(step), covariance),
            dt.network.parameters(),
            Plan(steps, learning_rate),
            resume=going,
            told=shown,
        )
    dt.network.eval()
    dt.seen = _seen(dt, source, covariance)
    dt.about = {"steps": steps, "batch": batch, "seed": seed, "chain": chain}
    dt.about["loss"] = float(np.mean(losses[-100:]))
    return dt


def _untrained(first: Draw, view: View | None, size: tuple[int, int, int], seed: int) -> Dt:
    prior = Components.of(first.priors)
    shape = Shape(
        first.priors.components,
        first.priors.dims,
        first.observed[0].shape[2],
        look(view, first.observed[0], prior).shape[-1],
        *size,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Network(shape)
    return Dt(network, first.priors.warps, view)


def _links(
    dt: Dt, draw: Draw, covariance: Tensor | None
) -> Iterator[tuple[Components, Components, Floats, Floats]]:
    """(prior, posterior, f(x), observations) of each update in a row; priors have no history."""
    prior = Components.of(draw.priors)
    for link, (u, z) in enumerate(zip(draw.u, draw.observed, strict=True)):
        if link and covariance is not None:
            prior = prior.moved(covariance)
        posterior: Components = dt.network(prior, tensor_of(z), look(dt.view, z, prior))
        yield prior, posterior, u, z
        prior = posterior.detach()


def _loss(dt: Dt, draw: Draw, covariance: Tensor | None) -> Tensor:
    """The mean over the links of E[-log q(f(x) | z, prior)]."""
    terms = [-q.log_probs(tensor_of(u)).mean() for _, q, u, _ in _links(dt, draw, covariance)]
    return torch.stack(terms).mean()


def _learn_scales(dt: Dt, source: Source, covariance: Tensor | None) -> None:
    """From draws before the training; the untrained network returns its prior."""
    own, seen = [], []
    with torch.no_grad():
        for step in range(-CALIBRATION, 0):
            for prior, _, _, z in _links(dt, source.draw(step), covariance):
                own.append(own_features(prior, z.shape[1]).flatten(0, 1))
                features = seen_features(tensor_of(z), look(dt.view, z, prior))
                seen.append(features.flatten(0, 2))
        dt.network.standard_token.learn(torch.cat(own))
        dt.network.standard_seen.learn(torch.cat(seen))


def _seen(dt: Dt, source: Source, covariance: Tensor | None) -> Seen:
    """The range of fresh draws, priors that were posteriors included."""
    own, observed = [], []
    with torch.no_grad():
        for step in range(-CALIBRATION, 0):
            for prior, _, _, z in _links(dt, source.draw(step), covariance):
                own.append(prior_rows(prior))
                observed.append(observed_rows(z))
    return Seen.of(np.concatenate(own), np.concatenate(observed))


def name_of(function: object) -> str | None:
    """How a checkpoint remembers a function."""
    if function is None:
        return None
    return str(getattr(function, "__qualname__", type(function).__name__))
