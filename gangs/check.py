# SPDX-License-Identifier: Apache-2.0
"""The check of a gang's streams.

Two accesses to a word of which one writes have to be ordered: one is complete before the other
starts, by what that knows (:mod:`gangs.clocks`). Accesses are looked at in the order of one
execution; for each word the last access of each queue is kept, which has all before it in that
queue behind it. Words that one core sends another one arrive there in order.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gangs.clocks import AWAIT, LOAD, SEND, Event, Gang, Stuck, receivers
from gangs.touched import touched
from isa.config import Config
from isa.instructions import (EXCHANGE, GANG_QUEUES, KEPT, SIGNALS, SIGNAL_BITS, Instruction,
                              Opcode, Region)

STORE = GANG_QUEUES.index("store")


@dataclass(frozen=True)
class Finding:
    """What is wrong: ``kind`` is ``race``, ``deadlock``, ``signal`` or ``range``; at an instruction
    of a rank, and in words."""

    kind: str
    rank: int
    index: int
    text: str


class _Space:
    """A memory: of each word the number of its last reader and of its last writer in each of the
    ``places`` of a clock that may touch it."""

    def __init__(self, name: str, words: int, places: list[int]):
        self.name, self.words, self._places = name, words, np.array(places)
        self._column = {place: k for k, place in enumerate(places)}
        self._last = {writes: np.zeros((words, len(places)), np.int32)
                      for writes in (False, True)}

    def access(self, at: np.ndarray, place: int, number: int, known: np.ndarray, writes: bool,
               in_order: bool = False) -> tuple[int, int, int] | None:
        """An access to words that knows so much; the first word, place and number of an access that
        it conflicts with, if there is one: none of its own instruction's. ``in_order``: none of the
        same place."""
        column = self._column[place]
        found = None
        for kind in (True, False)[:1 + writes]:
            last = self._last[kind][at]
            late = last > known[self._places]
            late[:, column] &= (last[:, column] != number) & (not in_order)
            if found is None and late.any():
                row, which = np.argwhere(late)[0]
                found = (int(at[row]), int(self._places[which]),
                         int(self._last[kind][at[row], which]))
        self._last[writes][at, column] = number
        return found


class _Races:
    """All accesses of a gang, one after another."""

    def __init__(self, gang: Gang, config: Config, sizes: Mapping[Region, int]):
        self.gang, self.config = gang, config
        ranks = range(gang.ranks)
        self._spms = [_Space(
            f"scratchpad of rank {rank}", config.spm_words,
            [*(gang.completed(rank, q) for q in range(len(GANG_QUEUES)) if q not in (SEND, AWAIT)),
             gang.left(rank), *(gang.arrived(sender, rank) for sender in ranks)])
            for rank in ranks]
        dram = [gang.completed(rank, q) for rank in ranks for q in (LOAD, STORE)]
        self._dram = {region: _Space(f"region {region.name}", sizes[region] // config.word_bytes,
                                     dram) for region in sizes}
        self.findings: list[Finding] = []

    def event(self, e: Event) -> None:
        """The accesses of an instruction."""
        found = touched(e.i, self.config)
        own, place = self._spms[e.rank], self.gang.completed(e.rank, e.queue)
        if e.queue == SEND:
            place = self.gang.left(e.rank)
        for at, known, writes in ((found.weights, e.ahead, False), (found.reads, e.start, False),
                                  (found.writes, e.start, True)):
            self._access(own, e, at, place, known, writes)
        if len(found.sends):
            for rank in receivers(e.i, self.gang.ranks):
                self._access(self._spms[rank], e, found.sends, self.gang.arrived(e.rank, rank),
                             e.start, True, True)
        if len(found.dram) and Region(e.i.region) in self._dram:
            self._access(self._dram[Region(e.i.region)], e, found.dram, place, e.start,
                         e.i.opcode is Opcode.STORE)

    def _access(self, space: _Space, e: Event, at: np.ndarray, place: int, known: np.ndarray,
                writes: bool, in_order: bool = False) -> None:
        if len(at) and not 0 <= at[0] <= at[-1] < space.words:
            self._find("range", e, f"it leaves the {space.name}")
            at = at[(at >= 0) & (at < space.words)]
        if not len(at):
            return
        found = space.access(at, place, e.number, known, writes, in_order)
        if found is not None:
            word, where, number = found
            self._find("race", e, f"it {'writes' if writes else 'reads'} word {word} of the "
                       f"{space.name}, and nothing orders it and {self._who(where, number)}")

    def _who(self, place: int, number: int) -> str:
        """The instruction that a place of a clock and a number say."""
        queues, ranks = len(GANG_QUEUES), self.gang.ranks
        if place < ranks * queues:
            return str(self.gang.queues[place // queues][place % queues][number - 1])
        sender = (place - ranks * queues) // ranks
        if place >= self.gang.left(0):
            sender = place - self.gang.left(0)
        return str(self.gang.queues[sender][SEND][number - 1])

    def _find(self, kind: str, e: Event, text: str) -> None:
        self.findings.append(Finding(kind, e.rank, e.index, f"{e}: {text}"))


def check(streams: Sequence[Sequence[Instruction]], config: Config, sizes: Mapping[Region, int]
          ) -> list[Finding]:
    """What is wrong with the streams of a gang.

    Parameters
    ----------
    streams : sequence of sequence of Instruction
        Of each rank, with END at the end or without.
    config : Config
        Of each core.
    sizes : mapping of Region to int
        Bytes of the regions that instructions store to and load from.

    Returns
    -------
    list[Finding]
        Nothing, or what was found: a deadlock alone, since behind it nothing happens; otherwise
        for each instruction and memory the first conflict; signals that nobody awaits, or of which
        there may be 2**15 more than an AWAIT wants.
    """
    cut = [[i for i in stream if i.opcode is not Opcode.END] for stream in streams]
    wrong = [Finding("signal", rank, index, f"instruction {index} ({i.opcode.name}) of rank "
                     f"{rank}: it names no other rank of the gang, or one that there is not")
             for rank, stream in enumerate(cut) for index, i in enumerate(stream)
             if i.opcode in EXCHANGE[:2] and (not i.to or i.to >> rank & 1 or i.to >> len(cut))]
    if wrong:
        return wrong
    try:
        gang = Gang(cut)
    except Stuck as stuck:
        return [Finding("deadlock", e.rank, e.index, f"{e}: it waits for ever")
                for e in stuck.events]
    races = _Races(gang, config, {Region(r): size for r, size in sizes.items() if r in KEPT})
    for e in gang.events:
        races.event(e)
    return races.findings + _signals(gang)


def _signals(gang: Gang) -> list[Finding]:
    """Signals that are not awaited, and those of which too many may come early."""
    found = []
    for rank in range(gang.ranks):
        for counter in range(SIGNALS):
            mine = [e for e in gang.awaits if e.rank == rank and e.i.counter == counter]
            sent = [gang.signals.get((sender, rank, counter), []) for sender in range(gang.ranks)]
            total, wanted = sum(map(len, sent)), max((e.threshold for e in mine), default=0)
            if total > wanted:
                last = max((s[-1] for s in sent if s), key=gang.events.index)
                found.append(Finding("signal", last.rank, last.index,
                                     f"{last}: of {total} signals to counter {counter} of rank "
                                     f"{rank} {wanted} are awaited"))
            for e in mine:
                may = sum(gang.may_have_come(e, sender) for sender in range(gang.ranks))
                if may - e.threshold >= 1 << SIGNAL_BITS - 1:
                    found.append(Finding("signal", rank, e.index, f"{e}: {may} signals may have "
                                         f"come, of which it waits for {e.threshold}"))
    return found
