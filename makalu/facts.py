# SPDX-License-Identifier: Apache-2.0
"""What is known of a program without running it, and what a run's counters mean."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from isa.errors import SUPPORTED
from isa.instructions import Opcode, Region
from isa.program import Program
from runtime.device import region_bytes

PRODUCTS = ("Conv", "MatMul", "Gemm", "LSTM", "GRU", "RNN", "Einsum", "Attention")
"""Parts of the names of operators that are made of products."""


def dram_bytes(program: Program) -> int:
    """Bytes that the instructions move between DRAM and the machine, themselves included."""
    return _moved(program, Region) + sum(
        len(code) for rank in range(program.ranks) for code in program.codes(rank))


def spilled_bytes(program: Program) -> int:
    """Of these the bytes that are written to the WORKSPACE and read from there: what did not stay
    in the scratchpad. Of a decoder the tokens of its cache are among them."""
    return _moved(program, (Region.WORKSPACE,))


def _moved(program: Program, regions: Iterable[Region]) -> int:
    """Bytes that LOADs and STOREs move from and to some regions."""
    wanted = set(map(int, regions))
    words = sum(i.n0 * i.n1 * i.n2 * i.n3 for rank in range(program.ranks)
                for i in program.instructions(rank)
                if i.opcode in (Opcode.LOAD, Opcode.STORE) and i.region in wanted)
    return words * program.config.word_bytes


@dataclass(frozen=True)
class Cost:
    """What an execution of a program costs on its machine, without the nodes that the host runs.

    Parameters
    ----------
    cycles : int
        The compiler's prediction; of a program without one the roofline.
    roofline_cycles : int
    held_bytes : int
        DRAM of its regions, for as long as it is loaded.
    moved_bytes : int
        Between DRAM and the machine.
    cores : int
        That it takes together, for those cycles.
    """

    cycles: int
    roofline_cycles: int
    held_bytes: int
    moved_bytes: int
    cores: int = 1

    def at(self, mhz: float, batch: int) -> dict[str, Any]:
        """The numbers at a clock, of a program that takes so many elements at once."""
        microseconds = self.cycles / mhz
        return {"batch": batch, "cycles": self.cycles, "microseconds": round(microseconds, 3),
                "elements_per_second": round(batch / microseconds * 1e6, 3),
                "roofline_cycles": self.roofline_cycles,
                "roofline_share": share(self.roofline_cycles, self.cycles),
                "moved_bytes": self.moved_bytes, "held_bytes": self.held_bytes}


def cost(program: Program) -> Cost:
    """What an execution costs."""
    return Cost(sum(program.predicted_cycles) or program.roofline_cycles or 1,
                program.roofline_cycles, sum(region_bytes(program, r) for r in Region),
                dram_bytes(program), program.ranks)


def node_cycles(program: Program) -> dict[str, int]:
    """Predicted cycles of each node, in the order of the program; empty without predictions."""
    cycles: dict[str, int] = {}
    for index, n in enumerate(program.predicted_cycles):
        name = program.node_name(index)
        cycles[name] = cycles.get(name, 0) + n
    return cycles


def host_alone(program: Program) -> bool:
    """Whether the host runs every node that computes, or all products, and none are left for the
    machine."""
    on_host = [p["op"] for p in program.placement if p["engine"] == "host"]
    return ({p["engine"] for p in program.placement} <= {"host", "none"}
            or not program.macs and any(kind in op for op in on_host for kind in PRODUCTS))


def host_alone_warning(program: Program) -> str:
    """What a user should know of such a program."""
    return (f"0 MACs of {program.name} are on {program.config.name}: every node that multiplies "
            "runs on the host, and results and cycles say nothing about the machine; see makalu "
            f"report, and {SUPPORTED}")


def summary(program: Program) -> dict[str, Any]:
    """A program's numbers, for people and for ``--json``."""
    predicted = sum(program.predicted_cycles)
    return {
        "name": program.name, "config": program.config.name, "precision": program.precision,
        "instructions": sum(len(program.codes(rank)) for rank in range(program.ranks)),
        "cores": program.ranks, "image_bytes": len(program.image),
        "macs": program.macs, "compulsory_bytes": program.compulsory_bytes,
        "dram_bytes": dram_bytes(program), "spilled_bytes": spilled_bytes(program),
        "roofline_cycles": program.roofline_cycles,
        "predicted_cycles": predicted or None,
        "predicted_share": share(program.roofline_cycles, predicted),
        "host_nodes": sum(p["engine"] == "host" for p in program.placement),
        "host_alone": host_alone(program),
    }


def share(part: float, whole: float) -> float | None:
    """``part / whole`` to four digits; None when there is no whole."""
    return round(part / whole, 4) if whole else None


def measured(program: Program, counters: Sequence[dict[str, int]]) -> dict[str, Any]:
    """The numbers of a run, each of one execution (the mean of several); what only hardware
    counts is None on a device without counters. ``dram_bytes_ahead`` are those of
    ``dram_bytes`` that the program does not ask for: instructions behind END, fetched ahead."""
    n = len(counters)
    names = counters[0].keys() if counters else ()

    def mean(name: str) -> int | None:
        return round(sum(c[name] for c in counters) / n) if name in names else None

    cycles, active = mean("CYCLES"), mean("TENSOR_ACTIVE")
    read, written = mean("DRAM_READ_BYTES"), mean("DRAM_WRITE_BYTES")
    least = dram_bytes(program)
    total = least if read is None or written is None else read + written
    return {
        "executions": n, "macs": program.macs, "cycles": cycles,
        "roofline_cycles": program.roofline_cycles, "dram_bytes": total,
        "dram_bytes_ahead": total - least,
        "roofline_share": share(program.roofline_cycles, cycles) if cycles else None,
        "mac_utilization": share(program.macs, cycles * program.config.macs) if cycles else None,
        "array_active_share": share(active, cycles)
        if cycles and active is not None else None,
        "counters": {name: mean(name) for name in names},
    }


def on_host(program: Program) -> list[str]:
    """The nodes that the host runs, one a line: name, operator, reason."""
    return [f"{p['node']} ({p['op']}): {p['reason']}" for p in program.placement
            if p["engine"] == "host"]
