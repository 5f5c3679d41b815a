# SPDX-License-Identifier: Apache-2.0
"""Pipeline registers."""

from amaranth.hdl import Module, Shape, Signal, Value
from amaranth.lib import data


def register(m: Module, name: str, value: Value, shape: Shape | None = None) -> Signal:
    """``value``, a cycle later."""
    kept = Signal(value.shape() if shape is None else shape, name=name, reset_less=True)
    m.d.sync += kept.eq(value)
    return kept


def cut(m: Module, name: str, *values: Value) -> list[Value]:
    """Several values, a cycle later: the end of a pipeline stage."""
    return [register(m, f"{name}_{k}", value) for k, value in enumerate(values)]


def delay(m: Module, value: Value, cycles: int, name: str) -> Value:
    """``value`` some cycles later."""
    for k in range(cycles):
        value = register(m, f"{name}_{k}", value)
    return value


def later(m: Module, view: data.View, cycles: int, name: str) -> data.View:
    """A view some cycles later."""
    return data.View(view.shape(), delay(m, view.as_value(), cycles, name))
