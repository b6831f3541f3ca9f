"""Variational inference beside pyro and numpyro: the same models, steps, samples and optimiser.

    python benchmarks/vi_peers.py --peers PYTHON --out vi_peers.json

PYTHON has pyro-ppl and numpyro (``pip install pyro-ppl numpyro``); it runs this file again, as does
the Python of ponder. Two models: Bayesian linear regression with a mean-field guide (64 particles
a step), and a variational autoencoder on scikit-learn's digits (batches of 100, one particle).
All start from the same numbers, and what they end with is scored here, by the same arithmetic: the
regression's ELBO in closed form, the autoencoder's on held-out digits with the same noise. Times
are of the fit alone, on one thread; numpyro's is told with and without its compilation. Lines are
those of model, guide and fit, blank ones left out. Rounds are interleaved, ratios paired by round.
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

# The peers' Python runs this file too: nothing but NumPy and what a system needs.
import numpy as np

RATE, PARTICLES, BATCH, LATENT, HIDDEN, SPREAD = 0.01, 64, 100, 8, 128, 0.5
STEPS = {"regression": 4000, "digits": 1000}
SYSTEMS = ("ponder", "pyro", "numpyro")


# ---- regression: weights ~ N(0, 1), y ~ N(x @ weights, SPREAD); mean and log_sd of the guide


def ponder_regression(data: Any, steps: int) -> Any:
    import torch
    from torch.distributions import Independent, Normal

    from ponder import observe, program, sample
    from ponder.tensors import Torch
    from ponder.vi import elbo, fit

    x, y = (torch.tensor(data[name]) for name in ("x", "y"))
    mean, log_sd = (torch.zeros(x.shape[1], requires_grad=True) for _ in range(2))

    @program
    def model():  # type: ignore[no-untyped-def]
        w = yield from sample(Torch(Normal(torch.zeros(x.shape[1]), 1.0)), "w")
        yield from observe(Torch(Independent(Normal(x @ w, SPREAD), 1)), y)

    @program
    def guide():  # type: ignore[no-untyped-def]
        yield from sample(Torch(Normal(mean, log_sd.exp())), "w")

    started = time.perf_counter()
    fit(lambda: elbo(model(), guide()), [mean, log_sd], steps=steps, samples=PARTICLES, lr=RATE)
    return {"mean": mean, "log_sd": log_sd}, time.perf_counter() - started


def pyro_regression(data: Any, steps: int) -> Any:
    import pyro
    import torch
    from pyro.distributions import Normal
    from pyro.infer import SVI, Trace_ELBO

    x, y = (torch.tensor(data[name]) for name in ("x", "y"))
    d = x.shape[1]

    def model() -> None:
        w = pyro.sample("w", Normal(torch.zeros(d), 1.0).to_event(1))
        pyro.sample("y", Normal(w @ x.T, SPREAD).to_event(1), obs=y)

    def guide() -> None:
        mean = pyro.param("mean", torch.zeros(d))
        log_sd = pyro.param("log_sd", torch.zeros(d))
        pyro.sample("w", Normal(mean, log_sd.exp()).to_event(1))

    loss = Trace_ELBO(num_particles=PARTICLES, vectorize_particles=True)
    svi = SVI(model, guide, pyro.optim.Adam({"lr": RATE}), loss)
    started = time.perf_counter()
    for _ in range(steps):
        svi.step()
    return dict(pyro.get_param_store().items()), time.perf_counter() - started


def numpyro_regression(data: Any, steps: int) -> Any:
    import jax
    import jax.numpy as jnp
    import numpyro
    from numpyro.distributions import Normal
    from numpyro.infer import SVI, Trace_ELBO

    x, y = jnp.array(data["x"]), jnp.array(data["y"])
    d = x.shape[1]

    def model() -> None:
        w = numpyro.sample("w", Normal(jnp.zeros(d), 1.0).to_event(1))
        numpyro.sample("y", Normal(x @ w, SPREAD).to_event(1), obs=y)

    def guide() -> None:
        mean = numpyro.param("mean", jnp.zeros(d))
        log_sd = numpyro.param("log_sd", jnp.zeros(d))
        numpyro.sample("w", Normal(mean, jnp.exp(log_sd)).to_event(1))

    loss = Trace_ELBO(num_particles=PARTICLES)
    svi = SVI(model, guide, numpyro.optim.Adam(RATE), loss)
    return _numpyro_fit(svi, jax.random.PRNGKey(0), steps, ())


# ---- digits: z ~ N(0, 1), an image ~ Binomial(16, logits of a network of z); a network as guide


def ponder_digits(data: Any, steps: int) -> Any:
    import torch
    from torch.distributions import Binomial, Normal

    from ponder import observe, program, sample
    from ponder.tensors import Torch
    from ponder.vi import elbo, fit

    net = {name: torch.tensor(data[name], requires_grad=True) for name in WEIGHTS}

    def layers(v, a):  # type: ignore[no-untyped-def]
        hidden = torch.tanh(v @ net[f"{a}1"] + net[f"{a}1b"])
        return hidden @ net[f"{a}2"] + net[f"{a}2b"]

    @program
    def model(image):  # type: ignore[no-untyped-def]
        z = yield from sample(Torch(Normal(torch.zeros(LATENT), 1.0)), "z")
        yield from observe(Torch(Binomial(16, logits=layers(z, "decode"))), image)

    @program
    def guide(image):  # type: ignore[no-untyped-def]
        mean, log_sd = layers(image / 8 - 1, "encode").chunk(2)
        yield from sample(Torch(Normal(mean, log_sd.exp())), "z")

    started = time.perf_counter()
    images = torch.tensor(data["train"])
    objective = lambda image: elbo(model(image), guide(image))  # noqa: E731
    fit(objective, net, steps=steps, lr=RATE / 5, data=images, batch=BATCH)
    return net, time.perf_counter() - started


def pyro_digits(data: Any, steps: int) -> Any:
    import pyro
    import torch
    from pyro.distributions import Binomial, Normal
    from pyro.infer import SVI, Trace_ELBO

    def layers(v: Any, a: str) -> Any:
        names = (f"{a}1", f"{a}1b", f"{a}2", f"{a}2b")
        w, b, w2, b2 = (pyro.param(name, torch.tensor(data[name])) for name in names)
        return torch.tanh(v @ w + b) @ w2 + b2

    def model(images: Any) -> None:
        with pyro.plate("images", len(images)):
            prior = Normal(torch.zeros(len(images), LATENT), 1.0).to_event(1)
            z = pyro.sample("z", prior)
            logits = layers(z, "decode")
            pyro.sample("x", Binomial(16, logits=logits).to_event(1), obs=images)

    def guide(images: Any) -> None:
        with pyro.plate("images", len(images)):
            mean, log_sd = layers(images / 8 - 1, "encode").chunk(2, -1)
            pyro.sample("z", Normal(mean, log_sd.exp()).to_event(1))

    # A sum over the batch, where the others take a mean: Adam does not mind.
    svi = SVI(model, guide, pyro.optim.Adam({"lr": RATE / 5}), Trace_ELBO())
    started = time.perf_counter()
    images = torch.tensor(data["train"])
    for _ in range(steps):
        svi.step(images[torch.randperm(len(images))[:BATCH]])
    return dict(pyro.get_param_store().items()), time.perf_counter() - started


def numpyro_digits(data: Any, steps: int) -> Any:
    import jax
    import jax.numpy as jnp
    import numpyro
    from numpyro.distributions import Binomial, Normal
    from numpyro.infer import SVI, Trace_ELBO

    def layers(v: Any, a: str) -> Any:
        names = (f"{a}1", f"{a}1b", f"{a}2", f"{a}2b")
        w, b, w2, b2 = (numpyro.param(name, jnp.array(data[name])) for name in names)
        return jnp.tanh(v @ w + b) @ w2 + b2

    images = jnp.array(data["train"])

    def batch() -> Any:
        return jax.random.choice(numpyro.prng_key(), images, (BATCH,), replace=False)

    def model(chosen: Any) -> None:
        with numpyro.plate("images", BATCH):
            prior = Normal(jnp.zeros((BATCH, LATENT)), 1.0).to_event(1)
            z = numpyro.sample("z", prior)
            logits = layers(z, "decode")
            numpyro.sample("x", Binomial(16, logits=logits).to_event(1), obs=chosen)

    def guide(chosen: Any) -> None:
        with numpyro.plate("images", BATCH):
            mean, log_sd = jnp.split(layers(chosen / 8 - 1, "encode"), 2, axis=-1)
            numpyro.sample("z", Normal(mean, jnp.exp(log_sd)).to_event(1))

    svi = SVI(model, guide, numpyro.optim.Adam(RATE / 5), Trace_ELBO())
    key = jax.random.PRNGKey(0)
    with numpyro.handlers.seed(rng_seed=1):
        batches = jnp.stack([batch() for _ in range(64)])  # drawn once, and gone through in turn
    return _numpyro_fit(svi, key, steps, batches)


def _numpyro_fit(svi: Any, key: Any, steps: int, batches: Any) -> Any:
    """The whole fit as one compiled loop, which is how numpyro is fastest; run twice."""
    import jax

    given = () if isinstance(batches, tuple) else (batches[0],)
    state = svi.init(key, *given)

    def body(i: Any, state: Any) -> Any:
        chosen = () if isinstance(batches, tuple) else (batches[i % len(batches)],)
        return svi.update(state, *chosen)[0]

    loop = jax.jit(lambda state: jax.lax.fori_loop(0, steps, body, state))
    seconds = []
    for _ in range(2):
        started = time.perf_counter()
        ended = jax.block_until_ready(loop(state))
        seconds.append(time.perf_counter() - started)
    return svi.get_params(ended), seconds[0], seconds[1]


# ---- what is the same for all


WEIGHTS = [f"{a}{i}{b}" for a in ("encode", "decode") for i in (1, 2) for b in ("", "b")]


def data_of(model: str) -> dict[str, Any]:
    """Data and starting weights, float32."""
    rng = np.random.default_rng(0)
    if model == "regression":
        x = rng.normal(size=(100, 5)) @ (np.eye(5) + 0.3)
        y = x @ rng.normal(size=5) + SPREAD * rng.normal(size=100)
        found = {"x": x, "y": y}
    else:
        images = import_module("sklearn.datasets").load_digits().data
        images = images[rng.permutation(len(images))]
        found = {"train": images[:1500], "test": images[1500:]}
        for a, sizes in (("encode", (64, HIDDEN, 2 * LATENT)), ("decode", (LATENT, HIDDEN, 64))):
            for i in (1, 2):
                reach = sizes[i - 1] ** -0.5
                found[f"{a}{i}"] = rng.uniform(-reach, reach, (sizes[i - 1], sizes[i]))
                found[f"{a}{i}b"] = rng.uniform(-reach, reach, sizes[i])
    return {name: np.asarray(value, dtype=np.float32) for name, value in found.items()}


def score(model: str, data: dict[str, Any], found: dict[str, Any]) -> float:
    """The ELBO: exact for the regression, of the held-out digits a mean over the same noise."""
    if model == "regression":
        x, y, mean, var = data["x"], data["y"], found["mean"], np.exp(2 * found["log_sd"])
        apart = ((y - x @ mean) ** 2).sum() + (x**2 @ var).sum()
        likelihood = -apart / 2 / SPREAD**2 - len(y) / 2 * np.log(2 * np.pi * SPREAD**2)
        return float(likelihood - 0.5 * (mean**2 + var - np.log(var) - 1).sum())
    from scipy.stats import binom

    def layers(v: Any, a: str) -> Any:
        return np.tanh(v @ found[f"{a}1"] + found[f"{a}1b"]) @ found[f"{a}2"] + found[f"{a}2b"]

    images = data["test"].astype(np.float64)
    mean, log_sd = np.split(layers(images / 8 - 1, "encode"), 2, axis=-1)
    kl = 0.5 * (mean**2 + np.exp(2 * log_sd) - 2 * log_sd - 1).sum(-1)
    noise = np.random.default_rng(1).normal(size=(20, *mean.shape))
    logits = layers(mean + np.exp(log_sd) * noise, "decode")
    chances = 1 / (1 + np.exp(-logits))
    return float(binom.logpmf(images, 16, chances).sum(-1).mean() - kl.mean())


def lines_of(system: str, model: str) -> int:
    """Lines of a function that are not blank; numpyro's loop is counted as its own SVI.run."""
    source = inspect.getsource(globals()[f"{system}_{model}"])
    return sum(bool(line.strip()) for line in source.splitlines())


def work(system: str, model: str, folder: Path) -> None:
    """In a system's Python: fit, and leave the numbers in the folder."""
    data = dict(np.load(folder / f"{model}.npz"))
    if system != "numpyro":
        torch = import_module("torch")
        torch.set_num_threads(1)
        torch.manual_seed(0)
    found, first, *again = globals()[f"{system}_{model}"](data, STEPS[model])
    plain = {k: np.asarray(v.detach() if hasattr(v, "detach") else v) for k, v in found.items()}
    np.savez(folder / f"{system}.{model}.npz", **plain)
    print(json.dumps({"seconds": again[0] if again else first, "first": first}))


def main() -> None:
    """Rounds of all systems in turn, a table, a file."""
    from harness import machine

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peers", required=True, metavar="PYTHON")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    rows: list[dict[str, Any]] = []
    threads = {"OMP_NUM_THREADS": "1", "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false"}
    with TemporaryDirectory() as name:
        folder = Path(name)
        for model in STEPS:
            data = data_of(model)
            np.savez(folder / f"{model}.npz", **data)
            seen: dict[str, list[dict[str, float]]] = {system: [] for system in SYSTEMS}
            for turn in range(given.rounds):
                for system in SYSTEMS:
                    python = sys.executable if system == "ponder" else given.peers
                    command = [python, __file__, "work", system, model, name]
                    said = subprocess.check_output(command, env=os.environ | threads, text=True)
                    seen[system].append(json.loads(said.splitlines()[-1]))
                    print(f"{model}, round {turn + 1}: {system} {said.strip()}", file=sys.stderr)
            for system in SYSTEMS:
                found = dict(np.load(folder / f"{system}.{model}.npz"))
                pairs = zip(seen[system], seen["ponder"], strict=True)
                ratios = [run["seconds"] / own["seconds"] for run, own in pairs]
                row = {"model": model, "system": system, "steps": STEPS[model]}
                row |= {"elbo": score(model, data, found), "lines": lines_of(system, model)}
                row |= {"seconds": [run["seconds"] for run in seen[system]]}
                row |= {"first": [run["first"] for run in seen[system]], "ratio": ratios}
                rows.append(row)
    print(table(rows))
    if given.out:
        given.out.write_text(json.dumps({"about": machine(), "rows": rows}, indent=1) + "\n")


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown; times as a ratio to ponder's, the median of the rounds and their range."""
    lines = ["| model | system | ELBO | seconds | of ponder's | with compilation | lines |"]
    lines.append("|---|---|---|---|---|---|---|")
    for row in rows:
        ratios, seconds = np.array(row["ratio"]), np.median(row["seconds"])
        told = f"{np.median(ratios):.2f} [{ratios.min():.2f}, {ratios.max():.2f}]"
        lines.append(
            f"| {row['model']} | {row['system']} | {row['elbo']:.3f} | {seconds:.2f} | {told} "
            f"| {np.median(row['first']):.2f} s | {row['lines']} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    if sys.argv[1:2] == ["work"]:
        work(sys.argv[2], sys.argv[3], Path(sys.argv[4]))
    else:
        main()
