# SPDX-License-Identifier: Apache-2.0
"""A simulated chip: its cores, chip control and hub in front of a memory with its channels.

The cores are objects of the class that a machine alone is simulated with, so a chip of more cores
needs no further build of them; chip control and hub are a design of their own.
"""

from hw.chip.top import UNCORE, uncore_verilog, verilog
from isa.chip import ChipConfig
from sim.build import HEADERS, ROOT, Kind, Library, build, rtl, verilog_text


def kind(chip: ChipConfig, cores: int | None = None) -> Kind:
    """What the harness of a chip is made of, with so many cores joined in C++: all, unless others
    are said."""
    def each(count: int) -> str:
        return " ".join(f"M({k})" for k in range(count))

    joined = chip.cores if cores is None else cores
    exchange = ("EXCHANGE",) if chip.core.exchange else ()
    return Kind(UNCORE, (ROOT / "chip.cpp", *HEADERS), defined=(
        f"FOR_CORES(M)={each(joined)}", f"FOR_CHANNELS(M)={each(chip.channels)}", *exchange))


def chip_rtl(chip: ChipConfig, gated: bool = False) -> str:
    """The Verilog of a chip with its cores, from the cache if its generator has not changed;
    ``gated``: with gated clocks."""
    return verilog_text(chip.name, f"{chip.hash:016x} whole {gated}", "hw.chip.top",
                        lambda: verilog(chip, gated), simulated=False)


def simulation(chip: ChipConfig, waves: str | None = None) -> Library:
    """The library that simulates a chip, from the cache if it is there.

    Parameters
    ----------
    chip : ChipConfig
    waves : str, optional
        One of :data:`sim.build.WAVES`.

    Raises
    ------
    sim.verilator.ToolError
        If it has to be built and a tool is missing, or a step fails.
    """
    uncore = verilog_text(chip.name, f"{chip.hash:016x}", "hw.chip.top",
                          lambda: uncore_verilog(chip))
    return build(uncore, waves, kind(chip),
                 beside={"makalu": rtl(chip.core, trace=True, gated=True)})
