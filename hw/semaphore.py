# SPDX-License-Identifier: Apache-2.0
"""Waiting for other queues: thresholds on their completion counters.

An instruction names, for each queue of its ``wait_mask``, how many instructions of that queue have
to be complete before it starts. Counters and thresholds are 16 bits and compared modulo 2**16, so
the top bit of ``completed - wait`` is all that is looked at: no read-modify-write semaphore,
nothing to initialize, and any number of instructions may wait for the same event.

``done`` in cycle t raises the counter in t + 1, and the waiting instruction leaves its queue in
that same cycle t + 1.
"""

from collections.abc import Collection

from amaranth.hdl import Cat, Const, Elaboratable, Module, Mux, Signal, Value, ValueLike
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.ports import COMPLETED, instruction_layout
from isa.instructions import QUEUES, WAIT_BITS, Opcode


def blocked(instr: data.View, completed: data.View,
            only: Collection[str] | None = None) -> Value:
    """A bit for each queue: ``instr`` (a view of an ``instruction_layout``) still waits for it,
    as the counters ``completed`` (a view of ``COMPLETED``) tell. ``only`` names the queues to look
    at, all of them when it is None.

    Raises
    ------
    ValueError
        If ``only`` names something that is not a queue.
    """
    chosen = QUEUES if only is None else tuple(only)
    unknown = [q for q in chosen if q not in QUEUES]
    if unknown:
        raise ValueError(f"no queue {', '.join(map(repr, unknown))}: a queue is one of "
                         f"{', '.join(QUEUES)}")
    bits: list[ValueLike] = []
    for k, queue in enumerate(QUEUES):
        behind = (completed[queue] - instr[f"wait_{queue}"])[WAIT_BITS - 1]
        bits.append(instr["wait_mask"][k] & behind if queue in chosen else Const(0, 1))
    return Cat(*bits)


def satisfied(instr: data.View, completed: data.View,
              only: Collection[str] | None = None) -> Value:
    """One bit: ``instr`` waits for no queue any more; see :func:`blocked`."""
    return ~blocked(instr, completed, only).any()


class WaitGate(wiring.Component):
    """Lets the head of a queue through once its waits are satisfied; no latency.

    Parameters
    ----------
    opcode : Opcode
        Whose instructions pass.

    Members
    -------
    i, o : stream of ``instruction_layout(opcode)``
    completed : COMPLETED
    blocked : a bit for each queue
        What the head of the queue waits for; 0 where the queue is empty.
    """

    i: stream.Interface
    o: stream.Interface
    completed: data.View
    blocked: Signal

    def __init__(self, opcode: Opcode):
        payload = stream.Signature(instruction_layout(opcode))
        super().__init__({"i": In(payload), "o": Out(payload), "completed": In(COMPLETED),
                          "blocked": Out(len(QUEUES))})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        waits, free = blocked(self.i.payload, self.completed), Signal()
        m.d.comb += [
            free.eq(~waits.any()), self.blocked.eq(Mux(self.i.valid, waits, 0)),
            self.o.payload.eq(self.i.payload),
            self.o.valid.eq(self.i.valid & free),
            self.i.ready.eq(self.o.ready & free),
        ]
        return m
