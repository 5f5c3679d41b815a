# SPDX-License-Identifier: Apache-2.0
"""A vision transformer for the digits: 16 patches of 4 x 4, 2 blocks of width 64, 4 heads of 16."""

import torch
from torch import nn

from examples.transformers.layers import Block

SIZE, PATCH, WIDTH, HEADS, BLOCKS, CLASSES = 16, 4, 64, 4, 2, 10


class Classifier(nn.Module):
    """Logits of the ten digits."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, WIDTH, PATCH, PATCH)
        self.position = nn.Parameter(torch.randn((SIZE // PATCH) ** 2, WIDTH) * 0.02)
        self.blocks = nn.ModuleList(Block(WIDTH, HEADS) for _ in range(BLOCKS))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, CLASSES)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits [batch, CLASSES] of float32 [batch, 1, SIZE, SIZE]."""
        x = self.patches(image).flatten(2).transpose(1, 2) + self.position
        for block in self.blocks:
            x, _ = block(x)
        return self.head(self.norm(x).mean(dim=1))
