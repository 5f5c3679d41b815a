# SPDX-License-Identifier: Apache-2.0
"""The signature of an instruction: 32 bits over everything that it wrote.

It is the sum modulo 2**32, over the 4-byte chunks written, of ``mix(at, value)``, so that the order
of the writes does not matter. ``at`` is the chunk's byte address / 4, in the scratchpad for what
engines compute and load, in DRAM for what is stored; ``value`` is the chunk, little-endian::

    x   = (value ^ ((at + 1) * ADDRESS)) * VALUE
    mix = x ^ (x >> 16)

each product modulo 2**32. Both steps are bijections of ``value``, so one wrong chunk always shows.
The golden model and the traced RTL compute it independently.
"""

CHUNK = 4
"""Bytes of a chunk."""

BITS = 32
ADDRESS = 0x9E3779B1
VALUE = 0x85EBCA6B
FOLD = 16
"""Constants of the formula above: odd numbers with well mixed bits."""
