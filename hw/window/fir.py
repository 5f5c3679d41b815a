# SPDX-License-Identifier: Apache-2.0
"""The running sums of a lane of the window engine, in transposed-FIR form.

An activation is an operand of every output whose kernel row covers it, so a lane adds its products
with ``window_taps`` weights to as many running sums in a cycle, and needs neither a window of
activations nor a line buffer. Running sum k belongs to the output k macro columns back; at the end
of a macro column all move up by one. The output that is complete is among those that the last step
changes, hence the sums need no selection among all of them.
"""

from collections.abc import Callable

from amaranth.hdl import Array, Module, Mux, Shape, Signal, Value
from amaranth.lib import data

from hw.arith.operand import OPERAND_BITS, type_shapes
from isa.config import Config
from isa.instructions import WINDOW_KERNEL

TAP_PRODUCT_BITS = 2 * OPERAND_BITS
TAP_SUM_BITS = TAP_PRODUCT_BITS - 1 + (WINDOW_KERNEL ** 2 - 1).bit_length()
"""A product of two operands has a magnitude of at most 2**(TAP_PRODUCT_BITS - 2)."""


def control_layout(config: Config) -> data.StructLayout:
    """What the groups do in a step; see :mod:`hw.window.read`. With floating point the type and,
    for BF16, what is added to the exponents of products."""
    return data.StructLayout({"g": range(WINDOW_KERNEL), "fresh": 1, "shift": 1, "max": 1,
                              "slot": 2, **type_shapes(config)})


def stages(config: Config) -> int:
    """Registered stages of a step, up to the one that changes the sums."""
    return 5 if config.floats else 3


def running_sums(m: Module, name: str, shape: Shape, start: Value | int,
                 result: Callable[[int, Value], Value], c: data.View, taps: int,
                 valid: Value) -> Value:
    """Add a step's products to the sums; the output that it completes, if it completes one.

    Parameters
    ----------
    start : Value or int
        What a sum of nothing is.
    result : function of (j, old)
        A sum with the product of weight j.
    c : control_layout
    valid : Value
        The sums change.
    """
    sums = [Signal(shape, name=f"{name}_{n}", reset_less=True) for n in range(WINDOW_KERNEL)]
    now = [Mux(c.fresh, start, s) for s in sums]
    results = []
    for j in range(taps):
        old, changed = (Signal(shape, name=f"{name}_{what}{j}") for what in ("old", "result"))
        m.d.comb += [old.eq(Array(now[j::taps])[c.g]), changed.eq(result(j, old))]
        results.append(changed)
    new = [Mux(c.g == n // taps, results[n % taps], now[n]) for n in range(WINDOW_KERNEL)]
    with m.If(valid):
        for n, s in enumerate(sums):
            m.d.sync += s.eq(Mux(c.shift, new[n - 1] if n else start, new[n]))
    return Array(results)[c.slot]
