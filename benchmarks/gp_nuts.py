"""NUTS (numpyro) over a Gaussian process's length scale and noise; run by ``pfn_gp.py``'s peer.

Reads tasks and settings (a JSON object) from standard input; writes seconds and log-densities of
the queries, a task each, as JSON; tasks one by one, and all of them in one batch. Compilation is
not timed: everything is run once before.
"""

from __future__ import annotations

import json
import sys
import time

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jax.scipy.special import logsumexp
from numpyro.infer import MCMC, NUTS

jax.config.update("jax_enable_x64", True)
asked = json.load(sys.stdin)
LENGTH, NOISE, SPREAD = asked["length"], asked["noise"], asked["spread"]


def kernel(a, b, length):
    return jnp.exp(-0.5 * ((a[:, None] - b[None, :]) / length) ** 2)


def root_of(x, z):
    length, noise = LENGTH * jnp.exp(SPREAD * z[0]), NOISE * jnp.exp(SPREAD * z[1])
    return length, noise, jnp.linalg.cholesky(kernel(x, x, length) + noise**2 * jnp.eye(len(x)))


def model(x, y):
    z = numpyro.sample("z", dist.Normal(jnp.zeros(2), 1.0))
    *_, root = root_of(x, z)
    numpyro.sample("y", dist.MultivariateNormal(jnp.zeros(len(x)), scale_tril=root), obs=y)


@jax.jit
def log_densities(zs, x, y, queries, values):
    def one(z):
        length, noise, root = root_of(x, z)
        solve = jax.scipy.linalg.solve_triangular
        white, cross = (
            solve(root, y, lower=True),
            solve(root, kernel(x, queries, length), lower=True),
        )
        sd = jnp.sqrt(1 - (cross**2).sum(axis=0) + noise**2)
        return dist.Normal(cross.T @ white, sd).log_prob(values)

    return logsumexp(jax.vmap(one)(zs), axis=0) - jnp.log(len(zs))


def predict(key, x, y, queries, values):
    mcmc = MCMC(
        NUTS(model),
        num_warmup=asked["warmup"],
        num_samples=asked["samples"],
        progress_bar=False,
    )
    mcmc.run(key, x, y)
    return log_densities(mcmc.get_samples()["z"], x, y, queries, values)


def timed(run, *arguments):
    began = time.perf_counter()
    found = run(*arguments).block_until_ready()
    return time.perf_counter() - began, found.tolist()


# Compiled as a whole, the fastest that numpyro gets: MCMC.run as documented traces anew each time.
one, many = jax.jit(predict), jax.jit(jax.vmap(predict))
columns = [jnp.asarray(column) for column in zip(*asked["tasks"], strict=True)]
keys = jax.random.split(jax.random.PRNGKey(0), len(asked["tasks"]))
timed(one, keys[0], *(column[0] for column in columns))
alone = [timed(one, *row) for row in zip(keys, *columns, strict=True)]
timed(many, keys, *columns)
batch_seconds, _ = timed(many, keys, *columns)
plain = 0.0
if asked["plain"]:
    sampler = MCMC(
        NUTS(model),
        num_warmup=asked["warmup"],
        num_samples=asked["samples"],
        progress_bar=False,
        jit_model_args=True,
    )
    for x, y in zip(columns[0][:2], columns[1][:2], strict=True):
        began = time.perf_counter()
        sampler.run(jax.random.PRNGKey(1), x, y)
        plain = time.perf_counter() - began  # of the second task
said = {
    "seconds_plain": plain,
    "seconds": [seconds for seconds, _ in alone],
    "seconds_batched": batch_seconds / len(keys),
    "log_density": [found for _, found in alone],
    "about": {"numpyro": numpyro.__version__, "jax": jax.__version__},
}
json.dump(said, sys.stdout)
