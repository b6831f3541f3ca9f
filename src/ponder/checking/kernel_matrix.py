"""Exact claims of kernels: the whole transition matrix on the traces of a toy."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse.csgraph import connected_components

from ponder.binding import Binding
from ponder.blocks.kernel import Kernel
from ponder.checking.cases import Case
from ponder.checking.claims import Finding, enumerated
from ponder.checking.enumerated import LIMIT
from ponder.checking.leaves import estimated_leaves
from ponder.effects import Program
from ponder.interpret import enumerate_runs, key_of
from ponder.law import Law
from ponder.meaning import atoms
from ponder.measure import Floats, Population
from ponder.strategy import Infer, Transform
from ponder.trace import Choice, Trace

MOST_STATES = 40


@dataclass(frozen=True)
class Matrix:
    """pi of shape (S,), normalised, and K of shape (S, S), rows summing to 1."""

    pi: Floats
    transitions: Floats

    @property
    def invariance(self) -> float:
        """max |pi K - pi|."""
        return float(np.abs(self.pi @ self.transitions - self.pi).max(initial=0.0))

    @property
    def imbalance(self) -> float:
        """max |pi_i K_ij - pi_j K_ji|."""
        flow = self.pi[:, None] * self.transitions
        return float(np.abs(flow - flow.T).max(initial=0.0))

    @property
    def still(self) -> bool:
        """Whether nothing ever moves, although there is somewhere to go."""
        return len(self.pi) > 1 and bool(np.all(np.diag(self.transitions) > 1 - 1e-12))

    @property
    def irreducible(self) -> bool:
        """Whether every trace can be reached from every other."""
        count, _ = connected_components(self.transitions > 0, connection="strong")
        return bool(count <= 1)


def matrix_of(kernel: Kernel, program: Program[Any], limit: int) -> Matrix | None:
    """The kernel on the traces of positive mass of ``program``; None if it has too many runs."""
    index: dict[Any, int] = {}
    traces: list[Trace[Any]] = []
    masses: list[float] = []
    for atom in atoms(program, LIMIT):
        state = _state(atom.trace)
        if state not in index:
            index[state] = len(traces)
            traces.append(atom.trace)
            masses.append(0.0)
        masses[index[state]] += atom.mass
    if not 0 < len(traces) <= MOST_STATES:
        return None
    moves = [_from(kernel, trace) for trace in traces]
    if sum(estimated_leaves(move, 4) for move in moves) > limit:
        return None
    matrix = np.zeros((len(traces), len(traces)))
    for row, move in enumerate(moves):
        for population, log_prob in enumerate_runs(move, 4 * limit):
            column = index.get(_state(population.traces[0]))
            if column is not None:  # else it left the target: the row sums to less than one
                matrix[row, column] += math.exp(log_prob)
    return Matrix(np.array(masses) / math.fsum(masses), matrix)


def _from(kernel: Kernel, trace: Trace[Any]) -> Program[Population[Any]]:
    population = Population((trace,), np.zeros(1), Law("weighted", "toy"))
    return kernel.move(population, Binding())


def _state(trace: Trace[Any]) -> Any:
    return tuple((c.address, key_of(_rounded(c))) for c in trace.choices)


def _rounded(choice: Choice) -> Any:
    """The value; of a nested choice its weight too, which a kernel may multiply and divide."""
    if choice.dist is not None:
        return choice.value
    value, log_weight = choice.value
    return value, round(log_weight, 9)


def check_kernels(case: Case, limit: int) -> list[Finding]:
    """Invariance, reversibility and irreducibility of the kernels of a strategy on one toy."""
    program = case.pipeline.source.bind(case.binding)
    findings: list[Finding] = []
    population = False
    for block in case.pipeline.blocks:
        population |= isinstance(block, Infer)
        if isinstance(block, Kernel):
            matrix = matrix_of(block, program, limit)
            if matrix is not None:
                findings += _findings(block, case.toy, matrix)
        elif isinstance(block, Transform):
            program = block.transform(program, case.binding)
    return findings


def _findings(kernel: Kernel, toy: str, matrix: Matrix) -> list[Finding]:
    size = len(matrix.pi)
    found = [
        enumerated(
            f"{kernel!r} keeps its target: pi K = pi",
            toy,
            (matrix.invariance, matrix.invariance, 0.0),
            size,
        )
    ]
    if kernel.reversible:
        claim = f"{kernel!r} is reversible"
        found.append(enumerated(claim, toy, (matrix.imbalance, matrix.imbalance, 0.0), size))
    moved, fact = (
        Finding(f"{kernel!r} {what}", "enumerated", "known", toy, evidence=float(fails))
        for what, fails in (("moves", matrix.still), ("is irreducible", not matrix.irreducible))
    )
    return [*found, moved, fact]
