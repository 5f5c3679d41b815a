# SPDX-License-Identifier: Apache-2.0
"""What a simulation sees of every instruction: the trace port of a core built with ``trace``.

It only looks: the machine does the same in the same cycles with and without it. Bit ``q`` of a
field stands for the queue at position ``q`` of :data:`isa.instructions.QUEUES`. Each queue is in
order, so that the bits alone say which instruction is meant, and instructions are dispatched in
program order.
"""

from amaranth.hdl import unsigned
from amaranth.lib import data

from isa.instructions import QUEUES

TRACE = data.StructLayout({
    "busy": 1, "dispatch": unsigned(len(QUEUES)), "start": unsigned(len(QUEUES)),
    "done": unsigned(len(QUEUES))})
"""``busy``: a program runs; ``dispatch``: an instruction enters its queue; ``start``: an engine
begins one, waits satisfied; ``done``: one is complete."""
