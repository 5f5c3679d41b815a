# SPDX-License-Identifier: Apache-2.0
"""The C++ harness seen from Python: memory, registers, run. Nothing here is called each cycle."""

import ctypes
from collections.abc import Callable, Collection
from ctypes import (CFUNCTYPE, POINTER, Structure, byref, c_char_p, c_int, c_int64, c_uint8,
                    c_uint32, c_uint64, c_void_p)
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from isa.registers import BUCKET_NAMES
from runtime.device import MachineError

IRQ, LIMIT, VIOLATION, STOPPED, CANCELED, NO_ANSWER = range(6)
"""Why a call of the harness came back, as in harness.cpp."""

MISCHIEF = ("read SLVERR", "read DECERR", "early RLAST", "missing RLAST", "wrong RID", "lost R",
            "lost last R", "extra R", "write SLVERR", "write DECERR", "wrong BID", "lost B",
            "extra B", "shut AR", "shut AW", "shut W")
"""What a memory can do wrong, as in dram.h: answer a burst with an error; RLAST with the first
beat, or not with the last one; the other ID; no answer, or not the last beat of it; one beat or
answer more; READY low from that burst, or beat, on."""

PROGRESS = CFUNCTYPE(c_int, c_uint64)
SHARE = 65536
"""Fixed-point one of probabilities and bandwidths."""

MAX_CORES, MAX_CHANNELS = 64, 64


class SimulationError(MachineError):
    """The simulated design broke a rule of its bus, an assertion of its own, or does not answer."""


@dataclass(frozen=True, kw_only=True)
class DramModel:
    """The memory behind the simulated machine.

    Parameters
    ----------
    read_latency : int
        Cycles from the acceptance of a read address to its first beat.
    write_latency : int
        Cycles from the last beat of a write to its response.
    bandwidth : float
        Beats a cycle of each channel, reads and writes together: 1.0 is what the bus of a core can
        carry in one direction.
    channels : int
        Channels, to which addresses go in turn, 512 bytes each; each serves the cores that want
        something of it in turn, burst by burst (``dram.h``).
    max_reads, max_writes : int
        Bursts of a core that the memory has in flight before it takes no further address.
    stall : float
        Probability that a channel is not ready, or not valid, in a cycle.
    seed : int
        Of the stalls.
    errors : tuple[tuple[int, int, str], ...]
        Address ranges ``(low, high, "SLVERR" | "DECERR")`` that answer with an error.
    reorder : float
        Probability that a beat read is of another ID than that of the oldest burst, where there is
        one: AXI lets bursts with different IDs come in any order, beat by beat.
    mischief : tuple[tuple[str, int, int], ...]
        What the memory does wrong, ``(one of MISCHIEF, ID, burst)``: with which burst of the reads
        with this ID, or of the writes, of core 0, counted from 0. Beats of data (``shut W``) have
        ID 0.

    Raises
    ------
    ValueError
        If a parameter is out of its range.
    """

    read_latency: int = 40
    write_latency: int = 20
    bandwidth: float = 1.0
    channels: int = 1
    max_reads: int = 32
    max_writes: int = 32
    stall: float = 0.0
    seed: int = 1
    errors: tuple[tuple[int, int, str], ...] = ()
    reorder: float = 0.0
    mischief: tuple[tuple[str, int, int], ...] = ()

    def __post_init__(self) -> None:
        def need(ok: bool, field: str, rule: str) -> None:
            if not ok:
                raise ValueError(f"memory model: {field} is {getattr(self, field)!r}, but it has "
                                 f"to be {rule}")

        for field in ("read_latency", "write_latency", "max_reads", "max_writes"):
            need(1 <= getattr(self, field) < 1 << 20, field, "from 1 to 2**20")
        need(1 / SHARE <= self.bandwidth <= 1, "bandwidth", "above 0 and at most 1; more takes "
             "several channels")
        need(1 <= self.channels <= MAX_CHANNELS, "channels", f"from 1 to {MAX_CHANNELS}")
        need(0 <= self.stall < 1, "stall", "at least 0 and below 1")
        need(0 <= self.reorder < 1, "reorder", "at least 0 and below 1")
        need(all(m[0] in MISCHIEF for m in self.mischief), "mischief",
             f"(what, ID, burst), with what one of {', '.join(MISCHIEF)}")
        need(all(e[2] in ("SLVERR", "DECERR") for e in self.errors), "errors",
             "(low, high, response) with a response of SLVERR or DECERR")


RESPONSES = {"OKAY": 0, "SLVERR": 2, "DECERR": 3}


class _Parameters(Structure):
    _fields_ = [(n, c_uint32) for n in ("read_latency", "write_latency", "bandwidth", "max_reads",
                                        "max_writes", "max_burst", "stall", "seed", "reorder",
                                        "channels")]


class Statistics(Structure):
    """What the memory counted for a core: ``read_beats``, ``write_beats``, ``read_bursts``,
    ``write_bursts``."""

    COUNTED = ("read_beats", "write_beats", "read_bursts", "write_bursts")
    _fields_ = [(n, c_uint64) for n in COUNTED]


TRACE = np.dtype([("queue", "u4"), ("signature", "u4"), ("dispatch", "i8"), ("start", "i8"),
                  ("done", "i8"), ("cycles", "u4", len(BUCKET_NAMES))], align=True)
"""One instruction of a trace: position of its queue in :data:`isa.instructions.GANG_QUEUES`,
signature of what it wrote (:mod:`isa.signature`; 0 of XFER, SIGNAL, AWAIT), and the cycles (0: the
first in which the core is busy) in which it entered its queue, in which its engine began it, and in
which it was complete; -1: that did not happen. ``cycles``: those that its engine spent for it, by
bucket (:data:`isa.registers.BUCKET_NAMES`), in a machine with ``profile``; while an engine waits
for other queues, it does so for its next instruction. A trace has the instructions in program
order, END excepted."""

SIGNATURES: dict[str, tuple[object, list[object]]] = {
    "create": (c_void_p, [POINTER(_Parameters), c_uint32]),
    "destroy": (None, [c_void_p]),
    "bus_bytes": (c_uint32, []),
    "cycle": (c_uint64, [c_void_p]),
    "message": (c_char_p, [c_void_p]),
    "statistics": (None, [c_void_p, c_uint32, POINTER(Statistics)]),
    "channel_beats": (c_uint64, [c_void_p, c_uint32]),
    "segment": (c_int, [c_void_p, c_uint64, c_uint64]),
    "memory": (POINTER(c_uint8), [c_void_p, c_uint64, c_uint64]),
    "inject": (None, [c_void_p, c_uint64, c_uint64, c_uint32]),
    "misbehave": (None, [c_void_p, c_uint32, c_uint32, c_uint64]),
    "flip": (None, [c_void_p, c_uint64, c_uint8, c_int64]),
    "trace": (c_void_p, [c_void_p, c_uint32, POINTER(c_uint64)]),
    "waves": (c_int, [c_void_p, c_char_p]),
    "reset": (c_int, [c_void_p, c_uint32]),
    "write": (c_int, [c_void_p, c_uint32, c_uint32, c_uint32, POINTER(c_uint32)]),
    "read": (c_int, [c_void_p, c_uint32, c_uint32, POINTER(c_uint32), POINTER(c_uint32)]),
    "post": (None, [c_void_p, c_uint32, c_uint32, c_uint32, c_uint64]),
    "run": (c_int, [c_void_p, c_uint64, c_uint64, c_uint32, c_uint64, PROGRESS]),
    "ended": (c_uint64, [c_void_p, c_uint32]),
}


class Harness:
    """A simulated machine with its memory, or several with one: the cores, which share a clock and
    know nothing of one another. What takes a ``core`` is of the first one unless told otherwise.

    Parameters
    ----------
    library : Path
        A library that :func:`sim.build.build` made, for any number of cores.
    dram : DramModel
        The memory.
    cores : int
        How many, from 1 to 64.
    max_burst : int
        Beats of the longest burst that is no violation.
    traces : int, optional
        Traces of instructions that the library keeps; by default one for each core. What has one
        control port may be a chip of several.
    waves : Path, optional
        File to write waves to; the library has to be built for its format.

    Raises
    ------
    SimulationError
        From any call: a violation, a failed assertion, or no answer from the design.
    ValueError
        If there cannot be so many cores, or there is no such core.
    """

    RESET_CYCLES = 8

    def __init__(self, library: Path, dram: DramModel, *, cores: int = 1, max_burst: int = 256,
                 traces: int | None = None, waves: Path | None = None):
        if not 1 <= cores <= MAX_CORES:
            raise ValueError(f"{cores} cores: a simulation has from 1 to {MAX_CORES}")
        self.cores, self.channels = cores, dram.channels
        self._traces = cores if traces is None else traces
        self._lib = ctypes.CDLL(str(library))
        for name, (result, arguments) in SIGNATURES.items():
            function = getattr(self._lib, f"harness_{name}")
            function.restype, function.argtypes = result, arguments
        p = _Parameters(
            read_latency=dram.read_latency, write_latency=dram.write_latency,
            bandwidth=round(dram.bandwidth * SHARE), max_reads=dram.max_reads,
            max_writes=dram.max_writes, max_burst=max_burst, stall=round(dram.stall * SHARE),
            seed=dram.seed, reorder=round(dram.reorder * SHARE), channels=dram.channels)
        self._handle: int | None = self._lib.harness_create(byref(p), cores)
        for low, high, response in dram.errors:
            self.inject(low, high, response)
        for what, number, burst in dram.mischief:
            self._lib.harness_misbehave(self._handle, MISCHIEF.index(what), number, burst)
        if waves:
            self._check(self._lib.harness_waves(self._handle, str(waves).encode()))
        self.bus_bytes: int = self._lib.harness_bus_bytes()
        self._check(self._lib.harness_reset(self._handle, self.RESET_CYCLES))

    def close(self) -> None:
        """Free the model and finish the wave file; nothing else may be called afterwards."""
        if self._handle is not None:
            self._lib.harness_destroy(self._handle)
            self._handle = None

    def __del__(self) -> None:
        if getattr(self, "_handle", None) is not None:
            self.close()

    @property
    def cycle(self) -> int:
        """Clock cycles since creation."""
        return int(self._lib.harness_cycle(self._handle))

    @property
    def statistics(self) -> Statistics:
        """What the memory counted since creation, for all cores together."""
        result = Statistics()
        for core in range(self.cores):
            one = self.statistics_of(core)
            for name in Statistics.COUNTED:
                setattr(result, name, getattr(result, name) + getattr(one, name))
        return result

    def statistics_of(self, core: int) -> Statistics:
        """What the memory counted for a core since creation."""
        result = Statistics()
        self._lib.harness_statistics(self._handle, self._core(core), byref(result))
        return result

    @property
    def channel_beats(self) -> list[int]:
        """Beats that each channel of the memory has moved since creation."""
        return [int(self._lib.harness_channel_beats(self._handle, c))
                for c in range(self.channels)]

    def allocate(self, base: int, size: int) -> None:
        """Put zeroed memory at ``base``; both are multiples of the bus width."""
        if base % self.bus_bytes or size % self.bus_bytes:
            raise ValueError(f"memory of {size} bytes at {base:#x} is not aligned to the bus of "
                             f"{self.bus_bytes} bytes")
        if not self._lib.harness_segment(self._handle, base, size):
            raise MemoryError(f"{size:,} bytes for a simulated memory")

    def inject(self, low: int, high: int, response: str) -> None:
        """Let the memory answer ``"SLVERR"`` or ``"DECERR"`` from ``low`` up to ``high``, or
        ``"OKAY"`` again; nothing is read or written where it answers with an error."""
        self._lib.harness_inject(self._handle, low, high, RESPONSES[response])

    def flip(self, address: int, mask: int, after: int = 0) -> None:
        """Invert the bits of ``mask`` in the byte of memory at ``address``, in the first cycle in
        which core 0 is busy and has been for ``after`` cycles."""
        self._lib.harness_flip(self._handle, address, mask, after)

    def trace(self, core: int = 0) -> np.ndarray:
        """The instructions since the core last became busy, an array of :data:`TRACE`."""
        size = c_uint64()
        first = self._lib.harness_trace(self._handle, _within(core, self._traces), byref(size))
        return np.frombuffer(ctypes.string_at(first, size.value * TRACE.itemsize), TRACE)

    def memory(self, base: int, size: int) -> np.ndarray:
        """Allocated memory as a uint8 array that shares its bytes; valid until :meth:`close`."""
        pointer = self._lib.harness_memory(self._handle, base, size)
        if not pointer:
            raise ValueError(f"no memory is allocated at {base:#x} … {base + size:#x}")
        return np.ctypeslib.as_array(pointer, (size,))

    def reset(self) -> None:
        """Reset all cores and drop what is in flight; memory keeps its bytes."""
        self._check(self._lib.harness_reset(self._handle, self.RESET_CYCLES))

    def write(self, offset: int, value: int, core: int = 0) -> int:
        """AXI4-Lite write; returns the response, 0 for OKAY."""
        response = c_uint32()
        self._check(self._lib.harness_write(self._handle, self._core(core), offset, value,
                                            byref(response)))
        return response.value

    def read(self, offset: int, core: int = 0) -> int:
        """AXI4-Lite read.

        Raises
        ------
        SimulationError
            Also if the response is not OKAY.
        """
        value, response = c_uint32(), c_uint32()
        self._check(self._lib.harness_read(self._handle, self._core(core), offset, byref(value),
                                           byref(response)))
        if response.value:
            raise SimulationError(f"reading register {offset:#x} answers {response.value}")
        return value.value

    def post(self, offset: int, value: int, core: int, delay: int = 0) -> None:
        """AXI4-Lite write that begins ``delay`` cycles after the next run does; several cores write
        at once. Until it has ended the core's registers are not to be touched."""
        self._lib.harness_post(self._handle, self._core(core), offset, value, delay)

    def run(self, limit: int, progress: Callable[[int], None] | None = None,
            every: int = 100_000, *, cores: Collection[int] | None = None,
            any_of: bool = False) -> bool:
        """Clock until the interrupts of ``cores`` (by default of all), or with ``any_of`` until
        that of one of them; false if ``limit`` cycles pass without.

        ``progress`` gets the cycle every ``every`` cycles; what it raises ends the run and is
        raised from here (an interrupt from the keyboard arrives in the same way).
        """
        raised: list[BaseException] = []

        def call(cycle: int) -> int:
            try:
                if progress:
                    progress(cycle)
            except BaseException as e:
                raised.append(e)
            return len(raised)

        mask = sum(1 << self._core(c) for c in set(range(self.cores) if cores is None else cores))
        if not mask:
            raise ValueError("a run waits for the interrupt of one core at least")
        status = self._lib.harness_run(self._handle, limit, mask, any_of, every, PROGRESS(call))
        if raised:
            raise raised[0]
        self._check(status)
        return bool(status == IRQ)

    def ended(self, core: int = 0) -> int | None:
        """The cycle in which the last run first saw the interrupt of a core; None: it did not."""
        return int(self._lib.harness_ended(self._handle, self._core(core))) or None

    def _core(self, core: int) -> int:
        return _within(core, self.cores)

    def _check(self, status: int) -> None:
        if status in (VIOLATION, STOPPED):
            raise SimulationError(self._lib.harness_message(self._handle).decode())
        if status == NO_ANSWER:
            raise SimulationError("the control registers do not answer")


def _within(core: int, cores: int) -> int:
    if not 0 <= core < cores:
        raise ValueError(f"there is no core {core}: the simulation has {cores}, counted from 0")
    return core
