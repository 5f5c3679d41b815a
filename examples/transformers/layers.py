# SPDX-License-Identifier: Apache-2.0
"""A transformer in PyTorch, as small as it can be: pre-norm blocks of attention and a perceptron.

Attention takes the keys and values of earlier tokens and gives those with its own tokens behind
them, which is how exporters write a cache.
"""

import torch
from torch import nn
from torch.nn import functional

Cache = tuple[torch.Tensor, torch.Tensor]
"""Keys and values, each [batch, heads, tokens, width of a head]."""


class Attention(nn.Module):
    """Of ``heads`` heads over a model of ``width`` numbers a token."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None, past: Cache | None
                ) -> tuple[torch.Tensor, Cache]:
        """``x`` [batch, tokens, width]; ``mask`` is added to the scores."""
        batch, tokens, width = x.shape
        query, key, value = (
            layer(x).view(batch, tokens, self.heads, width // self.heads).transpose(1, 2)
            for layer in (self.query, self.key, self.value))
        if past is not None:
            key, value = (torch.cat(pair, dim=2) for pair in zip(past, (key, value)))
        scores = query @ key.transpose(2, 3) * (width // self.heads) ** -0.5
        if mask is not None:
            scores = scores + mask
        mixed = scores.softmax(dim=-1) @ value
        return self.out(mixed.transpose(1, 2).reshape(batch, tokens, width)), (key, value)


class Block(nn.Module):
    """Attention and a perceptron of four times the width, each beside an identity."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None = None,
                past: Cache | None = None) -> tuple[torch.Tensor, Cache]:
        """``x`` [batch, tokens, width], and the cache."""
        mixed, cache = self.attention(self.norm1(x), mask, past)
        x = x + mixed
        return x + self.down(functional.gelu(self.up(self.norm2(x)))), cache


def rounded(module: nn.Module) -> None:
    """Every weight to the nearest number that binary16 has, as the shipped file holds it."""
    with torch.no_grad():
        for weight in module.parameters():
            weight.copy_(weight.half().float())
