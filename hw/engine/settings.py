# SPDX-License-Identifier: Apache-2.0
"""What the host sets before a program starts, as the control registers hand it to the blocks."""

from amaranth.hdl import unsigned
from amaranth.lib import data

from isa.instructions import Region

REGION = data.StructLayout({"base": unsigned(64), "size": unsigned(64)})
"""A DRAM region: first byte and bytes, both multiples of :data:`isa.instructions.REGION_ALIGN`."""

REGIONS = data.ArrayLayout(REGION, len(Region))

SETTINGS = data.StructLayout({"regions": REGIONS, "program": unsigned(32),
                              "watchdog": unsigned(32)})
"""``program``: byte offset of the first instruction; ``watchdog``: cycles, 0 for never."""
