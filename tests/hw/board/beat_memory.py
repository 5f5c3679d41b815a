# SPDX-License-Identifier: Apache-2.0
"""A memory of beats for Amaranth's simulator, with a latency and random rests."""

import random
from collections import deque


class BeatMemory:
    """Holds a dictionary of beats; a beat that was not written reads as zero. ``reads`` and
    ``writes`` count."""

    def __init__(self, latency: int = 7, stall: float = 0.0, seed: int = 1):
        self.data: dict[int, int] = {}
        self.latency, self.stall, self._rng = latency, stall, random.Random(seed)
        self.reads = self.writes = 0

    async def run(self, ctx, port):
        """A background testbench at the memory's side of ``port``."""
        due: deque[tuple[int, int]] = deque()
        cycle = 0
        request = port.request
        while True:
            ctx.set(request.ready, self._rng.random() >= self.stall)
            *_, valid, ready, p = await ctx.tick().sample(request.valid, request.ready,
                                                          request.payload)
            cycle += 1
            if valid and ready and p.write:
                self.writes += 1
                mask = sum(0xFF << 8 * i for i in range(8) if p.strb >> i & 1)
                self.data[p.beat] = self.data.get(p.beat, 0) & ~mask | p.data & mask
            elif valid and ready:
                self.reads += 1
                due.append((cycle + self.latency, self.data.get(p.beat, 0)))
            answer = due.popleft() if due and due[0][0] <= cycle else None
            ctx.set(port.answer, {"valid": answer is not None, "data": answer[1] if answer else 0})
