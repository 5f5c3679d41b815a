# SPDX-License-Identifier: Apache-2.0
"""Writes the table of ``docs/chip.md``: ``python -m makalu.pages.chip [NETWORK…]``.

Each network, a file or one that ``makalu bench`` measures by itself, by default the one that is
shipped, runs on several simulated cores at once, one input each, in front of one memory; every
core's bits are compared with the golden model, and its cycles with the compiler's model of time.
``--chip chip4`` runs it on the cores of a chip instead, through its hub and chip control, as a gang
that reads weights and instructions once. What was measured before stays in the table.
"""

import argparse
import math
from collections.abc import Iterator, Sequence

import numpy as np

from compiler.machine.shared import together
from isa.chip import CHIPS, ChipConfig
from isa.config import Config
from isa.instructions import Region
from isa.program import Program
from makalu import api
from makalu.measure.networks import SHIPPED, Network
from makalu.pages.isa_pages import DOCS
from makalu.pages.kept import Kept, Row, known, named
from runtime.device import Result
from runtime.golden_device import GoldenDevice
from sim.chip_device import RtlChip
from sim.cores import RtlCores
from sim.harness import DramModel

TITLES = ("network", "machine", "price", "DRAM, B/cycle", "cores", "RTL: first core, cycles",
          "last core", "of one alone", "DRAM busy", "model of time", "against the last core")
CORES, WIDTHS = (1, 2, 4), (16, 32)

KEY = ("network", "machine", "price", "width", "cores")
"""Of these there is one row; ``machine``: what the cores are, or which chip they are on."""


def memory(config: Config, width: int) -> DramModel:
    """A memory of ``width`` bytes a cycle, in channels as wide as the machine's bus."""
    channels = max(1, math.ceil(width / config.bus_bytes))
    return DramModel(channels=channels, bandwidth=width / channels / config.bus_bytes)


def inputs(program: Program, count: int) -> list[np.ndarray]:
    """Random bytes of region INPUT, for each core others."""
    size = program.region_sizes.get(Region.INPUT, 0)
    return [np.random.default_rng(core).integers(0, 256, size, np.uint8) for core in range(count)]


def outputs(program: Program, regions: Sequence[np.ndarray]) -> list[np.ndarray]:
    """What the golden model makes of each."""
    with GoldenDevice(program.config) as device:
        device.load(program)
        return [device.execute(region).outputs for region in regions]


def measured(network: Network, machine: str, price: float, widths: Sequence[int],
             cores: Sequence[int]) -> Iterator[Row]:
    """The rows of a network, on cores with no more than a memory between them, or on those of a
    chip, whose width is its own.

    Raises
    ------
    AssertionError
        If a core's outputs are not the golden model's, bit for bit.
    """
    chip = CHIPS.get(machine)
    program = api.compile(network.source(), chip.core if chip else machine, host=("all",),
                          name=network.label, dram_price=price)
    given = inputs(program, max(cores))
    golden = outputs(program, given)
    for width in (chip.bytes_a_cycle,) if chip else widths:
        for count in cores:
            found, moved = (_on_chip(program, chip, given[:count]) if chip
                            else _on_memory(program, width, given[:count]))
            for core, result in enumerate(found):
                assert np.array_equal(result.outputs, golden[core]), \
                    f"{network.label} on core {core} of {count}: bits"
            took = [result.counters["CYCLES"] for result in found]
            yield {"network": network.label, "machine": machine, "price": price, "width": width,
                   "cores": count, "first": min(took), "last": max(took),
                   "bytes": moved,
                   "model": max(together([program] * count, width, gang=chip is not None))}


def _on_memory(program: Program, width: int, given: Sequence[np.ndarray]
               ) -> tuple[list[Result], int]:
    """The results of the cores, and the bytes that the memory moved."""
    with RtlCores(program.config, len(given), dram=memory(program.config, width)) as device:
        device.load(program)
        found = [outcome.result for outcome in device.execute(given)]
        return found, sum(result.counters[f"DRAM_{way}_BYTES"] for result in found
                          for way in ("READ", "WRITE"))


def _on_chip(program: Program, chip: ChipConfig, given: Sequence[np.ndarray]
             ) -> tuple[list[Result], int]:
    with RtlChip(chip, len(given)) as device:
        device.load(program)
        before = sum(device.harness.channel_beats)
        found = device.execute_all(given)
        beats = sum(device.harness.channel_beats) - before
        return found, beats * chip.core.bus_bytes


def _cells(row: Row, rows: list[Row]) -> list[str]:
    alone = [r["last"] for r in rows
             if r["cores"] == 1 and all(r[k] == row[k] for k in KEY if k != "cores")]
    return [row["network"], row["machine"], row["price"] or "", row["width"], row["cores"],
            f"{row['first']:,}", f"{row['last']:,}",
            f"{alone[0] / row['last']:.1%}" if alone else "",
            f"{row['bytes'] / row['width'] / row['last']:.1%}", f"{row['model']:,}",
            f"{row['model'] / row['last'] - 1:+.1%}"]


KEPT = Kept("figures", DOCS / "chip.json", TITLES, KEY, _cells)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", nargs="*", default=[SHIPPED.stem], metavar="NETWORK",
                        help=f"a file, or one of {', '.join(known())}")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--machine", default="core256")
    where.add_argument("--chip", choices=list(CHIPS), metavar="NAME",
                       help=f"one of {', '.join(CHIPS)}")
    parser.add_argument("--price", type=float, default=0.0,
                        help="of a DRAM byte, as makalu compile takes it")
    parser.add_argument("--cores", nargs="+", type=int, default=CORES)
    parser.add_argument("--bandwidth", nargs="+", type=int, default=WIDTHS, metavar="BYTES",
                        help="of the memory, bytes a cycle")
    args = parser.parse_args()
    for name in args.networks:
        KEPT.add(measured(named(name), args.chip or args.machine, args.price, args.bandwidth,
                          args.cores))


if __name__ == "__main__":
    main()
