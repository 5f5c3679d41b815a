# SPDX-License-Identifier: Apache-2.0
"""The compiler's model of time.

An engine is occupied by an instruction for a number of cycles that its loops give, and completes
it some cycles later (its tail: the last drain of the array, the latency of the memory). An
instruction starts when the one in front of it in its queue no longer occupies the engine and its
waits are met. What it adds to the program is by how much it moves the latest completion.
"""

from compiler.steps import Step
from isa.config import PARAM_WORDS, Config
from isa.instructions import INSTRUCTION_BYTES, QUEUES, WAIT_BITS, Opcode

TENSOR_ISSUE = 6
"""Cycles between the last activation of an instruction and the first of the next one."""

TENSOR_LATENCY = 40
"""Cycles from the first activation to the completion, beyond accumulation and drain."""

VECTOR_LATENCY = 24
"""Cycles from the last read of a VECTOR instruction to its completion."""

WINDOW_ISSUE = 4
"""Cycles between the last step of a WINDOW instruction and the first of the next one."""

WINDOW_LATENCY = 24
"""Cycles from the last step of a WINDOW instruction to its completion."""

DMA_LATENCY = 32
"""Cycles from the last beat of a transfer to its completion, and of the memory."""

READ_LATENCY = 50
"""Cycles from the start of a LOAD to its first beat."""

FETCH_LATENCY = 60
"""Cycles from the doorbell to the first instruction."""

TENSOR_START = 6
"""Cycles from the completion that a TENSOR waits for to its first vector."""

WEIGHTS_FIRST = 12
"""Cycles from the completion of a LOAD to the first vector with its weights."""


def dma_cycles(config: Config, words: int, runs: int) -> int:
    """A transfer: the bus, and a short address phase for each run that is not contiguous."""
    return -(-words * config.word_bytes // config.bus_bytes) + runs


def block_cycles(config: Config, pixels: int, passes: int, gn: int) -> tuple[int, int]:
    """Accumulation and drain of one accumulator block."""
    load = gn * config.lanes // config.weight_words
    return passes * max(pixels, load), -(-pixels * config.lanes // config.ppu_lanes)


def tensor_cycles(config: Config, f: dict[str, int]) -> tuple[int, int]:
    """Occupation and tail of a TENSOR instruction: a block drains while the next accumulates."""
    passes = f["ns"] * f["nr"] * f["ncb"]
    gn = config.tiles >> f["m_split"]
    total = drain = 0
    for count_x, nx in ((f["ntx"] - 1, f["nx"]), (1, f["nx_last"])):
        for count_y, ny in ((f["nty"] - 1, f["ny"]), (1, f["ny_last"])):
            work, drain = block_cycles(config, nx * ny, passes, gn)
            total += count_x * count_y * f["nnb"] * max(work, drain)
    return total + TENSOR_ISSUE, TENSOR_LATENCY + (0 if f["hold"] else drain)


def vector_cycles(config: Config, f: dict[str, int]) -> int:
    """A VECTOR instruction: one word and tap takes ``lanes / vector_lanes`` cycles."""
    return f["nx"] * f["ny"] * f["ncb"] * max(f["ns"] * f["nr"],
                                              config.lanes // config.vector_lanes)


def window_cycles(config: Config, f: dict[str, int]) -> int:
    """A WINDOW instruction: a step a cycle, a cycle for a column outside the image, no faster than
    outputs and weights come and go."""
    columns = (f["nx"] - 1) * f["stride"] + f["ns"]
    low = max(0, -(f["ix0"] // f["ix_x"]))
    high = min(columns, -(-(f["iw"] - f["ix0"]) // f["ix_x"]))
    inside = max(0, high - low)
    step = f["nr"] * f["ng"]
    row = max(inside * step + columns - inside, f["nx"] * config.lanes // config.window_lanes)
    load = (config.tiles >> f["m_split"]) * (f["stride"] * step * config.window_taps + PARAM_WORDS)
    return f["nnb"] * max(f["ny"] * row, load) + WINDOW_ISSUE


class Machine:
    """The engines' clocks while a program is placed on them, instruction by instruction.

    Parameters
    ----------
    config : Config
    """

    def __init__(self, config: Config):
        self._config = config
        self._free = dict.fromkeys(QUEUES, 0)
        self._starts: dict[str, list[int]] = {q: [] for q in QUEUES}
        self._fetch_beats = -(-INSTRUCTION_BYTES // config.bus_bytes)
        self._fetched = FETCH_LATENCY
        self._dispatched = 0
        self._bus = self._loaded = 0
        self._weights = self._drained = 0

    def free(self, queue: str) -> int:
        """When an engine can start its next instruction."""
        return self._free[queue]

    def place(self, step: Step, waits: list[tuple[str, int]]) -> int:
        """Start the next instruction of the program; ``waits``: queue and completion of whatever
        it waits for. Returns when it is complete."""
        queue, depth = step.queue, self._config.queue_depth + 1
        starts = self._starts[queue]
        self._fetched += self._fetch_beats
        self._bus += self._fetch_beats
        self._dispatched = max(self._dispatched + 1, self._fetched,
                               starts[-depth] if len(starts) >= depth else 0)
        start = max([self._free[queue], self._dispatched + 1, *(end for _, end in waits)])
        if step.opcode is Opcode.TENSOR:
            loaded = max([self._weights, self._dispatched + 1,
                          *(end for q, end in waits if q == "load")])
            start = max(start + TENSOR_START, loaded + WEIGHTS_FIRST)
            self._weights = self._free[queue] = start + step.cycles - TENSOR_START
            self._drained = end = max(start + step.cycles, self._drained) + step.tail
            if not step.fields["hold"]:
                self._drained = end - TENSOR_LATENCY
        elif step.opcode in (Opcode.LOAD, Opcode.STORE):
            latency = READ_LATENCY if step.opcode is Opcode.LOAD else 0
            first = max(start + latency, self._bus, self._loaded if latency else 0)
            self._bus = first + step.cycles
            if latency:
                self._loaded = self._bus
            self._free[queue] = max(start + 1, self._bus - latency)
            end = self._bus + step.tail
        else:
            self._free[queue] = start + step.cycles + step.tail
            end = self._free[queue]
        starts.append(start)
        return end


def predict(steps: list[Step], config: Config) -> list[int]:
    """Cycles that each step adds to the program."""
    machine = Machine(config)
    done: dict[str, list[int]] = {q: [] for q in QUEUES}
    latest, added = 0, []
    for step in steps:
        waits = []
        for i, q in enumerate(QUEUES):
            if step.fields["wait_mask"] >> i & 1:
                want = step.fields[f"wait_{q}"]
                count = len(done[q]) - ((len(done[q]) - want) & ((1 << WAIT_BITS) - 1))
                waits.append((q, done[q][count - 1]))
        end = machine.place(step, waits)
        done[step.queue].append(end)
        added.append(max(0, end - latest))
        latest = max(latest, end)
    return added
