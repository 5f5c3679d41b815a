# SPDX-License-Identifier: Apache-2.0
"""PyTorch: the digits, trained in seconds and exported; and the same through ``torch.compile``.

Needs ``makalu[torch]``. Alone, ``python -m examples.frameworks.torch_digits`` prints what the
machine makes of it.
"""

import functools
from pathlib import Path
from typing import Any

from examples.digits import split
from examples.frameworks.trial import CONFIGS, Trial

EPOCHS, CALIBRATION, BATCH = 12, 128, 8


@functools.cache
def trained() -> Any:
    """A small network that knows the digits, in evaluation mode."""
    import torch
    from torch import nn

    torch.manual_seed(1)
    train, labels, _, _ = map(torch.from_numpy, split())
    net = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 16, 3, padding=1, groups=16), nn.Conv2d(16, 32, 1), nn.BatchNorm2d(32),
        nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(512, 10))
    adam = torch.optim.Adam(net.parameters(), 3e-3)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(train)).split(16):
            adam.zero_grad()
            nn.functional.cross_entropy(net(train[batch]), labels[batch]).backward()
            adam.step()
    return net.eval()


def trials(folder: Path) -> list[Trial]:
    """Train, export into ``folder``, and ask PyTorch for its answers."""
    import torch

    net = trained()
    train, _, test, wanted = split()
    image = torch.from_numpy(test[:1])
    torch.export.save(torch.export.export(net, (image,)), folder / "digits.pt2")
    with torch.no_grad():
        answers = net(torch.from_numpy(test)).numpy()
    return [Trial("PyTorch", "digits.pt2", folder / "digits.pt2", test, wanted, answers, "PyTorch",
                  train[:CALIBRATION])]


def compiled_agrees() -> tuple[int, int]:
    """Digits that ``torch.compile(net, backend="makalu")`` puts where ``net`` does, and all."""
    import torch

    net = trained()
    train, _, test, _ = map(torch.from_numpy, split())
    quick = torch.compile(net, backend="makalu", options={
        "config": CONFIGS["int8"], "precision": "int8",
        "calibration": [(x[None],) for x in train[:CALIBRATION]]})
    with torch.no_grad():
        found = torch.cat([quick(x) for x in test.split(BATCH)])
        same = found.argmax(1) == net(test).argmax(1)
    return int(same.sum()), len(test)


if __name__ == "__main__":
    from examples.frameworks.page import report
    report([trials])
    print("torch.compile: {} of {} digits as PyTorch".format(*compiled_agrees()))
