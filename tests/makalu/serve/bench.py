# SPDX-License-Identifier: Apache-2.0
"""Services on real device processes, and models whose answers tell who gave them."""

import asyncio

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from makalu.serve.accelerator import Hardware
from makalu.serve.requests import Request, ServeError
from makalu.serve.service import Service

GOLDEN = Hardware("a", "golden", "tiny")


def network(scale):
    """int8 [N, 16] times a weight, the same for every channel: its answers tell who gave them."""
    nodes = [helper.make_node("DequantizeLinear", ["x", "s", "z"], ["xf"]),
             helper.make_node("DequantizeLinear", ["w", "s", "z"], ["wf"]),
             helper.make_node("MatMul", ["xf", "wf"], ["yf"]),
             helper.make_node("QuantizeLinear", ["yf", "s", "z"], ["y"])]
    weights = [numpy_helper.from_array(v, name) for name, v in (
        ("s", np.float32(1)), ("z", np.int8(0)), ("w", (scale * np.eye(16)).astype(np.int8)))]
    x, y = (helper.make_tensor_value_info(n, TensorProto.INT8, ["n", 16]) for n in "xy")
    graph = helper.make_graph(nodes, "net", [x], [y], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def served(folder, test, hardware=(GOLDEN,), **options):
    """Run a test in a service, which is closed whatever happens."""
    async def run():
        service = Service(folder, hardware, **options)
        try:
            await service.start()
            await test(service, service.tenants.all[0])
        finally:
            await service.close()
    asyncio.run(run())


def ask(service, me, name, value, rows=1, **more):
    x = np.full((rows, 16), value, np.int8)
    return service.infer(me, Request(name, {"x": x}, **more))


BASE = 40
"""Digits of a numbered request; three times the largest is still int8."""


def numbered(k):
    """An input that no other request has: the number in four digits, and the rest of it."""
    return np.int8([[k // BASE**i % BASE for i in range(4)] + [k % (BASE - i) for i in range(12)]])


async def until(so, seconds=60.0):
    async with asyncio.timeout(seconds):
        while not so():
            await asyncio.sleep(0.001)


def failing(failure, words):
    return pytest.raises(ServeError, match=words, check=lambda e: e.failure is failure)
