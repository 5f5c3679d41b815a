# SPDX-License-Identifier: Apache-2.0
"""What a single-data-rate SDRAM asks of its controller, in nanoseconds and in clock cycles.

The default is the slowest of the 32 MB parts that are common on boards (MT48LC16M16A2-75,
IS42S16160G-7, W9825G6KH-6), so that one controller suits all of them.
"""

import math
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Cycles:
    """Least distances between clock edges, in cycles of one frequency; ``cas`` from a read command
    to its first word, ``refresh`` is the longest interval, ``startup`` the pause after power-up."""

    cas: int
    rcd: int
    rp: int
    ras: int
    rc: int
    rfc: int
    wr: int
    rrd: int
    mrd: int
    refresh: int
    startup: int


@dataclass(frozen=True, kw_only=True)
class SdramChip:
    """A memory of 16 data bits.

    Parameters
    ----------
    row_bits, column_bits, bank_bits : int
        Its geometry.
    rcd : float
        ns from ACTIVATE to READ or WRITE.
    rp : float
        ns from PRECHARGE to ACTIVATE or REFRESH.
    ras, rc : float
        ns from ACTIVATE to PRECHARGE, and to the next ACTIVATE of the bank.
    rfc : float
        ns from REFRESH to any command.
    wr : float
        ns from the last word written to PRECHARGE.
    rrd : float
        ns between ACTIVATEs of two banks.
    mrd : int
        Cycles from MODE REGISTER to any command.
    cas2_hz, cas3_hz : float
        Highest clock frequencies with a CAS latency of 2 and of 3.
    startup : float
        ns of a stable clock before the first command.
    refresh_ns, refresh_rows : float, int
        Time in which so many REFRESH commands are due.
    """

    row_bits: int = 13
    column_bits: int = 9
    bank_bits: int = 2
    rcd: float = 20.0
    rp: float = 20.0
    ras: float = 45.0
    rc: float = 67.5
    rfc: float = 67.5
    wr: float = 15.0
    rrd: float = 15.0
    mrd: int = 2
    cas2_hz: float = 100e6
    cas3_hz: float = 133e6
    startup: float = 200_000.0
    refresh_ns: float = 64e6
    refresh_rows: int = 8192

    @property
    def size(self) -> int:
        """Bytes."""
        return 2 << (self.row_bits + self.column_bits + self.bank_bits)

    def cycles(self, frequency: float) -> Cycles:
        """The distances at a clock frequency in Hz.

        Raises
        ------
        ValueError
            If the memory does not run at this frequency.
        """
        if not 0 < frequency <= self.cas3_hz:
            raise ValueError(f"a clock of {frequency / 1e6:g} MHz is too fast for the SDRAM: it "
                             f"takes up to {self.cas3_hz / 1e6:g} MHz")

        def least(ns: float) -> int:
            return max(1, math.ceil(ns * frequency / 1e9 - 1e-6))

        return Cycles(
            cas=2 if frequency <= self.cas2_hz else 3, rcd=least(self.rcd), rp=least(self.rp),
            ras=least(self.ras), rc=least(self.rc), rfc=least(self.rfc), wr=least(self.wr),
            rrd=least(self.rrd), mrd=self.mrd, startup=least(self.startup),
            refresh=math.floor(self.refresh_ns / self.refresh_rows * frequency / 1e9))
