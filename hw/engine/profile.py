# SPDX-License-Identifier: Apache-2.0
"""Where an engine's cycles go: every cycle falls in exactly one bucket.

::

    events of the engine ─────────────────────► active, wait_data, …     (one at most)
    none of them: what it is blocked by ──────► wait_load, wait_tensor … (the first queue)
    none of those: an instruction is there ───► overhead
                   no instruction ────────────► idle

The buckets and their counters are data, :data:`isa.registers.BUCKETS`. An engine that raises two
events in a cycle breaks the rule, which an assertion watches over.
"""

from amaranth.hdl import Assert, Cat, Elaboratable, Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from isa.instructions import QUEUES
from isa.registers import BUCKETS, EVENTS, GANG_WAITS


def events_layout(queue: str) -> data.StructLayout:
    """The events of a queue's engine, a bit each: those buckets that only it can tell."""
    return data.StructLayout({name: 1 for name in BUCKETS[queue] if name in EVENTS})


def bucket_layout(queue: str, queues: tuple[str, ...] = QUEUES) -> data.StructLayout:
    """The buckets of a queue's engine, a bit each, in a machine with such queues."""
    return data.StructLayout({name: 1 for name in BUCKETS[queue]
                              if name not in GANG_WAITS or queues != QUEUES})


class Buckets(wiring.Component):
    """Puts each cycle of one engine in its bucket.

    Parameters
    ----------
    queue : str
        Whose engine.
    queues : tuple of str
        All that the machine has, :func:`isa.instructions.queues_of` it.

    Members
    -------
    events : In(events_layout(queue))
    blocked : In
        A bit for each queue that the engine's next instruction waits for.
    present : In(1)
        The engine has an instruction, or one is about to enter it.
    bucket : Out(bucket_layout(queue, queues))
        Exactly one bit is set.
    """

    events: data.View
    blocked: Signal
    present: Signal
    bucket: data.View

    def __init__(self, queue: str, queues: tuple[str, ...] = QUEUES):
        self._events, self._queues = events_layout(queue), queues
        super().__init__({"events": In(self._events), "blocked": In(len(queues)),
                          "present": In(1), "bucket": Out(bucket_layout(queue, queues))})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        m.d.comb += [self.bucket[name].eq(self.events[name]) for name, _ in self._events]
        with m.If(~self.events.as_value().any()):
            with m.If(self.blocked[0]):
                m.d.comb += self.bucket[f"wait_{self._queues[0]}"].eq(1)
            for k, queue in enumerate(self._queues[1:], start=1):
                with m.Elif(self.blocked[k]):
                    m.d.comb += self.bucket[f"wait_{queue}"].eq(1)
            with m.Elif(self.present):
                m.d.comb += self.bucket.overhead.eq(1)
            with m.Else():
                m.d.comb += self.bucket.idle.eq(1)
        chosen = self.bucket.as_value()
        seen = Signal(range(len(chosen) + 1))
        m.d.comb += seen.eq(sum(chosen[1:], Cat(chosen[0])))
        m.d.sync += Assert(seen == 1, "a cycle of an engine is not in exactly one bucket")
        return m
