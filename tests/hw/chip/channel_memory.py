# SPDX-License-Identifier: Apache-2.0
"""One channel of an interleaved memory for Amaranth's simulator, as unkind as AXI allows: it
answers IDs in any order, mixes the beats of their bursts, rests at random, and watches the
protocol."""

import random
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from isa.chip import INTERLEAVE

CHANNELS = ("aw", "w", "b", "ar", "r")


@dataclass
class ChannelMemory:
    """Channel ``number`` of ``channels``, of the memory whose bytes are ``data``.

    ``stall`` is the chance that it rests in a cycle on one of AXI's channels; ``latency`` the
    cycles from a burst to its answer, least and most; ``mixes`` whether IDs overtake one another.
    ``errors`` has responses by number of a block of INTERLEAVE. An ID that ``holds`` names is
    not answered for the time being. ``reads`` and ``writes`` list the bursts: ID, address, beats.
    """

    data: np.ndarray
    bus_bytes: int
    number: int
    channels: int
    stall: float = 0.0
    latency: tuple[int, int] = (1, 1)
    mixes: bool = True
    seed: int = 0
    errors: dict[int, int] = field(default_factory=dict)
    holds: Callable[[int], bool] = lambda axi_id: False
    reads: list[tuple[int, int, int]] = field(default_factory=list)
    writes: list[tuple[int, int, int]] = field(default_factory=list)
    beats: int = 0
    written: int = 0
    cycle: int = 0

    def _check(self, p) -> int:
        """A burst stays in a block of the channel. Returns the response."""
        block, bus = p.addr // INTERLEAVE, self.bus_bytes
        end = p.addr // bus * bus + (p.len + 1) * bus
        assert block % self.channels == self.number, f"{p.addr:#x} is in another channel"
        assert (end - 1) // INTERLEAVE == block, f"{p.len + 1} beats at {p.addr:#x}"
        return self.errors.get(block, 0)

    def _due(self, rng: random.Random) -> int:
        return self.cycle + rng.randint(*self.latency)

    def _pick(self, rng: random.Random, queues: dict[int, deque]) -> int | None:
        """An ID whose next answer is due: any, or the one that is due first."""
        due = [i for i, q in queues.items() if q and q[0][0] <= self.cycle and not self.holds(i)]
        if not due or rng.random() < self.stall:
            return None
        return rng.choice(due) if self.mixes else min(due, key=lambda i: queues[i][0][0])

    async def run(self, ctx, bus):
        """A background testbench."""
        rng = random.Random(f"memory {self.seed} {self.number}")
        reads: dict[int, deque] = defaultdict(deque)
        answers: dict[int, deque] = defaultdict(deque)
        addresses, wdata = deque(), deque()
        held = dict.fromkeys(CHANNELS)
        channels = [getattr(bus, c) for c in CHANNELS]
        for c in (bus.aw, bus.w, bus.ar):
            ctx.set(c.ready, rng.random() >= self.stall)
        while True:
            sampled = await ctx.tick().sample(
                *(c.valid for c in channels), *(c.ready for c in channels),
                bus.aw.payload, bus.w.payload, bus.ar.payload)
            self.cycle += 1
            valid = dict(zip(CHANNELS, sampled[2:7], strict=True))
            ready = dict(zip(CHANNELS, sampled[7:12], strict=True))
            payload = dict(zip(("aw", "w", "ar"), sampled[12:], strict=True))
            assert ready["r"] and ready["b"], "the hub has no place for what it asked for"
            for c in ("aw", "w", "ar"):
                if held[c] is not None:
                    assert valid[c] and payload[c] == held[c], f"{c} withdrawn before it was taken"
                held[c] = payload[c] if valid[c] and not ready[c] else None
            if valid["ar"] and ready["ar"]:
                self._read(payload["ar"], reads, self._due(rng))
            if valid["aw"] and ready["aw"]:
                p = payload["aw"]
                addresses.append((p, self._check(p)))
                self.writes.append((p.id, p.addr, p.len + 1))
            if valid["w"] and ready["w"]:
                self.written += 1
                wdata.append(payload["w"])
            self.beats += valid["r"]
            self._write(addresses, wdata, answers, rng)

            for c in (bus.aw, bus.w, bus.ar):
                ctx.set(c.ready, rng.random() >= self.stall)
            who = self._pick(rng, reads)
            ctx.set(bus.r.valid, who is not None)
            if who is not None:
                _, at, resp, last = reads[who].popleft()
                line = bytes(self.data[at:at + self.bus_bytes])
                ctx.set(bus.r.payload, {"id": who, "resp": resp, "last": last,
                                        "data": int.from_bytes(line, "little")})
            who = self._pick(rng, answers)
            ctx.set(bus.b.valid, who is not None)
            if who is not None:
                ctx.set(bus.b.payload, {"id": who, "resp": answers[who].popleft()[1]})

    def _read(self, p, reads: dict[int, deque], due: int) -> None:
        resp = self._check(p)
        self.reads.append((p.id, p.addr, p.len + 1))
        start = p.addr // self.bus_bytes * self.bus_bytes
        for i in range(p.len + 1):
            reads[p.id].append((due, start + i * self.bus_bytes, resp, i == p.len))

    def _write(self, addresses, wdata, answers: dict[int, deque], rng) -> None:
        while addresses and len(wdata) > addresses[0][0].len:
            p, resp = addresses.popleft()
            burst = [wdata.popleft() for _ in range(p.len + 1)]
            assert [b.last for b in burst] == [0] * p.len + [1], "WLAST in the wrong beat"
            start = p.addr // self.bus_bytes * self.bus_bytes
            for i, beat in enumerate(burst if not resp else ()):
                line = beat.data.to_bytes(self.bus_bytes, "little")
                for j in range(self.bus_bytes):
                    if beat.strb >> j & 1:
                        self.data[start + i * self.bus_bytes + j] = line[j]
            answers[p.id].append((self._due(rng), resp))
