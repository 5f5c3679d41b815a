# SPDX-License-Identifier: Apache-2.0
"""Train the vision transformer on scikit-learn's digits, and write the file that this folder ships.

    python -m examples.transformers.train_vit      (makalu[torch])
"""

import math

import torch
from torch.nn import functional

from examples.digits import split
from examples.transformers import PICTURES
from examples.transformers.export import export_images
from examples.transformers.layers import rounded
from examples.transformers.vit import SIZE, Classifier

SEED, EPOCHS, BATCH, RATE, DECAY = 3, 160, 64, 2e-3, 0.05


def shifted(images: torch.Tensor) -> torch.Tensor:
    """All pictures moved by up to a pixel in each direction, each batch otherwise."""
    padded = functional.pad(images, (1, 1, 1, 1))
    y, x = (int(v) for v in torch.randint(3, (2,)))
    return padded[:, :, y:y + SIZE, x:x + SIZE]


def train(images: torch.Tensor, labels: torch.Tensor) -> Classifier:
    """A trained model."""
    torch.manual_seed(SEED)
    model = Classifier()
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=DECAY)
    steps = EPOCHS * (len(labels) // BATCH)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = RATE * 0.5 * (1 + math.cos(math.pi * step / steps))
        pick = torch.randint(len(labels), (BATCH,))
        loss = functional.cross_entropy(model(shifted(images[pick])), labels[pick])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 200 == 199:
            print(f"step {step + 1}: loss {loss.item():.4f}", flush=True)
    rounded(model)
    return model


def main() -> None:
    torch.set_num_threads(1)
    images, labels, test_images, test_labels = (torch.from_numpy(a) for a in split())
    model = train(images, labels)
    with torch.no_grad():
        right = (model(test_images).argmax(dim=1) == test_labels).float().mean().item()
    print(f"{right:.2%} of {len(test_labels)} test images")
    export_images(model, PICTURES, (1, SIZE, SIZE))
    print(f"{PICTURES.name}: {PICTURES.stat().st_size / 1024:.0f} KB")


if __name__ == "__main__":
    main()
