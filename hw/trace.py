# SPDX-License-Identifier: Apache-2.0
"""What a simulation sees of every instruction: the trace port of a core built with ``trace``.

It only looks: the machine does the same in the same cycles with and without it. Bit ``q`` of a
field stands for the queue at position ``q`` of those of the machine
(:func:`isa.instructions.queues_of`). Each queue is in order, so that the bits alone say which
instruction is meant, and instructions are dispatched in program order.
"""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, ResetInserter, Signal, Value, unsigned
from amaranth.lib import data, fifo

from hw.engine.ports import SpmWriter
from hw.engine.profile import Buckets
from hw.engine.signature import Signatures
from hw.memory.store import StoreEngine
from hw.parts.clock_gate import clocked
from isa.config import Config
from isa.instructions import QUEUES, queues_of
from isa.registers import BUCKET_NAMES, GANG_WAITS
from isa.signature import BITS, CHUNK

GROUPS = 64
"""Instructions, or bursts of a STORE, that a port may be ahead of what is done."""


def trace_layout(config: Config) -> data.StructLayout:
    """``busy``: a program runs; ``dispatch``: an instruction enters its queue; ``start``: an engine
    begins one, waits satisfied; ``done``: one is complete, and what it wrote into its own
    scratchpad or into memory has this signature (:mod:`isa.signature`); ``bucket``: where an
    engine's cycle goes, a bit for each of :data:`isa.registers.BUCKET_NAMES` that the machine has,
    in one with ``profile``."""
    queues = queues_of(config)
    buckets = len(BUCKET_NAMES) - (0 if config.exchange else len(GANG_WAITS))
    return data.StructLayout({
        "busy": 1, **{name: unsigned(len(queues)) for name in ("dispatch", "start", "done")},
        **{f"signature_{q}": unsigned(BITS) for q in QUEUES},
        **{f"bucket_{q}": unsigned(buckets) for q in queues}})


def observe(m: Module, platform: object, config: Config, trace: data.View, clear: Value,
            busy: Value, dispatch: Value, engines: dict[str, Any], buckets: dict[str, Buckets]
            ) -> None:
    """Drive ``trace`` from a core's engines and their buckets, by queue; ``clear`` resets ``m``."""
    m.d.comb += [trace.busy.eq(busy), trace.dispatch.eq(dispatch)]
    for queue, b in buckets.items():
        m.d.comb += [trace[f"bucket_{queue}"][BUCKET_NAMES.index(name)].eq(b.bucket[name])
                     for name in b.bucket.shape().members]
    for queue, e in engines.items():
        number = queues_of(config).index(queue)
        signatures = _signatures(m, platform, config, clear, queue, e) if queue in QUEUES else None
        m.d.comb += [trace.start[number].eq(e.engine.start), trace.done[number].eq(e.engine.done)]
        if signatures:
            m.d.comb += [signatures.done.eq(e.engine.done),
                         trace[f"signature_{queue}"].eq(signatures.value)]


def _signatures(m: Module, platform: object, config: Config, clear: Value, queue: str, engine: Any
                ) -> Signatures:
    """Those of an engine's instructions."""
    if queue == "store":
        signatures = _stores(m, config, engine)
    else:
        ports = getattr(engine, "write" if queue == "load" else "out")
        signatures = _words(m, config, ports, engine)
    moves = (bit for w in signatures.write for bit in (w.valid, w.ends))
    place = clocked(m, platform, f"{queue}_signed", lasts=1,
                    wants=Cat(signatures.settle, clear, *moves).any())
    m.submodules[f"{queue}_signatures"] = place(ResetInserter(clear)(signatures))
    return signatures


def _words(m: Module, config: Config, ports: SpmWriter | list[SpmWriter], engine: Any
           ) -> Signatures:
    """Signatures of the words that an engine writes to the scratchpad."""
    ports = ports if isinstance(ports, list) else [ports]
    ends = getattr(engine, "ends", None)
    signatures = Signatures(len(ports), config.word_bytes, 0 if ends is None else GROUPS)
    m.d.comb += signatures.settle.eq(engine.engine.done)
    for k, (write, port) in enumerate(zip(signatures.write, ports, strict=True)):
        m.d.comb += [
            write.valid.eq(port.valid & port.ready), write.strobe.eq(-1),
            write.at.eq(port.addr * (config.word_bytes // CHUNK)), write.data.eq(port.data),
            write.ends.eq(engine.engine.done if ends is None else ends[k])]
    return signatures


def _stores(m: Module, config: Config, store: StoreEngine) -> Signatures:
    """Signatures of what the STORE engine writes: beats with the address of their burst, which is
    taken before them."""
    chunks = config.bus_bytes // CHUNK
    signatures = Signatures(1, config.bus_bytes, GROUPS)
    m.submodules.bursts = bursts = fifo.SyncFIFO(width=config.addr_bits, depth=GROUPS)
    beat, write, w = Signal(8), signatures.write[0], store.w.payload
    m.d.comb += [
        bursts.w_data.eq(store.aw.payload.addr), bursts.w_en.eq(store.aw.valid & store.aw.ready),
        bursts.r_en.eq(write.ends), write.valid.eq(store.w.valid & store.w.ready),
        write.strobe.eq(Cat(w.strb[CHUNK * c] for c in range(chunks))),
        write.at.eq(bursts.r_data // CHUNK + beat * chunks), write.data.eq(w.data),
        write.ends.eq(write.valid & w.last), signatures.settle.eq(store.b.valid)]
    with m.If(write.valid):
        m.d.sync += beat.eq(Mux(w.last, 0, beat + 1))
    return signatures
