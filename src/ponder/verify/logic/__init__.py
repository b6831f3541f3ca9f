"""First-order logic: formulas, how they are read, and what follows from what."""

from ponder.verify.logic.prover import Prover
from ponder.verify.logic.reading import read_formula
from ponder.verify.logic.solver import Verdict, decide

__all__ = ["Prover", "Verdict", "decide", "read_formula"]
