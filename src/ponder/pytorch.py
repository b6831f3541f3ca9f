"""PyTorch, asked for in one place: which extra brings it, and that it leaves AMX alone.

Imported before ``torch`` by whatever needs it.
"""

import os

from ponder.errors import PonderError

# PyTorch asks the kernel for AMX at its first product of matrices, even of float32, which does not
# use it; llama.cpp then uses it too, and some virtual machines kill who does (lm/probe.py).
os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_BF16")

try:
    import torch as torch
except ModuleNotFoundError as error:
    if error.name != "torch":
        raise
    raise PonderError("this part of ponder needs PyTorch: pip install 'ponder[torch]'") from None
