# SPDX-License-Identifier: Apache-2.0
"""A chip's memory behind its hub, on the model of time: what it has been asked for it gives in the
order in which the addresses have come to it, burst by burst.

A core asks for bursts ahead, whoever else wants something: so many are under way of its LOADs, and
so many blocks of its instructions (:mod:`compiler.machine.rank`). Who asks for little waits behind
all of them. A channel moves a beat a cycle, of the addresses that it has, and what it has moved
waits in the hub for what was asked for before; a core takes a beat a cycle, of instructions and of
LOADs in turns if it has both. Writes do not stand behind reads: a channel moves beats of both in
turns.
"""

import heapq
import math
from collections import deque
from dataclasses import dataclass

from compiler.machine.bursts import Bursts
from compiler.machine.buses import Through, Who
from compiler.machine.rank import FETCH
from compiler.machine.timing import HUB_LATENCY, LOAD_ADDRESS, READ_LATENCY
from isa.config import Config

AGAIN = READ_LATENCY - LOAD_ADDRESS + HUB_LATENCY
"""Cycles from the last beat of a burst to the first one of the burst that has its place among those
under way."""


@dataclass(eq=False)
class _Transfer:
    """What some cores want, how many of its bursts the memory has been asked for, ``at``, and when
    the last ones before each next one have come, as many as may be under way."""

    who: Who
    came: deque[float]
    at: int = 0

    @property
    def bursts(self) -> Bursts:
        return self.who[0][1].bursts

    @property
    def ended(self) -> bool:
        return self.at == len(self.bursts)


class Hub:
    """Who asks is answered as soon as it is known when the last beat will have moved.

    Parameters
    ----------
    config : Config
    cores : int
    bandwidth : float
        Beats a cycle of all channels, of which there are as many as it takes.

    Attributes
    ----------
    end : float
        When the next burst comes to the memory.
    """

    def __init__(self, config: Config, cores: int, bandwidth: float):
        self._channels = math.ceil(bandwidth)
        self._beat = self._channels / bandwidth     # cycles of one on a channel
        self._read = [0.0] * self._channels         # until when each has what to move
        self._written = [0.0] * self._channels
        self._came = [deque([-math.inf] * config.outstanding) for _ in range(cores)]
        self._loads, self._fetches = [0.0] * cores, [0.0] * cores   # likewise the ports of cores
        self._next: list[tuple[float, int, _Transfer]] = []
        self._count = 0
        self._ways = {FETCH: self._fetch, "load": self._load, "store": self._store}
        self.end = math.inf

    def begin(self, now: float, who: Who) -> None:
        """So many beats as they want, from now on."""
        came = self._came[who[0][0]]
        if len(who) > 1:
            came = deque(map(max, zip(*(self._came[i] for i, _ in who))))
        self._comes(now, _Transfer(who, came))

    def _comes(self, now: float, transfer: _Transfer) -> None:
        self._count += 1
        heapq.heappush(self._next, (now, self._count, transfer))
        self.end = self._next[0][0]

    def leave(self, until: float) -> Through:
        """Bursts come, up to a cycle or to the last one of a transfer: who has all then."""
        while self.end <= until:
            now, _, transfer = heapq.heappop(self._next)
            self.end = self._next[0][0] if self._next else math.inf
            line = transfer.who[0][1].line
            last = self._ways[line](now, transfer)
            if transfer.ended:
                return transfer.who, round(last), round(now if line == "load" else last)
        return [], 0, None

    def _moves(self, now: float, block: int, beats: int) -> float:
        """When the channel of a burst has moved it."""
        channel = block % self._channels
        moved = self._read[channel] = max(self._read[channel], now) + beats * self._beat
        return moved

    def _fetch(self, now: float, transfer: _Transfer) -> float:
        """A block of instructions."""
        (block, beats), = transfer.bursts
        moved, last = self._moves(now, block, beats), 0.0
        transfer.at = 1
        for i, _ in transfer.who:
            turns = 2 if self._loads[i] > now else 1
            self._fetches[i] = max(moved, max(now, self._fetches[i]) + turns * beats)
            self._loads[i] += beats
            last = max(last, self._fetches[i])
        return last

    def _load(self, now: float, transfer: _Transfer) -> float:
        """The bursts of a LOAD that may be under way; the last one of them."""
        who, came, bursts, at = transfer.who, transfer.came, transfer.bursts, transfer.at
        port = max(now, *(self._loads[i] for i, _ in who))
        while at < len(bursts) and came[0] + AGAIN <= now:
            block, beats = bursts[at]
            port = max(port + beats, self._moves(now, block, beats))
            came.popleft()
            came.append(port)
            at += 1
        transfer.at = at
        if not transfer.ended:
            self._comes(came[0] + AGAIN, transfer)
        for i, _ in who:
            self._loads[i] = port
            if len(who) > 1 and transfer.ended:
                self._came[i] = came.copy()
        return port

    def _store(self, now: float, transfer: _Transfer) -> float:
        """A burst of a STORE, behind which the next one goes."""
        block, beats = transfer.bursts[transfer.at]
        channel = block % self._channels
        turns = 2 if self._read[channel] > max(self._written[channel], now) else 1
        self._written[channel] = max(self._written[channel], now) + turns * beats * self._beat
        self._moves(now, block, beats)
        last = max(now + beats, self._written[channel])
        transfer.at += 1
        if not transfer.ended:
            self._comes(last, transfer)
        return last
