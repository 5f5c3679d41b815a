# SPDX-License-Identifier: Apache-2.0
"""Train the generator of text on Python's own manual, and write the file that this folder ships.

    python -m examples.transformers.train_gpt      (makalu[torch])

The text is what ``help("topics")`` shows, the standard library's ``pydoc_data.topics``; some ten
minutes on one core.
"""

import math
import sys
from pydoc_data.topics import topics

import torch
from torch.nn import functional

from examples.transformers import TEXT
from examples.transformers.export import export_generator
from examples.transformers.gpt import CONTEXT, Generator, empty
from examples.transformers.layers import rounded

SEED, STEPS, BATCH, RATE, DECAY, WARM = 5, 2000, 24, 3e-3, 0.1, 100
HELD_OUT = 0.05


def text() -> torch.Tensor:
    """The manual's ASCII characters as token numbers."""
    joined = "\n\n".join(topics[name].strip() for name in sorted(topics))
    return torch.tensor([ord(c) for c in joined if ord(c) < 128])


def loss_of(model: Generator, rows: torch.Tensor) -> torch.Tensor:
    """Mean cross entropy of ``rows`` [batch, tokens + 1], in nats a byte."""
    given, wanted = rows[:, :-1], rows[:, 1:]
    positions = torch.arange(given.shape[1]).expand_as(given)
    logits, _ = model(given, torch.ones_like(given), positions, empty(len(rows)))
    return functional.cross_entropy(logits.flatten(0, 1), wanted.flatten())


def train(data: torch.Tensor, steps: int = STEPS) -> Generator:
    """A trained model."""
    torch.manual_seed(SEED)
    model = Generator()
    cut = int(len(data) * (1 - HELD_OUT))
    windows, held = data[:cut].unfold(0, CONTEXT + 1, 1), data[cut:].unfold(0, CONTEXT + 1, CONTEXT)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.99),
                                  weight_decay=DECAY)
    for step in range(steps):
        rate = min(step / WARM, 0.5 * (1 + math.cos(math.pi * step / steps)))
        optimizer.param_groups[0]["lr"] = RATE * max(rate, 0.02)
        loss = loss_of(model, windows[torch.randint(len(windows), (BATCH,))])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 100 == 99:
            print(f"step {step + 1}: loss {loss.item():.3f}", flush=True)
    rounded(model)
    with torch.no_grad():
        print(f"held out: {loss_of(model, held).item():.3f} nats a byte", flush=True)
    return model


def main() -> None:
    torch.set_num_threads(1)
    model = train(text(), int(sys.argv[1]) if len(sys.argv) > 1 else STEPS)
    export_generator(model, TEXT)
    print(f"{TEXT.name}: {TEXT.stat().st_size / 1024:.0f} KB")


if __name__ == "__main__":
    main()
