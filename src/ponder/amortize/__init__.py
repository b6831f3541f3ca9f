"""Amortised inference: networks trained on simulated tasks, whose answers are ponder's own Dists.

A network learns once, from draws of a program, what inference would say about any data; asking it
is then one forward pass. What it says is an approximation: hold it to
:mod:`ponder.checking.sbc`, or correct it by weights with ``propose``. Needs PyTorch.
"""

import ponder.pytorch  # noqa: F401
