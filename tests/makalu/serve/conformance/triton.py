# SPDX-License-Identifier: Apache-2.0
"""The suite's models on NVIDIA's Triton Inference Server, by PyTriton.

Needs ``nvidia-pytriton`` in an environment of its own (its wheel has a server of glibc's and of
Debian's Python 3.11), and nothing of this project but this folder::

    python3.11 -m venv V && V/bin/pip install nvidia-pytriton
    V/bin/python tests/makalu/serve/conformance/triton.py 18000 18001
    MAKALU_V2="127.0.0.1:18000 127.0.0.1:18001" pytest tests/makalu/serve/conformance
"""

import sys

import numpy as np
from arithmetic import ACCESS, INPUTS, OUTPUTS, TYPES, WIDTH, arithmetic
from pytriton.decorators import batch
from pytriton.model_config import ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig, TritonSecurityConfig


@batch
def answer(**inputs: np.ndarray) -> dict[str, np.ndarray]:
    """A batch of a model."""
    return arithmetic(**inputs)


def main(http: int, grpc: int) -> None:
    """Serve until the process is told to stop."""
    config = TritonConfig(http_port=http, grpc_port=grpc, http_address="127.0.0.1",
                          grpc_address="127.0.0.1", allow_metrics=False)
    security = TritonSecurityConfig(access_token=ACCESS)
    with Triton(config=config, security_config=security) as server:
        for name, dtype in TYPES.items():
            server.bind(
                name, answer, config=ModelConfig(max_batch_size=4),
                inputs=[Tensor(name=n, dtype=dtype, shape=(WIDTH,)) for n in INPUTS],
                outputs=[Tensor(name=n, dtype=dtype, shape=(WIDTH,)) for n in OUTPUTS])
        server.serve()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
