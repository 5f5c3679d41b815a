# SPDX-License-Identifier: Apache-2.0
"""The AXI4-Lite register map as data: RTL, host drivers and ``docs/registers.md`` are made from it.

All registers are 32 bits wide. A 64-bit quantity takes two, low half first; the name of the high
half ends in ``_HI``.
"""

from dataclasses import dataclass

from isa.config import Config
from isa.instructions import GANG_ONLY, GANG_QUEUES, QUEUES, QUEUE_OF, Region

REGISTER_SPACE_BITS = 12
"""Address bits of the AXI4-Lite slave."""

IDENT = 0x4D4B4C55
"""ASCII ``MKLU``."""

EVENTS = {
    "active": {
        "load": "a data beat arrives from memory", "tensor": "the array takes an activation vector",
        "window": "the groups take a step that has taps", "vector": "taps enter",
        "store": "a data beat leaves for memory", "send": "a data beat leaves for the exchange"},
    "wait_weights": {
        "tensor": "a vector waits for the next weight tile",
        "window": "a step waits for its weights"},
    "wait_data": {
        "tensor": "the feeder works but has no activation vector",
        "window": "the next step's words are not there", "vector": "the next tap's words are not "
        "there", "store": "the next beat's words are not there",
        "send": "the next beat's words are not there"},
    "wait_out": {
        "load": "a beat, or the last words, wait for the scratchpad",
        "tensor": "a vector waits for a free PSUM bank, or the last words for the scratchpad",
        "window": "sums wait for the post stage, or the last words for the scratchpad",
        "vector": "a tap waits for the lanes, or the last words for the scratchpad",
        "store": "the memory does not take the next beat or address",
        "send": "the exchange does not take the next beat or address"},
    "wait_dram": {
        "load": "requested data have not arrived, or the memory takes no request",
        "store": "all data have left, the memory has not answered"},
    "wait_gang": {
        "load": "requested data have not arrived, and a core of the gang has not asked for them",
        "send": "all data have left, a scratchpad has not taken them",
        "await": "the signals have not come"},
}
"""Buckets that an engine itself tells apart: what each means, for the engines that have it."""

WAITS = {q: " and ".join(f"{op.name}s" for op, queue in QUEUE_OF.items() if queue == q)
         for q in GANG_QUEUES}
"""The instructions of each queue, as a wait for them says it."""

GANG_WAITS = tuple(f"wait_{q}" for q in GANG_ONLY)
"""The waits of a machine with ``exchange`` only."""

BUCKET_NAMES = (*EVENTS, *(f"wait_{q}" for q in QUEUES), "overhead", "idle", *GANG_WAITS)
"""The buckets of any engine."""

BUCKETS = {queue: {name: meaning for name, meaning in (
    *((name, meaning[queue]) for name, meaning in EVENTS.items() if queue in meaning),
    *((f"wait_{q}", f"the next instruction waits for completed {whom}")
      for q, whom in WAITS.items()),
    ("overhead", "an instruction is there and none of the above: set-up, pipelines that run empty"),
    ("idle", "no instruction is there"))} for queue in GANG_QUEUES}
"""Where the cycles of each queue's engine go. Each cycle falls in one bucket: the engine's own come
first, then the waits in the order of the queues."""

BUCKET_COUNTERS = {queue: {name: f"{queue}_{name}".upper() for name in names}
                   for queue, names in BUCKETS.items()}
"""The counter of each bucket."""

PROFILE = frozenset(name for names in BUCKET_COUNTERS.values() for name in names.values())
"""The counters of buckets."""

GANG_PROFILE = frozenset(counter for queue, names in BUCKET_COUNTERS.items()
                         for name, counter in names.items()
                         if queue in GANG_ONLY or name in GANG_WAITS)
"""Those of a machine with ``exchange`` only."""

EXCEPTIONS = {
    "NAN_RESULTS": "results of float instructions that are NaN",
    "INFINITE_RESULTS": "results of float instructions that are infinite",
    "OVERFLOWS": "results with a BF16 product or element above the window of the sum",
}
"""The counters of results that are no ordinary numbers; zero in a machine without floating
point."""

COUNTERS = (
    ("CYCLES", "cycles from the doorbell to done or error"),
    ("INSTRUCTIONS", "instructions completed"),
    ("DRAM_READ_BYTES", "bytes in accepted AXI read data beats"),
    ("DRAM_WRITE_BYTES", "bytes in accepted AXI write data beats"),
    *EXCEPTIONS.items(),
    *sorted(((BUCKET_COUNTERS[queue][name], f"{queue} engine, cycles: {meaning}")
             for queue, names in BUCKETS.items() for name, meaning in names.items()),
            key=lambda counter: counter[0] in GANG_PROFILE),
)
"""64-bit event counters, cleared by the doorbell, counting while the core is busy. Those of
:data:`BUCKETS` read zero in a machine whose configuration has no ``profile``, and for an engine
that it does not have; otherwise those of an engine add up to CYCLES. Those of :data:`GANG_PROFILE`
are last: other machines have no registers there."""


@dataclass(frozen=True)
class Register:
    """One register: ``access`` is RO, RW, WO or RW1C (write ones to clear); ``bits`` names its
    fields as (low bit, width, name, meaning)."""

    name: str
    offset: int
    access: str
    doc: str
    bits: tuple[tuple[int, int, str, str], ...] = ()


def _map() -> tuple[Register, ...]:
    regs = [
        Register("IDENT", 0x000, "RO", "reads 0x4D4B4C55, ASCII MKLU"),
        Register("VERSION", 0x004, "RO", "instruction set version",
                 ((0, 16, "MINOR", "minor"), (16, 16, "MAJOR", "major"))),
        Register("CONFIG_HASH", 0x008, "RO", "configuration hash, low half"),
        Register("CONFIG_HASH_HI", 0x00C, "RO", "configuration hash, high half"),
        Register("CONTROL", 0x010, "RW", "control",
                 ((0, 1, "IRQ_ENABLE", "let IRQ_STATUS drive the interrupt"),
                  (1, 1, "RESET", ("write 1: stop, let the memory traffic under way end, and reset "
                                   "the core; reads 1 until that has happened")),
                  (2, 1, "CLEAR", ("write 1 with RESET: then also set the whole scratchpad to "
                                   "zero, which takes spm_words / spm_banks cycles; after any "
                                   "reset no PSUM bank is held, so that nothing of a program "
                                   "before is left that could be read")))),
        Register("STATUS", 0x014, "RO", "what the core is doing",
                 ((0, 1, "BUSY", "a program runs"),
                  (1, 1, "DONE", "the last program reached its END"),
                  (2, 1, "ERROR", "the core stopped with an error; RESET recovers"),
                  (3, 1, "QUIET", "no memory traffic under way"))),
        Register("DOORBELL", 0x018, "WO", "write 1 to start the program; ignored while BUSY or "
                                          "ERROR, and while RESET reads 1"),
        Register("IRQ_STATUS", 0x01C, "RW1C", "interrupt causes",
                 ((0, 1, "DONE", "a program reached its END"),
                  (1, 1, "ERROR", "the core stopped with an error"))),
        Register("PROGRAM", 0x020, "RW", "byte offset of the first instruction in region 0, a "
                                         "multiple of 128"),
        Register("ERROR_CODE", 0x024, "RO", "why the core stopped"),
        Register("ERROR_INDEX", 0x028, "RO", "position of the offending instruction in the "
                                             "program"),
        Register("WATCHDOG", 0x02C, "RW", "cycles without a completed instruction and without a "
                                          "transfer on the memory's bus after which the core "
                                          "stops; 0: never"),
        Register("ERROR_ENGINE", 0x030, "RO", "which part found the error: 0 instruction fetch, "
                                              "decoder or watchdog, "
                 + ", ".join(f"{k} {q}" for k, q in enumerate(GANG_QUEUES, start=1))),
    ]
    for region in Region:
        base = 0x040 + 16 * region
        name = f"REGION{int(region)}"
        text = region.name.lower()
        regs += [
            Register(f"{name}_BASE", base, "RW", f"{text} region: first byte address, a multiple "
                                                 "of 32"),
            Register(f"{name}_BASE_HI", base + 4, "RW", "high half"),
            Register(f"{name}_SIZE", base + 8, "RW", f"{text} region: bytes, a multiple of 32"),
            Register(f"{name}_SIZE_HI", base + 12, "RW", "high half"),
        ]
    for i, (name, doc) in enumerate(COUNTERS):
        regs += [Register(name, 0x100 + 8 * i, "RO", doc),
                 Register(f"{name}_HI", 0x104 + 8 * i, "RO", "high half")]
    return tuple(regs)


REGISTERS = _map()
"""The whole map, by ascending offset."""

OFFSET = {r.name: r.offset for r in REGISTERS}
"""Byte offset of each register by name."""

MASK = {f"{r.name}.{field}": ((1 << width) - 1) << low
        for r in REGISTERS for low, width, field, _ in r.bits}
"""Mask of each field by ``REGISTER.FIELD``."""


def counters_of(config: Config) -> list[str]:
    """Those of :data:`COUNTERS` that have registers in a machine, which may read zero always."""
    return [name for name, _ in COUNTERS if config.exchange or name not in GANG_PROFILE]


def counted(config: Config) -> list[str]:
    """The counters that count in a machine."""
    return [name for name in counters_of(config) if (config.profile or name not in PROFILE)
            and (config.floats or name not in EXCEPTIONS)]


def registers_of(config: Config) -> list[Register]:
    """Those of :data:`REGISTERS` that a machine has; elsewhere it reads zero."""
    absent = PROFILE - set(counters_of(config))
    return [r for r in REGISTERS if r.name.removesuffix("_HI") not in absent]
