"""One budget over many questions: samples go where one more is worth the most.

``spend`` asks in waves; a :class:`Policy` says what the next wave is worth asking. The law of the
answers is a model fitted to the run itself, and what was drawn depends on what was seen: the
posterior of each question is heuristic. The cost is held.
"""

from ponder.spending.answers import AnswerLaw, Seen, seen
from ponder.spending.value import Pooled, Truth, expected_gains
from ponder.spending.waves import Policy, spend

__all__ = ["AnswerLaw", "Policy", "Pooled", "Seen", "Truth", "expected_gains", "seen", "spend"]
