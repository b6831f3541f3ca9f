"""Attention over sets: pre-norm blocks without positions, so that the order of tokens is no input.

All tokens are float tensors of shape (batch, tokens, width).
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from ponder.errors import PonderError


class SelfAttention(nn.Module):
    """Tokens attend to one another, then a feed-forward layer; both residual, both pre-norm.

    Equivariant under permutations. ``hidden`` is the feed-forward layer's width (default 2 x).
    """

    def __init__(self, width: int, heads: int, hidden: int | None = None) -> None:
        super().__init__()
        self.attend = _Attention(width, heads)
        self.norm = nn.LayerNorm(width)
        self.forward_layer = _FeedForward(width, hidden or 2 * width)

    def forward(self, tokens: Tensor, seen: int | None = None) -> Tensor:
        """All tokens attend to the first ``seen`` (at least 1; default: all of them)."""
        normed = self.norm(tokens)
        tokens = tokens + self.attend(normed, normed if seen is None else normed[:, :seen])
        out: Tensor = tokens + self.forward_layer(tokens)
        return out


class CrossAttention(nn.Module):
    """Tokens attend to a memory, then a feed-forward layer; both residual, both pre-norm.

    Invariant under permutations of the memory, which may be empty: every token may also attend
    to nothing (a key and a value of zero).
    """

    def __init__(self, width: int, heads: int, hidden: int | None = None) -> None:
        super().__init__()
        self.attend = _Attention(width, heads, nothing=True)
        self.norm = nn.LayerNorm(width)
        self.memory_norm = nn.LayerNorm(width)
        self.forward_layer = _FeedForward(width, hidden or 2 * width)

    def forward(self, tokens: Tensor, memory: Tensor, there: Tensor | None = None) -> Tensor:
        """``there`` (batch, memory), bool: which of the memory exist; default all."""
        tokens = tokens + self.attend(self.norm(tokens), self.memory_norm(memory), there)
        out: Tensor = tokens + self.forward_layer(tokens)
        return out


class _Attention(nn.Module):
    """Multi-head scaled dot-product attention."""

    def __init__(self, width: int, heads: int, nothing: bool = False) -> None:
        super().__init__()
        if width % heads:
            raise PonderError(f"a width of {width} does not split into {heads} heads; change one")
        self.heads = heads
        self.nothing = nothing
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def forward(self, tokens: Tensor, memory: Tensor, there: Tensor | None = None) -> Tensor:
        query = self._split(self.query(tokens))
        key, value = (self._split(part) for part in self.key_value(memory).chunk(2, dim=-1))
        if self.nothing:
            key, value = (functional.pad(part, (0, 0, 0, 1)) for part in (key, value))
        mask = None
        if there is not None:
            open_ = functional.pad(there, (0, 1), value=True) if self.nothing else there
            mask = open_[:, None, None, :]
        found = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        out: Tensor = self.out(found.transpose(1, 2).flatten(2))
        return out

    def _split(self, x: Tensor) -> Tensor:
        """(batch, tokens, width) to (batch, heads, tokens, width / heads)."""
        batch, tokens, width = x.shape
        return x.view(batch, tokens, self.heads, width // self.heads).transpose(1, 2)


class _FeedForward(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.inner = nn.Linear(width, hidden)
        self.outer = nn.Linear(hidden, width)

    def forward(self, tokens: Tensor) -> Tensor:
        out: Tensor = self.outer(functional.gelu(self.inner(self.norm(tokens))))
        return out


def parameters_of(network: nn.Module) -> int:
    """How many numbers are trained."""
    return sum(p.numel() for p in network.parameters())
