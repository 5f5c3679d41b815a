# SPDX-License-Identifier: Apache-2.0
"""The compiler's model of time.

An engine is occupied by an instruction for a number of cycles that its loops give, and completes
it some cycles later (its tail: the last drain of the array, the latency of the memory). An
instruction starts when the one in front of it in its queue no longer occupies the engine and its
waits are met. What it adds to the program is by how much it moves the latest completion.
"""

from compiler.steps import Step
from isa.config import Config
from isa.instructions import QUEUES, WAIT_BITS

TENSOR_ISSUE = 6
"""Cycles between the last activation of an instruction and the first of the next one."""

TENSOR_LATENCY = 40
"""Cycles from the first activation to the completion, beyond accumulation and drain."""

VECTOR_LATENCY = 24
"""Cycles from the last read of a VECTOR instruction to its completion."""

DMA_LATENCY = 32
"""Cycles from the last beat of a transfer to its completion, and of the memory."""


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
    taps = f["ns"] * f["nr"] if f["vop"] else 2
    return f["nx"] * f["ny"] * f["ncb"] * taps * (config.lanes // config.vector_lanes)


def predict(steps: list[Step], config: Config) -> list[int]:
    """Cycles that each step adds to the program."""
    done: dict[str, list[int]] = {q: [] for q in QUEUES}
    through = dict.fromkeys(QUEUES, 0)
    latest, added = 0, []
    for step in steps:
        start = through[step.queue]
        for i, q in enumerate(QUEUES):
            if step.fields["wait_mask"] >> i & 1:
                want = step.fields[f"wait_{q}"]
                count = len(done[q]) - ((len(done[q]) - want) & ((1 << WAIT_BITS) - 1))
                start = max(start, done[q][count - 1])
        through[step.queue] = start + step.cycles
        end = start + step.cycles + step.tail
        done[step.queue].append(end)
        added.append(max(0, end - latest))
        latest = max(latest, end)
    return added
