# SPDX-License-Identifier: Apache-2.0
"""Products of floats in the fixed-point window of :mod:`golden.exact`."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data

from hw.engine.ports import view_of
from isa.config import Config
from isa.numerics import PRODUCT_SHIFT_MAX

ALIGNED_BITS = 81
"""Width of an aligned product."""

FLAGS = data.StructLayout({"nan": 1, "positive": 1, "negative": 1, "overflow": 1})
"""What other than finite values is in a sum: NaN, infinities of either sign; and overflows."""


def align(m: Module, name: str, a: data.View, w: data.View, product: Value, config: Config
          ) -> tuple[Signal, data.View]:
    """A product in fixed point, and what it is other than finite.

    Parameters
    ----------
    a, w : PAIR
        Activation and weight (:data:`hw.arith.operand.PAIR`).
    product : Value
        Of their significands, a cycle after them. The result comes a cycle after that.
    """
    shift = Signal(signed(len(a.shift) + 1), name=f"shift{name}", reset_less=True)
    nan = ((a.nan | (a.inf & w.zero)) & ~w.absent) | w.nan | (a.zero & w.inf)
    kind = Signal(3, name=f"kind{name}", reset_less=True)
    m.d.sync += [shift.eq(a.shift + w.shift),
                 kind.eq(Cat(nan, ((a.inf & ~w.absent) | w.inf) & ~nan, a.negative ^ w.negative))]
    aligned = Signal(signed(ALIGNED_BITS), name=f"aligned{name}", reset_less=True)
    flag = view_of(FLAGS, name=f"flag{name}", reset_less=True)
    beyond = Signal(name=f"beyond{name}")
    left = Signal(range(PRODUCT_SHIFT_MAX + 1), name=f"left{name}")
    kept: Value = product
    m.d.comb += left.eq(shift)
    if "bf16" in config.dtypes:
        # magnitudes lose what is below the window, and none has more than 16 bits
        right = Signal(range(18), name=f"right{name}")
        whole = Signal(signed(len(product)), name=f"whole{name}")
        m.d.comb += [beyond.eq((shift > PRODUCT_SHIFT_MAX) & (product != 0)),
                     right.eq(Mux(shift < -16, 17, (-shift)[:5])),
                     left.eq(Mux((shift < 0) | beyond, 0, shift[:7])),
                     whole.eq((product + Mux(product < 0, ((1 << right) - 1)[:17], 0)) >> right)]
        kept = Mux(beyond, 0, Mux(shift < 0, whole, product))
    m.d.sync += [
        aligned.eq(kept.as_signed() << left), flag.nan.eq(kind[0]), flag.overflow.eq(beyond),
        flag.positive.eq((kind[1] & ~kind[2]) | (beyond & ~product[-1])),
        flag.negative.eq((kind[1] & kind[2]) | (beyond & product[-1]))]
    return aligned, flag
