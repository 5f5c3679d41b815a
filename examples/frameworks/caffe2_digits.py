# SPDX-License-Identifier: Apache-2.0
"""Caffe2: the network of :mod:`examples.frameworks.torch_digits` as a ``predict_net`` and an
``init_net``. Caffe2 runs on no Python of today, so PyTorch's answers of the same weights stand for
it; the tests hold each operator to Caffe2's own.
"""

from pathlib import Path
from typing import Any

import numpy as np

from compiler.source.imports.caffe2.schema import NetDef
from examples.digits import split
from examples.frameworks.torch_digits import CALIBRATION, trained
from examples.frameworks.trial import Trial

LAYERS = (("Conv", "data", "c0", ("c0_w", "c0_b"), {"kernel": 3, "pad": 1}),
          ("Relu", "c0", "c0", (), {}),
          ("MaxPool", "c0", "p0", (), {"kernel": 2, "stride": 2}),
          ("Conv", "p0", "c1", ("c1_w", "c1_b"), {"kernel": 3, "pad": 1, "group": 16}),
          ("Conv", "c1", "c2", ("c2_w", "c2_b"), {"kernel": 1}),
          ("SpatialBN", "c2", "n", ("n_s", "n_b", "n_m", "n_v"), {"is_test": 1, "epsilon": 1e-5}),
          ("Relu", "n", "n", (), {}),
          ("MaxPool", "n", "p1", (), {"kernel": 2, "stride": 2}),
          ("FC", "p1", "logits", ("f_w", "f_b"), {}))
"""Operator, input, output, weights, arguments."""

WEIGHTS = {"c0_w": "0.weight", "c0_b": "0.bias", "c1_w": "3.weight", "c1_b": "3.bias",
           "c2_w": "4.weight", "c2_b": "4.bias", "n_s": "5.weight", "n_b": "5.bias",
           "n_m": "5.running_mean", "n_v": "5.running_var", "f_w": "9.weight", "f_b": "9.bias"}
"""Blobs, and what PyTorch calls them."""


PICTURE = (1, 16, 16)
"""Channels, height and width of the input."""


def _add(net: Any, kind: str, inputs: list[str], output: str, arguments: dict[str, Any]) -> None:
    op = net.op.add(type=kind, input=inputs, output=[output])
    for name, value in arguments.items():
        if isinstance(value, np.ndarray):
            op.arg.add(name=name, floats=value.ravel().tolist())
        elif isinstance(value, tuple):
            op.arg.add(name=name, ints=value)
        elif isinstance(value, float):
            op.arg.add(name=name, f=value)
        else:
            op.arg.add(name=name, i=value)


def write(weights: dict[str, np.ndarray], folder: Path) -> Path:
    """``predict_net.pb`` and ``init_net.pb`` in a folder."""
    predict, init = NetDef(name="digits"), NetDef(name="init")
    for kind, given, output, blobs, arguments in LAYERS:
        _add(predict, kind, [given, *blobs], output, arguments)
    _add(init, "ConstantFill", [], "data", {"shape": (1, *PICTURE)})
    for blob, name in WEIGHTS.items():
        value = weights[name]
        _add(init, "GivenTensorFill", [], blob, {"shape": value.shape, "values": value})
    predict.external_input.extend(["data", *WEIGHTS])
    predict.external_output.append("logits")
    folder.mkdir(exist_ok=True)
    for name, net in (("predict_net.pb", predict), ("init_net.pb", init)):
        (folder / name).write_bytes(net.SerializeToString())
    return folder


def trials(folder: Path) -> list[Trial]:
    """Write the net, and ask PyTorch for its answers."""
    import torch

    net = trained()
    train, _, test, wanted = split()
    with torch.no_grad():
        answers = net(torch.from_numpy(test)).numpy()
    path = write({k: v.numpy() for k, v in net.state_dict().items()}, folder / "caffe2")
    return [Trial("Caffe2", "predict_net.pb", path, test, wanted, answers, "PyTorch",
                  train[:CALIBRATION])]


if __name__ == "__main__":
    from examples.frameworks.page import report
    report([trials])
