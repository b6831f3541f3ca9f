"""One network for any small table: a Prior-Data Fitted Network against scikit-learn's classifiers.

It is trained on made-up tables only (``tabular_prior.py``), never on a table measured here. Each
of the data sets that scikit-learn ships is split at random, stratified, ten times; every method
gets the same training rows (at most ROWS, what the network was trained for) and predicts the
rest. More than 16 features are reduced to 16 principal components, for the network alone.

    python benchmarks/pfn_tabular.py train --minutes 10      # resumes if it was interrupted
    python benchmarks/pfn_tabular.py measure --json FILE
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from harness import Report, machine
from numpy.typing import NDArray
from sklearn import datasets
from sklearn.decomposition import PCA
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.gaussian_process import GaussianProcessClassifier
from sklearn.gaussian_process.kernels import RBF
from sklearn.linear_model import LogisticRegressionCV
from sklearn.model_selection import StratifiedShuffleSplit
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tabular_prior import CLASSES, FEATURES, prepared, tables

from ponder.amortize import pfn
from ponder.amortize.pfn import Pfn
from ponder.amortize.ranges import OutsideTraining
from ponder.amortize.training import Plan, Progress

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]
ROWS = 120  # training rows of a split; the network saw contexts of 0 ... ROWS + 1
SETTINGS: dict[str, Any] = {
    "context": ROWS + 2, "queries": 32, "batch": 16, "width": 96, "layers": 4, "heads": 4,
    "classes": CLASSES,
}  # fmt: skip
RATE = 1e-3
VIEWS = 8  # orders of features and labels that the network's answer is averaged over
FLOOR = 1e-6  # of every method's probabilities, so that one blunder is not an infinite loss


def data_sets() -> dict[str, tuple[Floats, Labels]]:
    """What scikit-learn ships."""
    loaders = {
        "iris": datasets.load_iris,
        "wine": datasets.load_wine,
        "breast cancer": datasets.load_breast_cancer,
        "digits": datasets.load_digits,
    }
    return {name: load(return_X_y=True) for name, load in loaders.items()}


def train(minutes: float, folder: Path) -> Pfn:
    """Train for about this long, or go on with a training that was interrupted."""
    folder.mkdir(parents=True, exist_ok=True)
    plan_file = folder / "tabular.plan.json"
    if plan_file.exists():
        steps = int(json.loads(plan_file.read_text())["steps"])
    else:
        told: list[Progress] = []
        pfn.train(tables, Plan(40), **SETTINGS, told=told.append)
        steps = int(minutes * 60 * 30 / (told[-1].seconds - told[9].seconds))
        plan_file.write_text(json.dumps({"steps": steps, "minutes": minutes}) + "\n")

    def line(progress: Progress) -> None:
        if progress.step % max(1, steps // 40) == 0:
            print(progress, flush=True)

    net = pfn.train(
        tables,
        Plan(steps, learning_rate=RATE),
        **SETTINGS,
        resume=folder / "tabular.state",
        told=None if sys.stderr.isatty() else line,
    )
    net.save(folder / "tabular.pfn")
    return net


def network(net: Pfn, views: int) -> Callable[[Floats, Labels, Floats], Floats]:
    """Fit-and-predict by one forward pass for each of several orders of features and labels."""

    def predict(x: Floats, y: Labels, queries: Floats) -> Floats:
        if x.shape[1] > FEATURES:
            reduce = make_pipeline(StandardScaler(), PCA(FEATURES, random_state=0)).fit(x)
            x, queries = reduce.transform(x), reduce.transform(queries)
        classes = int(y.max()) + 1
        random = np.random.Generator(np.random.PCG64(0))
        xs, ys, qs, names = [], [], [], []
        for _ in range(views):
            columns, labels = random.permutation(x.shape[1]), random.permutation(classes)
            context, asked = prepared(x[:, columns], queries[:, columns])
            xs.append(context), ys.append(labels[y]), qs.append(asked), names.append(labels)
        p = net.probabilities(np.stack(xs), np.stack(ys), np.stack(qs))
        found = np.mean([q[:, order] for q, order in zip(p, names, strict=True)], axis=0)
        return found / found.sum(axis=1, keepdims=True)

    return predict


def baseline(make: Callable[[], Any]) -> Callable[[Floats, Labels, Floats], Floats]:
    def predict(x: Floats, y: Labels, queries: Floats) -> Floats:
        found: Floats = make_pipeline(StandardScaler(), make()).fit(x, y).predict_proba(queries)
        return found

    return predict


def methods(net: Pfn) -> dict[str, Callable[[Floats, Labels, Floats], Floats]]:
    return {
        "pfn": network(net, VIEWS),
        "pfn, one view": network(net, 1),
        "logistic, C by CV": baseline(
            lambda: LogisticRegressionCV(
                Cs=8, cv=3, max_iter=500, scoring="neg_log_loss", l1_ratios=(0,),
                use_legacy_attributes=False,
            )
        ),
        "random forest": baseline(lambda: RandomForestClassifier(300, random_state=0)),
        "gradient boosting": baseline(lambda: HistGradientBoostingClassifier(random_state=0)),
        "5 neighbours": baseline(lambda: KNeighborsClassifier(5)),
        "Gaussian process": baseline(
            lambda: GaussianProcessClassifier(1.0 * RBF(3.0), random_state=0)
        ),
    }  # fmt: skip


def measure(report: Report, net: Pfn, splits: int, names: list[str]) -> None:
    for name, (x, y) in data_sets().items():
        if names and name not in names:
            continue
        rows = min(ROWS, int(0.8 * len(y)))
        shuffle = StratifiedShuffleSplit(
            splits, train_size=rows, test_size=min(500, len(y) - rows), random_state=0
        )
        parts = list(shuffle.split(x, y))
        note = f"{splits} splits, {rows} rows to train on, {len(parts[0][1])} to predict"
        for method, predict in methods(net).items():
            right, loss, seconds = [], [], []
            for fit, test in parts:
                began = time.perf_counter()
                p = np.maximum(predict(x[fit], y[fit], x[test]), FLOOR)
                seconds.append(time.perf_counter() - began)
                p /= p.sum(axis=1, keepdims=True)
                right.append(float((p.argmax(axis=1) == y[test]).mean()))
                loss.append(float(-np.log(p[np.arange(len(test)), y[test]]).mean()))
            for what, values in (("accuracy", right), ("log loss", loss)):
                error = float(np.std(values, ddof=1)) / splits**0.5
                mean = float(np.mean(values))
                report.add((name, method), what, mean, "", "", f"se {error:.2g}; {note}")
            report.add((name, method), "fit and predict", [1e3 * s for s in seconds], "ms")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("train", "measure"))
    parser.add_argument("sets", nargs="*", help="iris, wine, 'breast cancer', digits (all)")
    parser.add_argument("--minutes", type=float, default=10.0, help="of training (10)")
    parser.add_argument("--folder", type=Path, default=Path("pfn-tabular"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--splits", type=int, default=10)
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.what == "train":
        train(args.minutes, args.folder)
        return
    warnings.simplefilter("ignore", OutsideTraining)  # real tables have wilder values
    net = pfn.load(args.folder / "tabular.pfn")
    report = Report(machine(("ponder", "numpy", "torch", "scikit-learn")))
    report.machine["net"] = {"net": repr(net), **net.about["plan"]}
    measure(report, net, args.splits, args.sets)
    if args.json:
        report.write(args.json)


if __name__ == "__main__":
    main()
