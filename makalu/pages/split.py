# SPDX-License-Identifier: Apache-2.0
"""Writes the table of split networks in ``docs/chip.md``: ``python -m makalu.pages.split [NETWORK…]
--chip chip4 --cores 4 [--teams 2]``.

A network, a file, one that ``makalu bench`` measures by itself or a transformer's first layers
(``bert_base:1``), by default the one that is shipped, is compiled for one core and for several, and
each program runs by itself on the simulated chip: one input, or one for each of several teams. Its
bits are compared with the golden model's of one core, its cycles with those of one core and with
the compiler's model of time. What was measured before stays in the table; it is kept beside the
page as JSON.
"""

import argparse
import time
from collections.abc import Iterator, Sequence
from contextlib import closing

import numpy as np

from isa.chip import CHIPS, ChipConfig
from isa.program import Program
from makalu import api
from makalu.measure.networks import SHIPPED, Network
from makalu.measure.transformers import TRANSFORMERS
from makalu.pages.chip import inputs, outputs
from makalu.pages.isa_pages import DOCS
from makalu.pages.kept import Kept, Row, known, named
from makalu.plan import in_groups
from makalu.see.chip_run import watched
from sim.cache import say

TITLES = ("network", "chip", "inputs x cores", "RTL, cycles", "of one core", "model of time",
          "against RTL", "simulated in")
PRICE = 0.25
"""Of a DRAM byte on one core: of the prices tried that of the fewest cycles. For several the
compiler tries one by itself."""

KEY = ("network", "chip", "cores", "teams")
"""Of these there is one row."""


def measured(network: Network, chip: ChipConfig, cores: Sequence[int], teams: int,
             precision: str = "int8") -> Iterator[Row]:
    """The rows of a network, that of one core first, then of so many teams of each number of cores.

    Raises
    ------
    AssertionError
        If a program's outputs are not the golden model's of one core, bit for bit.
    """
    alone = _compiled(network, chip, 1, precision)
    given = inputs(alone, teams)
    right = outputs(alone, given)
    for count, many in [(1, 1), *((count, teams) for count in cores if (count, teams) != (1, 1))]:
        program = alone if count == 1 else _compiled(network, chip, count, precision)
        start = time.monotonic()
        seen, device = watched(chip, many * count, many * count)
        with closing(seen):
            device.load(program)
            found, cycles = device.execute_all(given[:many]), seen.lasted
        for result, bits in zip(found, right):
            assert np.array_equal(result.outputs, bits), f"{network.label} on {count} cores: bits"
        yield {"network": network.label, "chip": chip.name, "cores": count, "teams": many,
               "cycles": cycles,
               "model": in_groups(program, many * count, chip.bytes_a_cycle),
               "seconds": round(time.monotonic() - start)}


def _compiled(network: Network, chip: ChipConfig, cores: int, precision: str) -> Program:
    say(f"compiling {network.label} for {cores} of {chip.name}")
    return api.compile(network.source(), chip.core, host=("all",), name=network.label,
                       cores=cores, dram_price=PRICE if cores == 1 else 0, precision=precision)


def _network(name: str) -> Network:
    """One by its name, a transformer's first layers, or a file."""
    kind, _, layers = name.partition(":")
    if kind in TRANSFORMERS and layers:
        return Network(name, lambda: TRANSFORMERS[kind](int(layers)))
    return named(name)


def _cells(row: Row, rows: list[Row]) -> list[str]:
    (alone,) = (r["cycles"] for r in rows
                if r["cores"] == r["teams"] == 1 and all(
                    r[k] == row[k] for k in ("network", "chip")))
    return [row["network"], row["chip"], f"{row['teams']} x {row['cores']}", f"{row['cycles']:,}",
            f"{alone / row['cores'] / row['cycles']:.1%}", f"{row['model']:,}",
            f"{row['model'] / row['cycles'] - 1:+.1%}", f"{row['seconds']} s"]


KEPT = Kept("split", DOCS / "split.json", TITLES, KEY, _cells)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", nargs="*", default=[SHIPPED.stem], metavar="NETWORK",
                        help=f"a file, one of {', '.join(known())}, or layers of a transformer, "
                             f"{', '.join(TRANSFORMERS)}: bert_base:1")
    parser.add_argument("--chip", choices=list(CHIPS), default="chip4_small", metavar="NAME",
                        help=f"one of {', '.join(CHIPS)}")
    parser.add_argument("--cores", nargs="+", type=int, default=[2, 4])
    parser.add_argument("--teams", type=int, default=1, metavar="N",
                        help="inputs at a time, each on as many cores")
    parser.add_argument("--precision", default="int8")
    args = parser.parse_args()
    for name in args.networks:
        KEPT.add(measured(_network(name), CHIPS[args.chip], args.cores, args.teams,
                          args.precision))


if __name__ == "__main__":
    main()
