# SPDX-License-Identifier: Apache-2.0
"""An engine and a scratchpad in Amaranth's simulator, with other traffic to arbitrate with."""

from collections import Counter
from collections.abc import Callable

import numpy as np
from amaranth.hdl import Elaboratable, Module
from amaranth.lib import wiring
from amaranth.sim import Simulator

from hw.float_lane import KIND
from hw.profile import Buckets
from hw.scratchpad import Scratchpad
from isa.config import Config
from isa.instructions import QUEUES, Instruction


class EngineBench(Elaboratable):
    """Runs instructions on an engine and gives back the scratchpad.

    Parameters
    ----------
    config : Config
    engine : component with ``instr`` and ``engine``
    ports : function from the engine to its read ports and its write ports

    Attributes
    ----------
    buckets : Counter
        Cycles of the last run by bucket, which the engine's events are checked to be legal for.
    kinds : Counter
        Results of the last run that are no ordinary numbers, by kind, if the engine counts them.
    """

    def __init__(self, config: Config, engine: wiring.Component,
                 ports: Callable[[wiring.Component], tuple[list, list]]):
        self.config, self.engine = config, engine
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

    def run(self, spm: np.ndarray, instructions: list[Instruction], queue: str, *,
            rivalry: float = 0.0, seed: int = 0, limit: int = 20_000
            ) -> tuple[np.ndarray, int, tuple[int, int] | None]:
        """The scratchpad after the instructions, the cycles they took, and code and index of the
        fault, if there was one. ``rivalry``: share of cycles in which a rival of highest priority
        reads a random word."""
        config, e = self.config, self.engine
        rng = np.random.default_rng(seed)
        result: dict[str, object] = {"fault": None}

        async def feed(ctx):
            for index, i in enumerate(instructions):
                ctx.set(e.instr.payload.index, index)
                for name in e.instr.payload.shape().members:
                    if name != "index":
                        ctx.set(e.instr.payload[name], i.fields.get(name, 0))
                ctx.set(e.instr.valid, 1)
                ready = False
                while not ready:
                    _, _, ready = await ctx.tick().sample(e.instr.ready)
            ctx.set(e.instr.valid, 0)

        async def compete(ctx):
            while True:
                ctx.set(self.rival.valid, int(rng.random() < rivalry))
                ctx.set(self.rival.addr, int(rng.integers(config.spm_words)))
                await ctx.tick()

        async def watch(ctx):
            for word, row in enumerate(spm):
                bank = self.spm.banks[word % config.spm_banks]
                ctx.set(bank.data[word // config.spm_banks], int.from_bytes(row.tobytes(),
                                                                            "little"))
            counted = {k: getattr(e, k) for k, _ in KIND if hasattr(e, k)}
            done, cycles = 0, 0
            while done < len(instructions):
                _, _, finished, fault, bucket, *kinds = await ctx.tick().sample(
                    e.engine.done, e.engine.fault, self.account.bucket, *counted.values())
                self.kinds.update(dict(zip(counted, kinds, strict=True)))
                self.buckets.update(name for name in bucket.shape().members if bucket[name])
                cycles += 1
                done += finished
                ctx.set(e.engine.completed[queue], done)
                if fault:
                    result["fault"] = (ctx.get(e.engine.fault_code), ctx.get(e.engine.fault_index))
                    break
                assert cycles < limit, f"{done} of {len(instructions)} done after {limit} cycles"
            result["cycles"] = cycles
            words = [ctx.get(self.spm.banks[w % config.spm_banks].data[w // config.spm_banks])
                     for w in range(config.spm_words)]
            result["spm"] = np.frombuffer(
                b"".join(w.to_bytes(config.word_bytes, "little") for w in words),
                np.uint8).reshape(spm.shape)

        assert queue in QUEUES
        self.account = Buckets(queue)
        self.buckets.clear()
        self.kinds.clear()
        sim = Simulator(self)
        sim.add_clock(1e-6)
        sim.add_testbench(watch)
        sim.add_testbench(feed, background=True)
        if rivalry:
            sim.add_testbench(compete, background=True)
        sim.run()
        return result["spm"], result["cycles"], result["fault"]
