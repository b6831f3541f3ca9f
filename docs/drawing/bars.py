"""What ``pictures.py`` draws with: expectations of methods, computed exactly, and their bars."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from ponder.binding import Binding
from ponder.blocks.kernel import Kernel
from ponder.effects import Program
from ponder.interpret import enumerate_measure, enumerate_runs
from ponder.law import Law
from ponder.meaning import atoms
from ponder.measure import Population
from ponder.strategy import Pipeline

Masses = dict[Any, float]
Labelled = tuple[str, Masses]
HERE = Path(__file__).parent.parent / "pictures"
# Okabe & Ito's colours, which the colour-blind can tell apart; mistakes are hatched or crosses too.
GREY, BLUE, ORANGE, SKY = "#b8b8b8", "#0072b2", "#d55e00", "#56b4e9"
GREEN, PINK = "#009e73", "#cc79a7"
STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 7.5,
    "svg.hashsalt": "ponder",
    "figure.facecolor": "white",
    "figure.constrained_layout.use": True,
}


def expected(pipeline: Pipeline) -> Masses:
    """E[sum_i w_i delta(x_i)] of a strategy, over all of its runs."""
    terms: dict[Any, list[float]] = defaultdict(list)
    for population, log_prob in enumerate_runs(pipeline.bind(Binding())):
        for trace, weight in zip(population.traces, np.exp(population.log_weights), strict=True):
            if weight > 0:
                terms[trace.value].append(math.exp(log_prob) * float(weight))
    return {value: math.fsum(parts) for value, parts in terms.items()}


def moved(kernel: Kernel, target: Program[Any]) -> Masses:
    """pi K by value: the posterior, moved once."""
    total = math.fsum(enumerate_measure(target).values())
    terms: dict[Any, list[float]] = defaultdict(list)
    for atom in atoms(target):
        alone = Population((atom.trace,), np.zeros(1), Law("weighted", "toy"))
        for population, log_prob in enumerate_runs(kernel.move(alone, Binding())):
            value = population.traces[0].value
            terms[value].append(atom.mass / total * math.exp(log_prob))
    return {value: math.fsum(parts) for value, parts in terms.items()}


def share(pipeline: Pipeline, value: Any) -> float:
    """The expected normalised share of a value; of a population without mass it is none."""
    terms = []
    for population, log_prob in enumerate_runs(pipeline.bind(Binding())):
        for trace, weight in zip(population.traces, population.weights, strict=True):
            terms.append(math.exp(log_prob) * float(weight) * (trace.value == value))
    return math.fsum(terms)


def normalised(masses: Masses) -> Masses:
    """Masses that sum to one."""
    total = math.fsum(masses.values())
    return {value: mass / total for value, mass in masses.items()}


def posterior(target: Program[Any]) -> Masses:
    """pi by value."""
    return normalised(enumerate_measure(target))


def shown(value: Any) -> str:
    """A value as a label."""
    if isinstance(value, tuple):
        return "".join(str(int(v)) for v in value)
    return str(value)


def bars(axes: Any, values: Any, columns: Sequence[tuple[str, Masses, str]]) -> None:
    """Masses side by side, and their legend; the last column is the mistake."""
    values = sorted(values, key=shown)
    width = 0.8 / len(columns)
    for i, (label, masses, color) in enumerate(columns):
        at = np.arange(len(values)) + (i - (len(columns) - 1) / 2) * width
        axes.bar(at, [masses.get(v, 0.0) for v in values], width, label=label, **style(color))
    axes.set_xticks(range(len(values)), [shown(v) for v in values])
    axes.legend()


def style(color: str) -> dict[str, Any]:
    """Of a bar."""
    hatch = "////" if color == ORANGE else ""
    return {"color": color, "hatch": hatch, "edgecolor": "white", "linewidth": 0}


def compared(name: str, exact: Labelled, good: Sequence[Labelled], bad: Labelled) -> None:
    """Bars of masses on the left, differences from what is exact on the right."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(6.4, 2.1), width_ratios=(3, 2))
    columns = [(*exact, GREY), *((*g, c) for g, c in zip(good, (BLUE, SKY), strict=False))]
    columns.append((*bad, ORANGE))
    bars(left, exact[1], columns)
    apart = [
        (label, {v: masses.get(v, 0.0) - mass for v, mass in exact[1].items()}, color)
        for label, masses, color in columns[1:]
    ]
    bars(right, exact[1], apart)
    for label, differences, _ in apart:
        print(f"{name}: {label}: off by {max(map(abs, differences.values())):.1e}")
    left.set_title("mass of each value")
    right.set_title(f"difference (blue: {rounding(apart[:-1])})")
    right.axhline(0, color="black", linewidth=0.6)
    handles, labels = left.get_legend_handles_labels()
    for axes in (left, right):
        axes.get_legend().remove()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(columns))
    save(figure, name)


def rounding(apart: Sequence[tuple[str, Masses, str]]) -> str:
    """How far the valid methods are off, as a bound that is a power of ten."""
    worst = max(abs(d) for _, differences, _ in apart for d in differences.values())
    assert worst < 1e-12, f"off by {worst}: no picture of that"
    return "below $10^{-15}$" if worst < 1e-15 else "below $10^{-12}$"


def save(figure: Any, name: str) -> None:
    """As SVG without a date, so that the same numbers give the same bytes."""
    figure.savefig(HERE / f"{name}.svg", metadata={"Date": None})
    plt.close(figure)
