# SPDX-License-Identifier: Apache-2.0
"""What orders on the golden model show of a gang's streams: a race, where two orders leave other
bits; a deadlock; signals that nobody awaits. It looks at nothing but what machines do, and so is an
argument of its own beside :mod:`gangs`."""

import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from golden.fault import MachineFault
from golden.gang import Choice, Gang, Ready
from isa.instructions import (EXCHANGE, GANG_QUEUES, QUEUE_OF, SIGNALS, Fault, Instruction, Opcode,
                              Region, assembled)
from isa.program import Program
from runtime.device import region_bytes

Streams = Sequence[Sequence[Instruction]]

Place = tuple[int, int]
"""Rank and position in its stream."""

DEADLOCK, SIGNAL = b"deadlock", b"signal"
"""Outcomes beside what is in region OUTPUT, which is longer."""


def late(is_late: Callable[[Ready], bool], chance: random.Random) -> Choice:
    """The order in which some wait until nothing else can start."""
    def choose(ready: Sequence[Ready]) -> Ready:
        return chance.choice([r for r in ready if not is_late(r)] or ready)
    return choose


def orders(ranks: int, suspects: Iterable[Place], chance: random.Random) -> Iterator[Choice | None]:
    """In turns; with each of the suspects as late as it can be, each rank and each of its queues;
    and at random."""
    yield None
    for place in suspects:
        yield late(lambda r, place=place: (r.rank, r.at) == place, chance)  # type: ignore[misc]
    for rank in range(ranks):
        yield late(lambda r, rank=rank: r.rank == rank, chance)             # type: ignore[misc]
        for queue in GANG_QUEUES:
            yield late(lambda r, of=(rank, queue): r[:2] == of, chance)     # type: ignore[misc]
    for _ in range(10):
        yield chance.choice


class Shown:
    """Runs of streams with the constants of a program.

    Parameters
    ----------
    program : Program
        Of a gang.
    inputs : uint8 array
        Region INPUT of all runs.
    streams : sequence of sequence of Instruction
        Of each rank, with END.
    gang : Gang, optional
        The machines; new ones unless given.
    """

    def __init__(self, program: Program, inputs: np.ndarray, streams: Streams,
                 gang: Gang | None = None):
        self._inputs, self._streams = inputs, streams
        self._gang = gang or Gang(program.config, program.ranks)
        self._sizes = {region: region_bytes(program, region) for region in Region}
        code = [assembled(stream) for stream in streams]
        self._starts = [len(program.image) + sum(map(len, code[:k])) for k in range(len(code))]
        self._image = program.image + b"".join(code)

    def outcome(self, choose: Choice | None) -> bytes:
        """Region OUTPUT behind a run, or the fault that ends it; or :data:`DEADLOCK`; or
        :data:`SIGNAL`, if a counter is not where the last AWAIT wants it."""
        for rank, machine in enumerate(self._gang.machines):
            machine.spm[:] = 37 * rank + 90     # and not what the run before has left
        try:
            found = self._gang.run(self._image, self._starts, self._inputs, self._sizes,
                                   choose=choose).tobytes()
        except MachineFault as e:
            return DEADLOCK if e.code == Fault.WATCHDOG else str(e).encode()
        return SIGNAL if self._left() else found

    def _left(self) -> bool:
        return any(machine.signals[counter] != max(
            (i.threshold for i in stream if i.opcode is Opcode.AWAIT and i.counter == counter),
            default=0)
            for machine, stream in zip(self._gang.machines, self._streams)
            for counter in range(SIGNALS))

    def wrong(self, suspects: Iterable[Place], chance: random.Random) -> str:
        """``deadlock``, ``signal`` or ``race``, if an order shows one; else nothing."""
        first = b""
        for choose in orders(len(self._streams), suspects, chance):
            found = self.outcome(choose)
            if found in (DEADLOCK, SIGNAL):
                return found.decode()
            if first and found != first:
                return "race"
            first = found
        return ""


def waited_for(streams: Streams, place: Place) -> list[Place]:
    """The instructions for which one waits: the last of each queue, and of each sender of
    signals."""
    rank, at = place
    i, found = streams[rank][at], list[Place]()
    for bit, queue in enumerate(GANG_QUEUES):
        count = getattr(i, f"wait_{queue}") if i.wait_mask >> bit & 1 else 0
        mine = [k for k, other in enumerate(streams[rank]) if QUEUE_OF.get(other.opcode) == queue]
        found += [(rank, k) for k in mine[count - 1:count] if count]
    if i.opcode is Opcode.AWAIT:
        for sender, stream in enumerate(streams):
            sent = [k for k, other in enumerate(stream)
                    if other.opcode in EXCHANGE[:2] and other.to >> rank & 1
                    and other.counter == i.counter
                    and (other.opcode is Opcode.SIGNAL or other.signal)][:i.threshold]
            found += [(sender, k) for k in sent[-1:]]
    return found


def behind(streams: Streams, places: Iterable[Place], depth: int) -> list[Place]:
    """Those, what they wait for, what that waits for, and so on: each once."""
    found, new = Counter[Place](), list(places)
    for _ in range(depth + 1):
        new = [p for p in dict.fromkeys(new) if p not in found]
        found.update(new)
        new = [p for place in new for p in waited_for(streams, place)]
    return list(found)
