# SPDX-License-Identifier: Apache-2.0
"""The compiler's model of time.

An engine is occupied by an instruction for a number of cycles that its loops give, and completes
it some cycles later (its tail: the last drain of the array, the latency of the memory). An
instruction starts when the one in front of it in its queue no longer occupies the engine and its
waits are met. What it adds to the program is by how much it moves the latest completion.
"""

import functools
import math
from collections.abc import Callable

from compiler.machine.steps import Step
from isa.config import FLOAT_PARAM_WORDS, PARAM_WORDS, Config
from isa.instructions import Opcode, VectorOp, queues_of

FETCH_LATENCY = 54
"""Cycles from the doorbell to the first instruction, beyond its own beats."""

DISPATCH = 6
"""Cycles from an instruction's way into its queue to its start."""

WAIT = 3
"""Cycles from a completion to the start of an instruction that waits for it."""

TENSOR_PIPE = 17
"""Cycles from the last vector of a block to the start of its drain."""

TENSOR_LATENCY = 35
"""Cycles from the end of a drain to the completion, and from an instruction to its first vector."""

FLOAT_TENSOR_LATENCY = 30
"""What floats take longer behind a drain."""

RESIDUAL_LATENCY, FLOAT_RESIDUAL_LATENCY = 28, 5
"""By how much later a drain with residuals starts, of integers and of floats."""

DRAIN_NEXT = -2
"""Cycles from the completion of an instruction to the start of the next drain, on the clock of the
blocks, which runs ahead by the way from an instruction to its first vector."""

HANDED = 7
"""Cycles from the completion of a TENSOR to the start of the one after the next: the drain holds no
more than two."""

BLOCK_SWAP = 10
"""Cycles between channel blocks of the window engine whose kernel has a stride."""

VECTOR_LATENCY = 38
"""Cycles from the last read of a VECTOR instruction to its completion."""

FLOAT_VECTOR_LATENCY, FUNCTION_LATENCY = 28, 40
"""What floats take longer, and functions of them longer still."""

WINDOW_LATENCY = 36
"""Cycles from the last step of a WINDOW instruction to its completion."""

FLOAT_WINDOW_LATENCY = 18
"""What it takes longer on a machine that has floats."""

CONFLICTS = 1.0
"""Words that the other engines take from the scratchpad in a cycle while the window or the vector
engine reads: it loses a cycle to them once in ``banks / CONFLICTS`` reads."""

SHARED_ROWS, LONG_ROW = 0.26, 32
"""What the window engine loses for each further pixel stream, in rows of so many columns."""

LOAD_LATENCY = 8
"""Cycles from the last beat of a LOAD to its completion."""

READ_LATENCY = 53
"""Cycles from the start of a LOAD to its first beat."""

LOAD_ADDRESS = 7
"""Of those, to its first address."""

HUB_LATENCY = 8
"""What a core of a chip waits longer for what it reads."""

FETCH_AGAIN = 4
"""Cycles from the instruction fetch's asking for a block to its asking for the next one."""

DECODE = 1
"""Cycles of an instruction in the decoder, beside those of its beats."""

STORE_LATENCY = 39
"""Cycles from the last beat of a STORE to its completion."""

MOVERS = ("load", "store")
"""Queues whose instructions are transfers."""

EXCHANGERS = ("send", "await")
"""Queues whose instructions are between cores."""

EXCHANGE_LATENCY = 22
"""Cycles from the last beat of an XFER, or from a SIGNAL, to the count at the receivers."""

LANDING = 1.5
"""Cycles of a beat of an XFER, on average: its words are the last to have a bank where they land.
The bus between the cores has it for a cycle."""

AWAIT, AWAIT_NEXT = 2, 3
"""Cycles of an AWAIT whose signals have come, and from its completion to the start of the next."""


def dma_cycles(config: Config, words: int, runs: int) -> int:
    """A transfer: the bus, and a short address phase for each run that is not contiguous."""
    return -(-words * config.word_bytes // config.bus_bytes) + runs


@functools.lru_cache(maxsize=4096)
def pass_cycles(config: Config, pixels: int, gn: int) -> float:
    """A pass of ``pixels`` in which ``gn`` tiles take weights of their own, on average over the
    banks in which its streams of activations start.

    A stream goes a bank further each cycle, each port for weights ``weight_words`` banks; where
    they meet the port waits. With two words a port then meets the stream again at each further
    word, and is no faster than it until its pixels are read. With one word, and as many pixels,
    both go in step, and meet again in each pass.
    """
    words, banks = config.weight_words, config.spm_banks
    load, streams = gn * config.lanes // words, config.tiles // gn
    if words == 1 and pixels == load:
        return load + 1
    if pixels >= load * words:
        return pixels

    @functools.cache
    def cycles(start: int) -> int:
        """A port's, with the first stream so many banks in front of it."""
        done = cycle = 0
        while done < load:
            apart = cycle - done * words
            done += cycle >= pixels or all(
                (start * (2 * k + 1) + apart) % banks for k in range(streams))
            cycle += 1
        return cycle

    return sum(max(pixels, *(cycles((start + word) % banks) for word in range(words)))
               for start in range(banks)) / banks


@functools.lru_cache(maxsize=65536)
def block_cycles(config: Config, pixels: int, passes: int, gn: int) -> tuple[int, int]:
    """Accumulation and drain of one accumulator block; where weights take longer than pixels, the
    parameters behind the last of them are waited for, too."""
    params = gn * PARAM_WORDS // config.weight_words
    one = pass_cycles(config, pixels, gn)
    return (math.ceil(passes * one) + (params if one > pixels else 0),
            -(-pixels * config.lanes // config.ppu_lanes))


Blocks = list[tuple[int, int, int]]
"""Accumulator blocks of one instruction: how many, their accumulation, their drain."""


def tensor_blocks(config: Config, f: dict[str, int]) -> Blocks:
    """The blocks of a TENSOR instruction."""
    passes = f["ns"] * f["nr"] * f["ncb"]
    gn = config.tiles >> f["m_split"]
    return [(count_x * count_y * f["nnb"], *block_cycles(config, nx * ny, passes, gn))
            for count_y, ny in ((f["nty"] - 1, f["ny"]), (1, f["ny_last"]))
            for count_x, nx in ((f["ntx"] - 1, f["nx"]), (1, f["nx_last"])) if count_x * count_y]


def tensor_cycles(blocks: Blocks) -> int:
    """Occupation by a TENSOR instruction: a block drains while the next accumulates."""
    return sum(count * max(work, drain) for count, work, drain in blocks)


def vector_cycles(config: Config, f: dict[str, int]) -> int:
    """A VECTOR instruction: two kernel rows go together, a tap of each a cycle if they have ports
    of their own."""
    rows = f["nr"] if config.shared_ports else -(-f["nr"] // 2)
    taps = f["ns"] * rows * (1 + CONFLICTS / config.spm_banks)
    lanes = config.lanes // (2 if f["a_type"] else 1)
    slices = lanes // min(lanes, config.vector_lanes)
    return round(f["nx"] * f["ny"] * f["ncb"] * max(taps, slices))


def window_cycles(config: Config, f: dict[str, int], words: float = CONFLICTS) -> int:
    """A WINDOW instruction: a step a cycle, a cycle for a column outside the image, no faster than
    outputs and weights come and go; ``words``: what others take from the scratchpad in a cycle
    meanwhile."""
    columns = (f["nx"] - 1) * f["stride"] + f["ns"]
    low = max(0, -(f["ix0"] // f["ix_x"]))
    high = min(columns, -(-(f["iw"] - f["ix0"]) // f["ix_x"]))
    inside = max(0, high - low)
    step = f["nr"] * f["ng"]
    slices = config.lanes // config.window_lanes
    lost = 1.0
    if f["ng"] == 1:  # a word that takes several steps comes in time for the next ones
        lost += words / config.spm_banks
        # rows of pixel streams read the same words, kernel rows apart
        if f["nr"] > 1 and f["stride"] == 1:
            lost += SHARED_ROWS * ((1 << f["m_split"]) - 1) * min(1, f["nx"] / LONG_ROW)
    # the sums of columns behind the image come one behind the other
    row = inside * step * lost + columns - inside
    row += (slices - 1) * (high < columns)
    params = FLOAT_PARAM_WORDS if f["dtype"] else PARAM_WORDS
    words = f["stride"] * step * config.window_taps + params
    load = (config.tiles >> f["m_split"]) * words * lost
    swap = BLOCK_SWAP if f["stride"] > 1 else 0
    return round(f["nnb"] * (max(f["ny"] * max(row, f["nx"] * slices), load) + swap))


def tail_cycles(config: Config, opcode: Opcode, f: dict[str, int]) -> int:
    """Cycles from the end of an instruction's occupation of its engine to its completion."""
    if opcode == Opcode.TENSOR:
        return TENSOR_LATENCY + (FLOAT_TENSOR_LATENCY if f["dtype"] else 0)
    if opcode == Opcode.VECTOR:
        return (VECTOR_LATENCY + (FLOAT_VECTOR_LATENCY if f["a_type"] else 0)
                + (FUNCTION_LATENCY if VectorOp(f["vop"]).function else 0))
    if opcode == Opcode.WINDOW:
        return WINDOW_LATENCY + (FLOAT_WINDOW_LATENCY if config.floats else 0)
    if opcode == Opcode.AWAIT:
        return 0
    if opcode in (Opcode.XFER, Opcode.SIGNAL):
        return EXCHANGE_LATENCY + AWAIT - 1
    return LOAD_LATENCY if opcode == Opcode.LOAD else STORE_LATENCY


def timed(config: Config, opcode: Opcode, f: dict[str, int]) -> tuple[int, int, Blocks]:
    """A step's ``cycles``, ``tail`` and ``blocks`` by its opcode and its fields."""
    blocks: Blocks = []
    if opcode == Opcode.TENSOR:
        blocks = tensor_blocks(config, f)
        cycles = tensor_cycles(blocks)
    elif opcode == Opcode.VECTOR:
        cycles = vector_cycles(config, f)
    elif opcode == Opcode.WINDOW:
        cycles = window_cycles(config, f)
    elif opcode in (Opcode.SIGNAL, Opcode.AWAIT):
        cycles = AWAIT if opcode is Opcode.AWAIT else 1
    elif opcode == Opcode.XFER:
        beats = -(-f["n0"] * config.word_bytes // config.bus_bytes)
        cycles = round(LANDING * f["n1"] * f["n2"] * f["n3"] * beats)
    else:
        runs = f["n1"] * f["n2"] * f["n3"]
        cycles = dma_cycles(config, f["n0"] * runs, runs)
    return cycles, tail_cycles(config, opcode, f), blocks


def alone(step: Step, first: int) -> int:
    """When the last beat of a step has moved, if nothing is in its way."""
    return first + step.cycles


class Machine:
    """The engines' clocks while a program is placed on them, instruction by instruction.

    Parameters
    ----------
    config : Config
    hub : bool
        Whether its memory is behind the hub of a chip.

    Attributes
    ----------
    free : dict
        When the engine of each queue can start its next instruction.
    bus : int
        When the next beat can move.
    """

    STEADY = 4
    """Equal blocks after which the others follow in the same rhythm."""

    def __init__(self, config: Config, hub: bool = False):
        self._config, self._hub = config, HUB_LATENCY if hub else 0
        queues = queues_of(config)
        self.free = dict.fromkeys(queues, 0)
        self._starts: dict[str, list[int]] = {q: [] for q in queues}
        self._came = dict.fromkeys(queues, 0)
        self._fetched = FETCH_LATENCY + self._hub
        self._dispatched = 0
        self.bus = self._loaded = 0
        self._banks = [0, 0]
        self._handed = [0, 0]

    def place(self, step: Step, waits: int, moved: Callable[[Step, int], int] = alone
              ) -> tuple[int, int]:
        """Start the next instruction of the program; ``waits``: the last completion that it waits
        for (0: none); ``moved``: when its last beat has moved, if the first one may in some cycle,
        by default with a memory for this machine alone. Returns when it starts and when it is
        complete."""
        beats = self.beats(step)
        self.bus += beats
        start, first = self.start(step, self.dispatch(step, beats), waits)
        return start, self.end(step, start, moved(step, first))

    def beats(self, step: Step) -> int:
        """What it takes to read an instruction."""
        return step.code_bytes // self._config.bus_bytes

    def room(self, step: Step) -> bool:
        """Whether it is known when the queue of the next instruction of the program has room."""
        queue = step.queue
        return self._came[queue] - len(self._starts[queue]) <= self._config.queue_depth

    def dispatch(self, step: Step, beats: int, came: int | None = None) -> int:
        """Read the next instruction of the program, into its queue. Returns when it is there;
        ``came``: when its last beat has, by default a beat a cycle behind the one before."""
        queue, depth = step.queue, self._config.queue_depth + 1
        self._fetched += beats
        decoded = self._dispatched + (1 if came is None else beats + DECODE)
        left = self._came[queue] - depth
        self._came[queue] += 1
        self._dispatched = max(decoded, self._fetched if came is None else came,
                               self._starts[queue][left] if left >= 0 else 0)
        return self._dispatched

    def start(self, step: Step, dispatched: int, waits: int) -> tuple[int, int]:
        """Start the next instruction of its queue. Returns when, and of a transfer when its first
        beat can move."""
        queue = step.queue
        starts = self._starts[queue]
        start = max(self.free[queue], dispatched + DISPATCH, waits + WAIT)
        if queue == "tensor":
            start = max(start, self._handed[0] + HANDED)
        starts.append(start)
        if queue == "load":
            return start, max(start + READ_LATENCY + self._hub, self.bus, self._loaded)
        return start, max(start, self.bus) if queue == "store" else start

    def end(self, step: Step, start: int, last: int, asked: int | None = None) -> int:
        """When the instruction that was started last is complete; ``last``: when the last beat of a
        transfer has moved, or what it awaits has come; ``asked``: when the first beat of what a
        transfer behind a hub has asked for last could move, were the memory idle."""
        queue = step.queue
        if queue == "tensor":
            return self._tensor(step, start)
        if queue in EXCHANGERS:
            self.free[queue] = last + (AWAIT_NEXT if queue == "await" else 0)
            return last + step.tail
        if queue in MOVERS:
            ahead = READ_LATENCY + self._hub if queue == "load" else 0
            if asked is None:
                self.bus = asked = last
                if queue == "load":
                    self._loaded = last
            self.free[queue] = max(start + 1, asked - ahead)
            return last + step.tail
        end = start + step.cycles + step.tail
        # a VECTOR starts when the one before is complete
        self.free[queue] = end if queue == "vector" else start + step.cycles
        return end

    def _tensor(self, step: Step, start: int) -> int:
        """Blocks accumulate in one bank while the one before drains out of the other."""
        at, (older, newer) = start, self._banks
        late = 0
        if step.fields.get("residual"):
            late = FLOAT_RESIDUAL_LATENCY if step.fields["dtype"] else RESIDUAL_LATENCY
        drained = self._handed[1] + DRAIN_NEXT + late
        for count, work, drain in step.blocks:
            for _ in range(min(count, self.STEADY)):
                at = max(at, older) + work
                if step.fields["hold"]:
                    continue
                older, newer = newer, max(at + TENSOR_PIPE + late, newer, drained) + drain
            rest = max(0, count - self.STEADY) * max(work, drain)
            at, older, newer = at + rest, older + rest, newer + rest
        self._banks = [older, newer]
        self.free["tensor"] = at + 1
        end = (at + TENSOR_PIPE if step.fields["hold"] else newer) + step.tail
        self._handed = [self._handed[1], end]
        return end
