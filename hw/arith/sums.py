# SPDX-License-Identifier: Apache-2.0
"""Widths of the array's sums, and what a PSUM entry is made of."""

from amaranth.hdl import signed
from amaranth.lib import data

from hw.arith.align import FLAGS
from isa.config import Config

SUM_BITS = 96
"""Width of a sum in a machine with floating point: 2^15 products below 2^80, and the sign."""

SEGMENT_BITS = 32
"""Width of a part of a PSUM entry that is added in a cycle: INT8 has one, floating point three."""

UNIT_BITS = 10
"""Width of the exponent of a sum's lowest bit, signed: an anchor, or the unit of FP16."""


def entry_layout(config: Config) -> data.StructLayout:
    """A PSUM entry of a column: ``low``, INT32; with floating point two segments more, carries into
    them, and ``flags``."""
    if not config.floats:
        return data.StructLayout({"low": signed(SEGMENT_BITS)})
    return data.StructLayout({"low": SEGMENT_BITS, "middle": SEGMENT_BITS, "high": SEGMENT_BITS,
                              "to_middle": 1, "to_high": 1, "flags": FLAGS})
