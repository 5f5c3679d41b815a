# SPDX-License-Identifier: Apache-2.0
"""Writes the table of leases in ``docs/chip.md``: ``python -m makalu.pages.leases [NETWORK…]``.

Each core of a simulated chip is a lease of its own, with its own copy of the program, so that none
reads for another. They run a network one execution after another, beginning at the same time or
each a part of an execution behind the one before; every output is compared with the golden model.
What was measured before stays in the table.
"""

import argparse
from collections.abc import Iterator, Sequence
from contextlib import closing

import numpy as np

from compiler.machine.shared import together
from isa.chip import CHIPS, ChipConfig
from isa.program import Program
from makalu import api
from makalu.measure.networks import SHIPPED, Network
from makalu.pages.chip import inputs, outputs
from makalu.pages.isa_pages import DOCS
from makalu.pages.kept import Kept, Row, known, named
from runtime.chip_host import Lease, places_bytes
from runtime.device import DeviceFault, Result
from sim.shared_chip import SLICE, SharedChip

TITLES = ("network", "chip", "price", "cores", "begin", "RTL: cycles of each", "slowest",
          "of one alone", "model of time", "against the mean")

ROUNDS = 3
"""Executions of each core that begins behind others; the second counts, throughout which all are at
work."""

KEY = ("network", "chip", "price", "cores", "apart")
"""Of these there is one row; ``apart``: whether they begin one behind the other."""


def measured(network: Network, chip: ChipConfig, price: float) -> Iterator[Row]:
    """The rows of a network: one core alone, all at the same time, and all one behind the other by
    an execution's cycles over their number.

    Raises
    ------
    AssertionError
        If a core's outputs are not the golden model's, bit for bit.
    """
    program = api.compile(network.source(), chip.core, host=("all",), name=network.label,
                          dram_price=price)
    given = inputs(program, chip.cores)
    right = outputs(program, given)
    alone = 0
    for cores, apart in ((1, False), (chip.cores, False), (chip.cores, True)):
        behind, rounds = (alone // cores, ROUNDS) if apart else (0, 1)
        found = executions(program, chip, given[:cores], behind, rounds)
        for core, results in enumerate(found):
            assert all(np.array_equal(r.outputs, right[core]) for r in results), \
                f"{network.label} on core {core} of {cores}: bits"
        took = [results[rounds // 2].counters["CYCLES"] for results in found]
        alone = alone or took[0]
        yield {"network": network.label, "chip": chip.name, "price": price, "cores": cores,
               "apart": apart, "cycles": round(sum(took) / cores), "slowest": max(took),
               "model": predicted(program, chip, cores, behind, rounds)}


def executions(program: Program, chip: ChipConfig, given: Sequence[np.ndarray], behind: int,
               rounds: int) -> list[list[Result]]:
    """What the cores make of an input each, so many times; each begins so many cycles behind the
    one before."""
    shared = SharedChip(chip)
    with closing(shared):
        leases = [_lease(shared, core, program) for core in range(len(given))]
        found: list[list[Result]] = [[] for _ in leases]
        first = shared.harness.cycle
        begun = [0] * len(leases)
        while any(len(results) < rounds for results in found):
            now = shared.harness.cycle - first
            for core, lease in enumerate(leases):
                if begun[core] > len(found[core]) and lease.ended:
                    found[core] += _good(lease.end())
                if begun[core] == len(found[core]) < rounds and core * behind <= now:
                    lease.begin([given[core]])
                    begun[core] += 1
            next_one = min((core * behind - now for core in range(len(leases)) if not begun[core]),
                           default=SLICE)
            if shared.link.wait(min(SLICE, next_one)):
                shared.control.collect()
        return found


def _lease(shared: SharedChip, core: int, program: Program) -> Lease:
    """One of a core, with a program."""
    lease = Lease(shared.control, core, 1 << core, core + 1,
                  shared.memory.take(places_bytes(program, 1)))
    lease.load(program, 1)
    return lease


def _good(found: Sequence[Result | DeviceFault]) -> list[Result]:
    for result in found:
        if isinstance(result, DeviceFault):
            raise result
    return [result for result in found if isinstance(result, Result)]


def predicted(program: Program, chip: ChipConfig, cores: int, behind: int, rounds: int) -> int:
    """What the model says of the same, the mean of the cores. To it each execution is a core that
    begins when the one before is expected to end, until it ends there but for a thousandth."""
    each = together([program], chip.bytes_a_cycle)[0]
    while True:
        delays = [core * behind + each * k for core in range(cores) for k in range(rounds)]
        took = together([program] * len(delays), chip.bytes_a_cycle, delays)
        mean = round(sum(took[rounds // 2::rounds]) / cores)
        if rounds == 1 or mean <= 1.001 * each:
            return mean
        each = mean


def _cells(row: Row, rows: list[Row]) -> list[str]:
    (alone,) = (r["cycles"] for r in rows
                if r["cores"] == 1 and all(r[k] == row[k] for k in ("network", "chip", "price")))
    return [row["network"], row["chip"], row["price"] or "", row["cores"],
            "" if row["cores"] == 1 else "one behind the other" if row["apart"] else "together",
            f"{row['cycles']:,}", f"{row['slowest']:,}", f"{alone / row['slowest']:.1%}",
            f"{row['model']:,}", f"{row['model'] / row['cycles'] - 1:+.1%}"]


KEPT = Kept("leases", DOCS / "leases.json", TITLES, KEY, _cells)


def main() -> None:
    fitting = [name for name, chip in CHIPS.items() if chip.cores <= chip.queues]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", nargs="*", default=[SHIPPED.stem], metavar="NETWORK",
                        help=f"a file, or one of {', '.join(known())}")
    parser.add_argument("--chip", choices=fitting, default="chip4_small", metavar="NAME",
                        help=f"one of {', '.join(fitting)}")
    parser.add_argument("--price", type=float, default=0.0,
                        help="of a DRAM byte, as makalu compile takes it")
    args = parser.parse_args()
    for name in args.networks:
        KEPT.add(measured(named(name), CHIPS[args.chip], args.price))


if __name__ == "__main__":
    main()
