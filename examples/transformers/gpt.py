# SPDX-License-Identifier: Apache-2.0
"""A generator of text, a byte at a time, with a cache: 3 blocks of width 96, 3 heads of 32."""

import torch
from torch import nn

from examples.transformers.layers import Block, Cache

TOKENS, CONTEXT, WIDTH, HEADS, BLOCKS = 128, 256, 96, 3, 3
"""Bytes of ASCII; positions; the model's size."""

MASKED = -1e4
"""What is added to a score that does not count; binary16 has it."""


class Generator(nn.Module):
    """Logits of the next byte."""

    def __init__(self) -> None:
        super().__init__()
        self.token, self.position = nn.Embedding(TOKENS, WIDTH), nn.Embedding(CONTEXT, WIDTH)
        self.blocks = nn.ModuleList(Block(WIDTH, HEADS) for _ in range(BLOCKS))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, TOKENS)
        for weight in (self.token.weight, self.position.weight):
            nn.init.normal_(weight, std=0.02)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor,
                position_ids: torch.Tensor, past: list[Cache]
                ) -> tuple[torch.Tensor, list[Cache]]:
        """Logits [batch, tokens, TOKENS] and the cache with these tokens behind.

        Parameters
        ----------
        input_ids, position_ids : int64 [batch, tokens]
        attention_mask : int64 [batch, past + tokens]
            0: a token that does not count.
        past : list of Cache
            One a block.
        """
        x = self.token(input_ids) + self.position(position_ids)
        tokens, total = input_ids.shape[1], attention_mask.shape[1]
        seen = torch.ones(tokens, total, dtype=torch.int64).tril(total - tokens)
        mask = (1.0 - (attention_mask[:, None, None, :] * seen).float()) * MASKED
        present = []
        for block, cache in zip(self.blocks, past):
            x, now = block(x, mask, cache)
            present.append(now)
        return self.head(self.norm(x)), present


def empty(batch: int = 1, tokens: int = 0) -> list[Cache]:
    """A cache of zeros."""
    shape = (batch, HEADS, tokens, WIDTH // HEADS)
    return [(torch.zeros(shape), torch.zeros(shape)) for _ in range(BLOCKS)]
