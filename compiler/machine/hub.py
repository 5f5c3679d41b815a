# SPDX-License-Identifier: Apache-2.0
"""A chip's memory behind its hub, on the model of time: what it has been asked for it gives in the
order in which the addresses have come to it, burst by burst.

A core asks for bursts ahead, whoever else wants something: so many are under way of its LOADs, and
so many blocks of its instructions (:mod:`compiler.machine.rank`). Who asks for little waits behind
all of them. The channels move a beat a cycle each, and a core takes a beat a cycle, of instructions
and of LOADs in turns if it has both. Writes do not stand behind reads: a channel moves beats of
both in turns.
"""

import heapq
import math
from collections import deque
from dataclasses import dataclass

from compiler.machine.buses import Through, Who
from compiler.machine.rank import FETCH
from compiler.machine.timing import HUB_LATENCY, LOAD_ADDRESS, READ_LATENCY
from isa.config import Config

AGAIN = READ_LATENCY - LOAD_ADDRESS + HUB_LATENCY
"""Cycles from the last beat of a burst to the first one of the burst that has its place among those
under way."""


@dataclass(eq=False)
class _Transfer:
    """What some cores want, the beats that are ``left`` of it, and when the last bursts before each
    next one have come, as many as may be under way."""

    who: Who
    left: int
    came: deque[float]


class Hub:
    """Who asks is answered as soon as it is known when the last beat will have moved.

    Parameters
    ----------
    config : Config
    cores : int
    bandwidth : float
        Beats a cycle of all channels.

    Attributes
    ----------
    end : float
        When the next burst comes to the memory.
    """

    def __init__(self, config: Config, cores: int, bandwidth: float):
        self._bandwidth = bandwidth
        self._read = self._written = 0.0    # until when the channels have what to move
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
        self._comes(now, _Transfer(who, who[0][1].beats, came))

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
            if not transfer.left:
                return transfer.who, round(last), round(now if line == "load" else last)
        return [], 0, None

    def _moves(self, now: float, beats: int) -> float:
        """When the channels have moved beats that are read."""
        self._read = max(self._read, now) + beats / self._bandwidth
        return self._read

    def _fetch(self, now: float, transfer: _Transfer) -> float:
        """A block of instructions."""
        beats, last, transfer.left = transfer.left, 0.0, 0
        moved = self._moves(now, beats)
        for i, _ in transfer.who:
            turns = 2 if self._loads[i] > now else 1
            self._fetches[i] = max(moved, max(now, self._fetches[i]) + turns * beats)
            self._loads[i] += beats
            last = max(last, self._fetches[i])
        return last

    def _load(self, now: float, transfer: _Transfer) -> float:
        """The bursts of a LOAD that may be under way; the last one of them."""
        who, came, left = transfer.who, transfer.came, transfer.left
        burst = who[0][1].burst
        port = max(now, *(self._loads[i] for i, _ in who))
        moved = max(now, self._read)
        while left and came[0] + AGAIN <= now:
            beats = burst if burst < left else left
            moved += beats / self._bandwidth
            port += beats
            if port < moved:
                port = moved
            came.popleft()
            came.append(port)
            left -= beats
        self._read, transfer.left = moved, left
        if left:
            self._comes(came[0] + AGAIN, transfer)
        for i, _ in who:
            self._loads[i] = port
            if len(who) > 1 and not left:
                self._came[i] = came.copy()
        return port

    def _store(self, now: float, transfer: _Transfer) -> float:
        """A burst of a STORE, behind which the next one goes."""
        beats = min(transfer.left, transfer.who[0][1].burst)
        turns = 2 if self._read > max(self._written, now) else 1
        self._written = max(self._written, now) + turns * beats / self._bandwidth
        self._moves(now, beats)
        last = max(now + beats, self._written)
        transfer.left -= beats
        if transfer.left:
            self._comes(last, transfer)
        return last
