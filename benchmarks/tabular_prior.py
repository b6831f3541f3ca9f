"""A prior over small classification tables: what a network for tabular data is trained on.

Every task has up to FEATURES features and CLASSES classes, labels 0 ... in an order that means
nothing, and is standardised. One of three kinds, the same for a batch: ``causes``, where
features and label are noisy functions of hidden causes (random networks); ``network``, where the
label is a random network's largest output; ``tree``, where it is the leaf of a random tree.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from ponder.arrays import Normals
from ponder.dist import Categorical
from ponder.effects import Effects, program, sample

Floats = NDArray[np.float64]
FEATURES, CLASSES = 16, 10
HIDDEN, DEPTH = 12, 4
KINDS = ("causes", "network", "tree")


def normals(*shape: int) -> Effects[Floats]:
    return (yield from sample(Normals(np.zeros(shape))))


def uniforms(*shape: int) -> Effects[Floats]:
    return ndtr((yield from normals(*shape)))


@program(normalised=True)
def tables(batch: int, n: int) -> Effects[tuple[Floats, Floats]]:
    """x (batch, n, FEATURES), of which a task uses some and the rest is zero; y (batch, n)."""
    kind = KINDS[(yield from sample(Categorical((0.5, 0.3, 0.2))))]
    features = 2 + np.floor((FEATURES - 1) * (yield from uniforms(batch))).astype(int)
    # Few classes are as common as many: 2 ... CLASSES, evenly in the logarithm.
    classes = np.floor(2 * (CLASSES / 2 + 0.5) ** (yield from uniforms(batch))).astype(int)
    used = np.arange(FEATURES) < features[:, None]
    if kind == "causes":
        x, scores = yield from _causes(batch, n)
    else:
        x = yield from _correlated(batch, n)
        seen = _standardised(x) * used[:, None]
        scores = yield from (_network(seen, CLASSES) if kind == "network" else _tree(seen))
    x = yield from _bent(x)
    labels = yield from _labels(scores, classes)
    return _rescaled(_standardised(x), used), labels


def _correlated(batch: int, n: int) -> Effects[Floats]:
    """Normal features, mixed at random, more or less."""
    z = yield from normals(batch, n, FEATURES)
    mixing = yield from normals(batch, FEATURES, FEATURES)
    much = yield from uniforms(batch, 1, 1)
    return z + (2 * much * z) @ mixing / FEATURES**0.5


def _causes(batch: int, n: int) -> Effects[tuple[Floats, Floats]]:
    """Features and class scores as functions of a few hidden causes, features with noise."""
    centres = yield from normals(batch, CLASSES, HIDDEN)
    apart = 0.4 + 2.2 * (yield from uniforms(batch, 1, 1))
    z = yield from normals(batch, n, HIDDEN)
    # Half of the tasks are clusters: each point belongs to one, and its cluster is its score.
    member = np.floor(CLASSES * (yield from uniforms(batch, n))).astype(int)
    clustered = (np.arange(batch) % 2 == 0)[:, None, None]
    own = np.take_along_axis(centres, member[..., None], axis=1)
    z = np.where(clustered, z + apart * own, z)
    x = yield from _network(z, FEATURES)
    noise = 0.6 * (yield from uniforms(batch, 1, FEATURES)) ** 2
    x = _standardised(x) + noise * (yield from normals(batch, n, FEATURES))
    scores = yield from _network(z, CLASSES)
    return x, np.where(clustered, 1e3 * np.eye(CLASSES)[member], scores)


def _network(x: Floats, outputs: int) -> Effects[Floats]:
    """A random network with one hidden layer, more or less bent, of sparse inputs."""
    batch, _, inputs = x.shape
    first = yield from normals(batch, inputs, HIDDEN)
    kept = (yield from uniforms(batch, inputs, 1)) < 0.7
    bias = yield from normals(batch, 1, HIDDEN)
    steep = 0.3 + 1.7 * (yield from uniforms(batch, 1, 1))
    hidden = np.tanh(steep * (x @ (first * kept) / inputs**0.5 * 1.5 + bias))
    second = yield from normals(batch, HIDDEN, outputs)
    return hidden @ second / HIDDEN**0.5


def _tree(x: Floats) -> Effects[Floats]:
    """Scores of the leaf of a random tree of DEPTH levels, with thresholds at random points."""
    batch, n, _ = x.shape
    nodes = 2**DEPTH
    which = yield from uniforms(batch, nodes)
    thresholds = 0.8 * (yield from normals(batch, nodes))
    scores = yield from normals(batch, nodes, CLASSES)
    used = np.maximum((x != 0).any(axis=1).sum(axis=1), 1)
    feature = np.floor(which * used[:, None]).astype(int)
    node = np.ones((batch, n), dtype=int)
    for _ in range(DEPTH):
        at = np.take_along_axis(feature, node, axis=1)
        value = np.take_along_axis(x, at[..., None], axis=2)[..., 0]
        node = 2 * node + (value > np.take_along_axis(thresholds, node, axis=1))
    leaf = node - nodes
    return np.take_along_axis(scores, leaf[..., None], axis=1)


def _bent(x: Floats) -> Effects[Floats]:
    """Some features skewed (log-normal), some rounded to few values."""
    batch = len(x)
    z = _standardised(x)
    how = yield from uniforms(batch, 1, FEATURES)
    steps = 1 + 4 * (yield from uniforms(batch, 1, FEATURES))
    skewed = np.exp(0.7 * np.clip(z, -4, 4))
    return np.where(how < 0.2, skewed, np.where(how < 0.35, np.round(z * steps) / steps, z))


def _labels(scores: Floats, classes: NDArray[np.int64]) -> Effects[Floats]:
    """The largest of ``classes`` scores, or the bin of the first; noise now and then."""
    batch, n, _ = scores.shape
    clustered = np.abs(scores).max(axis=(1, 2)) > 500
    # Classes are about as common as one another, or some are rarer.
    offset = 0.6 * (yield from normals(batch, 1, CLASSES))
    scores = np.where(clustered[:, None, None], scores, _standardised(scores) + offset)
    noise = 0.3 * (yield from uniforms(batch, 1, 1)) ** 2
    scores = scores + noise * (yield from normals(batch, n, CLASSES))
    open_ = np.arange(CLASSES) < classes[:, None, None]
    largest = np.where(open_, scores, -np.inf).argmax(axis=2)
    # Clusters beyond the number of classes are shared out among them.
    cluster = scores.argmax(axis=2) % classes[:, None]
    edges = yield from normals(batch, CLASSES - 1)
    edges = np.where(np.arange(CLASSES - 1) < classes[:, None] - 1, edges, np.inf)
    first = scores[..., 0]
    spread = (first - first.mean(axis=1, keepdims=True)) / (first.std(axis=1, keepdims=True) + 1e-9)
    binned = (spread[..., None] > edges[:, None]).sum(axis=2)
    ordinal = (yield from uniforms(batch)) < 0.25
    found = np.where(ordinal[:, None], binned, largest)
    found = np.where(clustered[:, None], cluster, found)
    order = yield from uniforms(batch, CLASSES)
    order = np.where(np.arange(CLASSES) < classes[:, None], order, np.inf).argsort(axis=1)
    return np.take_along_axis(order, found, axis=1).astype(np.float64)


def _standardised(x: Floats) -> Floats:
    centred = x - x.mean(axis=1, keepdims=True)
    return centred / (centred.std(axis=1, keepdims=True) + 1e-9)


def _rescaled(x: Floats, used: NDArray[np.bool_]) -> Floats:
    """Unused features are zero; the others larger, so that all tasks have as much signal."""
    shared = np.sqrt(FEATURES / used.sum(axis=1))[:, None, None]
    return np.clip(x, -5, 5) * used[:, None] * shared


def prepared(train: Floats, test: Floats) -> tuple[Floats, Floats]:
    """Real tables as the prior's: standardised by the training rows, zeros where none is used."""
    mean, sd = train.mean(axis=0), train.std(axis=0) + 1e-9
    used = np.arange(FEATURES) < train.shape[1]

    def one(x: Floats) -> Floats:
        wide = np.zeros((len(x), FEATURES))
        wide[:, : x.shape[1]] = (x - mean) / sd
        return _rescaled(wide[None], used[None])[0]

    return one(train), one(test)
