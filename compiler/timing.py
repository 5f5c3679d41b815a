# SPDX-License-Identifier: Apache-2.0
"""The compiler's model of time.

An engine works on an instruction for a number of cycles that its loops give; an instruction starts
when the one in front of it in its queue is through and its waits are met. What it adds to the
program is by how much it moves the latest completion.
"""

from compiler.steps import Step
from isa.config import Config
from isa.instructions import QUEUES, WAIT_BITS

TENSOR_LATENCY = 40
"""Cycles from the last activation of a block to its first drained output, and start-up."""

VECTOR_LATENCY = 24
DMA_LATENCY = 32


def dma_cycles(config: Config, words: int, runs: int) -> int:
    """A transfer: the bus, and a short address phase for each run that is not contiguous."""
    return -(-words * config.word_bytes // config.bus_bytes) + runs


def block_cycles(config: Config, pixels: int, passes: int, gn: int) -> tuple[int, int]:
    """Accumulation and drain of one accumulator block."""
    load = gn * config.lanes // config.weight_words
    return passes * max(pixels, load), -(-pixels * config.lanes // config.ppu_lanes)


def tensor_cycles(config: Config, f: dict[str, int]) -> int:
    """A TENSOR instruction: its blocks, drained while the next one accumulates."""
    passes = f["ns"] * f["nr"] * f["ncb"]
    gn = config.tiles >> f["m_split"]
    total = last = 0
    for count_x, nx in ((f["ntx"] - 1, f["nx"]), (1, f["nx_last"])):
        for count_y, ny in ((f["nty"] - 1, f["ny"]), (1, f["ny_last"])):
            work, drain = block_cycles(config, nx * ny, passes, gn)
            if count_x * count_y:
                total += count_x * count_y * f["nnb"] * max(work, drain)
                last = drain
    fill = gn * config.lanes // config.weight_words
    return total + fill + (0 if f["hold"] else last) + TENSOR_LATENCY


def vector_cycles(config: Config, f: dict[str, int]) -> int:
    """A VECTOR instruction: one word and tap takes ``lanes / vector_lanes`` cycles."""
    taps = f["ns"] * f["nr"] if f["vop"] else 2
    return (f["nx"] * f["ny"] * f["ncb"] * taps * (config.lanes // config.vector_lanes)
            + VECTOR_LATENCY)


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
        end = start + step.cycles
        through[step.queue] = end
        if step.queue in ("load", "store"):
            end += DMA_LATENCY
        done[step.queue].append(end)
        added.append(max(0, end - latest))
        latest = max(latest, end)
    return added
