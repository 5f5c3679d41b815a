# SPDX-License-Identifier: Apache-2.0
"""Where the cycles of a run went: by layer from the trace, by engine from the counters.

A layer is a source node of the network. Its cycles are those by which its instructions move the
latest completion so far, in the order of the program: they add up to the cycles from the doorbell
to the last completion, and the compiler predicts the same quantity. Its roofline is
max(MACs / peak, bytes of its LOADs and STOREs / bus width). What it reaches of that is told by the
cycles in which any of its instructions is under way: layers overlap, and a layer that hides behind
another moves the latest completion by less than its work takes.

Of a program for several cores each core's run has the instructions of its rank, and so its own
layers; a layer's MACs are shared by all ranks, and the roofline takes them for even shares.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from isa.chip import ChipConfig
from isa.instructions import GANG_QUEUES, QUEUES, Instruction, Opcode
from isa.program import Program, ProgramError
from isa.registers import BUCKET_COUNTERS, BUCKET_NAMES
from makalu import facts
from makalu.measure.samples import random_inputs
from runtime.session import Session
from sim.device import RtlDevice

COMPUTE = ("tensor", "window", "vector")
STALLS = 2
"""Stall causes that are named for a layer."""

NO_NODE = "(none)"
"""The layer of instructions without a source node."""


@dataclass(frozen=True)
class Run:
    """One execution on the simulated hardware.

    Parameters
    ----------
    program : Program
    trace : array of :data:`sim.harness.TRACE`
    counters : dict of int
        By :data:`isa.registers.COUNTERS`.
    core : int, optional
        Which one of a chip.
    begin : int
        Cycles by which it began later than the first core of the chip.
    rank : int
        Of a program for several cores: whose instructions it ran.
    """

    program: Program
    trace: np.ndarray
    counters: dict[str, int]
    core: int | None = None
    begin: int = 0
    rank: int = 0

    @property
    def queues(self) -> tuple[str, ...]:
        """Those that the program has instructions for; a chip's cores have more."""
        return GANG_QUEUES if self.program.ranks > 1 else QUEUES

    @property
    def instructions(self) -> list[Instruction]:
        """Those that it ran, END included."""
        return self.program.instructions(self.rank)

    @property
    def predicted_cycles(self) -> list[int]:
        """Of each of them; may be empty."""
        of = self.program.streams[self.rank - 1] if self.rank else self.program
        return of.predicted_cycles

    def node_name(self, index: int) -> str:
        """The source node of an instruction, or ""."""
        return self.program.node_name(index, self.rank)

    @property
    def where(self) -> str:
        """What it ran on, for headings."""
        name = self.program.config.name
        return name if self.core is None else f"core {self.core}, {name}"

    def layer(self, index: int) -> str:
        """The layer of an instruction."""
        return self.node_name(index) or NO_NODE


@dataclass(frozen=True)
class ChipRun:
    """Executions on several cores of a chip at the same time, or one on all of them together.

    Parameters
    ----------
    chip : ChipConfig
    runs : list of Run
        By their cores, which are those of the ranks one after the other.
    moved_bytes : int
        That the memory's channels have moved: what cores read together, once.
    """

    chip: ChipConfig
    runs: list[Run]
    moved_bytes: int


def check_one_core(program: Program) -> None:
    """Refuse a program that takes several cores together.

    Raises
    ------
    isa.program.ProgramError
    """
    if program.ranks > 1:
        raise ProgramError(f"program {program.name!r} takes {program.ranks} cores together, and "
                           "this is of one alone: profile it on a chip (--device chip4), or "
                           "compile the model without --cores")


def measure(program: Program, seed: int = 0) -> Run:
    """Run a program once on random inputs; no engine's cycles depend on data.

    Raises
    ------
    isa.program.ProgramError
        If it takes several cores.
    """
    check_one_core(program)
    with RtlDevice(program.config) as device:
        session = Session(program, device)
        session.run(random_inputs(session.inputs, seed))
        return Run(program, device.trace, session.counters[0])


def labels(names: Sequence[str]) -> dict[str, str]:
    """Names for people: without the parts of a path that more than half of the names have, and
    without repetitions, unless two would be called alike."""
    parts = {name: name.split("/") for name in names}
    count = Counter(part for each in parts.values() for part in set(each))
    short = {name: "/".join(dict.fromkeys(p for p in each if 2 * count[p] <= len(parts))) or name
             for name, each in parts.items()}
    return short if len(set(short.values())) == len(parts) else {name: name for name in parts}


def frontier(trace: np.ndarray) -> np.ndarray:
    """By how much each instruction moves the latest completion so far."""
    return np.diff(np.maximum.accumulate(trace["done"]), prepend=0)


def under_way(trace: np.ndarray) -> int:
    """Cycles in which at least one of some instructions has started and is not done."""
    order = np.argsort(trace["start"], kind="stable")
    done = np.maximum.accumulate(trace["done"][order])
    start = np.maximum(trace["start"][order], np.append(0, done[:-1]))
    return int(np.maximum(done - start, 0).sum())


def spans(trace: np.ndarray) -> np.ndarray:
    """For each instruction ``[waits, start, end]``: from when on its engine had nothing else to do,
    when it began, and when it was done or, if that was earlier, the next one began. The spans of a
    queue do not overlap."""
    result = np.zeros((len(trace), 3), np.int64)
    for queue in range(len(GANG_QUEUES)):
        mine = np.flatnonzero(trace["queue"] == queue)
        start, done = trace["start"][mine], trace["done"][mine]
        end = np.minimum(done, np.append(start[1:], done[-1:]))
        before = np.append(0, end[:-1])[:len(mine)]
        waits = np.minimum(np.maximum(trace["dispatch"][mine], before), start)
        result[mine] = np.stack([waits, start, end], axis=1)
    return result


def layers(run: Run) -> list[dict[str, Any]]:
    """Each layer's numbers, in the order of the network."""
    program, config, predicted = run.program, run.program.config, run.predicted_cycles
    moved = frontier(run.trace)
    members: dict[str, list[int]] = {}
    for index in range(len(run.trace)):
        members.setdefault(run.layer(index), []).append(index)
    instructions = run.instructions
    macs = dict(zip(program.nodes, program.node_macs, strict=False))
    order = {name: k for k, name in enumerate([*program.nodes, NO_NODE])}
    rows = []
    for name in sorted(members, key=order.__getitem__):
        indices = members[name]
        moves = [instructions[k] for k in indices
                 if instructions[k].opcode in (Opcode.LOAD, Opcode.STORE)]
        traffic = sum(i.n0 * i.n1 * i.n2 * i.n3 for i in moves) * config.word_bytes
        roofline = max(-(-macs.get(name, 0) // (config.macs * program.ranks)),
                       -(-traffic // config.bus_bytes))
        busy = under_way(run.trace[indices])
        rows.append({
            "layer": name, "instructions": len(indices), "macs": macs.get(name, 0),
            "cycles": int(moved[indices].sum()), "under_way_cycles": busy,
            "roofline_cycles": roofline,
            "predicted_cycles": sum(predicted[k] for k in indices) if predicted else None,
            "roofline_share": facts.share(roofline, busy) if roofline else None,
            "dram_bytes": traffic, "stalls": _stalls(run.trace[indices])})
    return rows


def _stalls(trace: np.ndarray) -> list[dict[str, Any]]:
    """What the engines that compute, or, where none does, those that move data, spent most cycles
    on other than work."""
    busy = [q for q in COMPUTE if (trace["queue"] == QUEUES.index(q)).any()] or ["load", "store"]
    found: list[dict[str, Any]] = []
    for queue in busy:
        total = trace["cycles"][trace["queue"] == QUEUES.index(queue)].sum(axis=0)
        found += [{"engine": queue, "bucket": name, "cycles": int(count)}
                  for name, count in zip(BUCKET_NAMES, total, strict=True)
                  if name not in ("active", "idle") and count]
    return sorted(found, key=lambda s: -s["cycles"])[:STALLS]


def engines(run: Run) -> dict[str, dict[str, int]]:
    """The cycles of each engine by bucket; those of an engine add up to all cycles. Empty for a
    machine without ``profile``."""
    found = {queue: {name: run.counters[counter]
                     for name, counter in BUCKET_COUNTERS[queue].items() if counter in run.counters}
             for queue in run.queues}
    return {queue: buckets for queue, buckets in found.items() if any(buckets.values())}


def percentages(buckets: dict[str, int]) -> dict[str, float]:
    """The buckets in percent to one digit, such that they add up to 100: those that lose most by
    rounding down are rounded up."""
    total = sum(buckets.values())
    exact = {name: 1000 * n / total for name, n in buckets.items()}
    floor = {name: int(v) for name, v in exact.items()}
    for name in sorted(exact, key=lambda k: floor[k] - exact[k])[:1000 - sum(floor.values())]:
        floor[name] += 1
    return {name: v / 10 for name, v in floor.items()}


def summary(run: Run) -> dict[str, Any]:
    """Everything that the tables show, for ``--json``."""
    return {**facts.summary(run.program), **_measured(run)}


def summary_of_chip(run: ChipRun) -> dict[str, Any]:
    """The same of a chip's cores, which are a list; ``cycles`` are those from the first beginning
    to the last end, ``dram_share`` the part of the memory's beats in them that moved, ``ranks`` how
    many cores an input takes."""
    cycles = max(each.begin + each.counters["CYCLES"] for each in run.runs)
    return {**facts.summary(run.runs[0].program), "chip": run.chip.name, "cycles": cycles,
            "ranks": run.runs[0].program.ranks, "moved_bytes": run.moved_bytes,
            "dram_share": facts.share(-(-run.moved_bytes // run.chip.bytes_a_cycle), cycles),
            "cores": [{"core": each.core, "rank": each.rank, "begin": each.begin,
                       **_measured(each)}
                      for each in run.runs]}


def _measured(run: Run) -> dict[str, Any]:
    cycles = run.counters["CYCLES"]
    return {"cycles": cycles, "roofline_share": facts.share(run.program.roofline_cycles, cycles),
            "layers": layers(run),
            "engines": {queue: {"cycles": buckets, "percent": percentages(buckets)}
                        for queue, buckets in engines(run).items()}}
