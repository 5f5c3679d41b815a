# SPDX-License-Identifier: Apache-2.0
"""Prints a request of the Open Inference Protocol for one held-out digit, for ``make serve``."""

import json

from examples.digits import INPUT, held_out


def request() -> dict[str, object]:
    """The first digit, in JSON's types."""
    images, _ = held_out()
    return {"inputs": [{"name": INPUT, "datatype": "FP32", "shape": [1, *images.shape[1:]],
                        "data": images[0].ravel().tolist()}]}


if __name__ == "__main__":
    print(json.dumps(request()))
