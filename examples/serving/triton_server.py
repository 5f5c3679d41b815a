# SPDX-License-Identifier: Apache-2.0
"""The wide model on NVIDIA's Triton by PyTriton; needs nothing of this project."""

import sys

import numpy as np
from pytriton.decorators import batch
from pytriton.model_config import ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig


@batch
def relu(x: np.ndarray) -> dict[str, np.ndarray]:
    """The model."""
    return {"y": np.maximum(x, 0)}


def main(http: int, grpc: int) -> None:
    """Serve until the process is told to stop."""
    config = TritonConfig(http_port=http, grpc_port=grpc, http_address="127.0.0.1",
                          grpc_address="127.0.0.1", allow_metrics=False)
    with Triton(config=config) as server:
        tensor = {"dtype": np.float32, "shape": (3, 224, 224)}
        server.bind("wide", relu, config=ModelConfig(max_batch_size=1),
                    inputs=[Tensor(name="x", **tensor)], outputs=[Tensor(name="y", **tensor)])
        server.serve()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
