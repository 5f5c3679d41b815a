# SPDX-License-Identifier: Apache-2.0
"""Writes the table of larger chips in ``docs/chip.md``: ``python -m makalu.pages.plan [CORES]``.

What :mod:`makalu.plan` says of networks of true structure, whose weights are synthetic.
"""

import sys

from isa.program import Program
from makalu import api
from makalu.measure.networks import Network
from makalu.pages.isa_pages import DOCS, put, table
from makalu.pages.kept import MOBILENET, named
from makalu.plan import PRICES, Planned, plan, sizes
from sim.cache import say

PAGE = DOCS / "chip.md"
BEGIN, END = "<!-- plan -->\n", "<!-- end of plan -->"
MACHINE, CORES, LABEL = "core1024", 64, "resnet50"
GROUP = 4
"""Cores of the groups that are shown beside single ones."""

TITLES = ("network", "cores", "groups", "DRAM, B/cycle", "price", "cycles of each", "of one alone",
          "unicast")


def _row(name: str, p: Planned) -> list[str]:
    return [name, str(p.cores), f"{p.groups} x {p.ranks}", f"{p.bytes_a_cycle:g}", f"{p.price:g}",
            f"{p.gang:,}", f"{p.share(p.gang):.1%}", f"{p.share(p.unicast):.1%}"]


def _compiled(network: Network, cores: int, price: float) -> Program:
    say(f"{network.label} for {cores} at price {price:g}")
    return api.compile(network.source(), MACHINE, host=("all",), name=network.label, cores=cores,
                       dram_price=price)


def main() -> None:
    cores = int(sys.argv[1]) if len(sys.argv) > 1 else CORES
    rows = []
    for network in (named(LABEL), MOBILENET):
        one, group = ({price: _compiled(network, count, price) for price in PRICES}
                      for count in (1, GROUP))
        rows += [_row(network.label, planned) for planned in plan([one, group], sizes(cores))]
    put(PAGE, BEGIN, END, table(TITLES, rows))


if __name__ == "__main__":
    main()
