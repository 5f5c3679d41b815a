# SPDX-License-Identifier: Apache-2.0
"""An engine and a scratchpad in Amaranth's simulator, with other traffic to arbitrate with."""

from collections import Counter
from collections.abc import Callable, Collection

import numpy as np
from amaranth.hdl import Elaboratable, Module
from amaranth.lib import wiring
from amaranth.sim import Simulator

from hw.arith.float_lane import KIND
from hw.engine.profile import Buckets
from hw.scratchpad.banks import Scratchpad
from isa.config import Config
from isa.instructions import QUEUES, Instruction


class EngineBench(Elaboratable):
    """Runs instructions on an engine and gives back the scratchpad; the simulator is made at the
    first run and kept.

    Parameters
    ----------
    config : Config
    queue : str
        The engine's, one of :data:`isa.instructions.QUEUES`.
    engine : component with ``instr`` and ``engine``
    ports : function from the engine to its read ports and its write ports

    Attributes
    ----------
    buckets : Counter
        Cycles of the last run by bucket, which the engine's events are checked to be legal for.
    kinds : Counter
        Results of the last run that are no ordinary numbers, by kind, if the engine counts them.
    """

    def __init__(self, config: Config, queue: str, engine: wiring.Component,
                 ports: Callable[[wiring.Component], tuple[list, list]]):
        assert queue in QUEUES
        self.config, self.engine, self._queue = config, engine, queue
        self.account = Buckets(queue)
        self._sim: Simulator | None = None
        self.buckets: Counter[str] = Counter()
        self.kinds: Counter[str] = Counter()
        reads, writes = ports(engine)
        self.spm = Scratchpad(
            config, reads=len(reads) + 1, writes=len(writes),
            order=[("read", len(reads)), *(("read", k) for k in range(len(reads))),
                   *(("write", k) for k in range(len(writes)))])
        self.rival = self.spm.read[len(reads)]
        self._pairs = [*zip(reads, self.spm.read), *zip(writes, self.spm.write, strict=True)]

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        m.submodules.engine, m.submodules.spm = self.engine, self.spm
        m.submodules.account = account = self.account
        m.d.comb += [account.events.eq(self.engine.events),
                     account.blocked.eq(self.engine.engine.blocked),
                     account.present.eq(self.engine.engine.busy | self.engine.instr.valid)]
        for engine_port, spm_port in self._pairs:
            wiring.connect(m, engine_port, spm_port)
        return m

    def run(self, spm: np.ndarray, instructions: list[Instruction], *, rivalry: float = 0.0,
            seed: int = 0, limit: int = 20_000, begins: Collection[int] = ()
            ) -> tuple[np.ndarray, int, tuple[int, int] | None]:
        """The scratchpad after the instructions, the cycles they took, and code and index of the
        fault, if there was one. ``rivalry``: share of cycles in which a rival of highest priority
        reads a random word. ``begins``: positions at which another program begins, once everything
        in front is done. Every run starts from reset."""
        self._spm, self._instructions = spm, instructions
        self._rivalry, self._rng, self._limit = rivalry, np.random.default_rng(seed), limit
        self._begins = begins
        self.buckets.clear()
        self.kinds.clear()
        if self._sim is None:
            self._sim = Simulator(self)
            self._sim.add_clock(1e-6)
            self._sim.add_testbench(self._watch)
            self._sim.add_testbench(self._feed, background=True)
            self._sim.add_testbench(self._compete, background=True)
        else:
            self._sim.reset()
        self._sim.run()
        return self._result

    async def _feed(self, ctx):
        e = self.engine
        for index, i in enumerate(self._instructions):
            if index in self._begins:
                ctx.set(e.instr.valid, 0)
                while ctx.get(e.engine.completed[self._queue]) < index:
                    await ctx.tick()
                ctx.set(e.begin, 1)
                await ctx.tick()
                ctx.set(e.begin, 0)
            ctx.set(e.instr.payload.index, index)
            for name in e.instr.payload.shape().members:
                if name != "index":
                    ctx.set(e.instr.payload[name], i.fields.get(name, 0))
            ctx.set(e.instr.valid, 1)
            ready = False
            while not ready:
                _, _, ready = await ctx.tick().sample(e.instr.ready)
        ctx.set(e.instr.valid, 0)

    async def _compete(self, ctx):
        while self._rivalry:
            ctx.set(self.rival.valid, int(self._rng.random() < self._rivalry))
            ctx.set(self.rival.addr, int(self._rng.integers(self.config.spm_words)))
            await ctx.tick()

    async def _watch(self, ctx):
        config, e, banks = self.config, self.engine, self.spm.banks
        cells = [banks[w % config.spm_banks].data[w // config.spm_banks]
                 for w in range(config.spm_words)]
        for cell, row in zip(cells, self._spm, strict=True):
            ctx.set(cell, int.from_bytes(row.tobytes(), "little"))
        counted = {k: getattr(e, k) for k, _ in KIND if hasattr(e, k)}
        done, cycles, found = 0, 0, None
        while done < len(self._instructions) and found is None:
            _, _, finished, fault, bucket, *kinds = await ctx.tick().sample(
                e.engine.done, e.engine.fault, self.account.bucket, *counted.values())
            self.kinds.update(dict(zip(counted, kinds, strict=True)))
            self.buckets.update(name for name in bucket.shape().members if bucket[name])
            cycles += 1
            done += finished
            ctx.set(e.engine.completed[self._queue], done)
            if fault:
                found = ctx.get(e.engine.fault_code), ctx.get(e.engine.fault_index)
            assert cycles < self._limit, (
                f"{done} of {len(self._instructions)} done after {self._limit} cycles")
        # the last words are past the arbiter, where no later read overtakes them
        await ctx.tick().repeat(Scratchpad.LATENCY)
        words = b"".join(ctx.get(cell).to_bytes(config.word_bytes, "little") for cell in cells)
        self._result = np.frombuffer(words, np.uint8).reshape(self._spm.shape), cycles, found
