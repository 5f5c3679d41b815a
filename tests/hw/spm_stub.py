# SPDX-License-Identifier: Apache-2.0
"""A scratchpad's side of a read port: a word so many cycles after its request, which is accepted
when it pleases."""

import random
from collections import deque
from collections.abc import Callable, Sequence

from hw.scratchpad.banks import Scratchpad


def server(port, words: Sequence[int], ready: float = 1.0, seed: int = 0) -> Callable:
    """A background process for :class:`amaranth.sim.Simulator`."""
    async def serve(ctx):
        rng, pipe = random.Random(seed), deque([None] * Scratchpad.LATENCY)
        while True:
            ctx.set(port.ready, rng.random() < ready)
            word = pipe.popleft()
            ctx.set(port.arrived, word is not None)
            ctx.set(port.data, word or 0)
            _, _, asks, accepted, addr = await ctx.tick().sample(port.valid, port.ready, port.addr)
            pipe.append(words[addr] if asks and accepted else None)

    return serve
