# SPDX-License-Identifier: Apache-2.0
"""The top of a ULX3S board: Lattice ECP5, 25 MHz, FT231X serial line, 32 MB of SDRAM.

::

    clk_25mhz ─► PLL ─► core's clock ─► board
                          └─ inverted ─► sdram_clk, and the registers of sdram_d's inputs

The memory's clock is the core's inverted: what leaves a register reaches the memory half a cycle
before its edge, and stays for half a cycle. What the memory drives behind an edge has a whole cycle
until a register on the same, inverted clock takes it at the next edge, and half a cycle from there
into the core.

In simulation there is no PLL, the clock of the pin is the core's, and ``sdram_d`` is three ports:
``sdram_d_i``, ``sdram_d_o`` and ``sdram_d_oe``.
"""

from amaranth.hdl import (ClockDomain, ClockSignal, Const, Elaboratable, Instance, IOPort, Module,
                          ResetSignal, Signal)
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.board.axi_slave import check_bus
from hw.board.board import LEDS, Board, Settings
from hw.board.pll import Pll
from hw.board.sdram import WORD_BITS, WORD_BYTES
from hw.top import verilog_of
from isa.config import Config

TOP = "ulx3s"
OSCILLATOR = 25e6
BUTTONS = 7
RESET_BUTTON = 1
"""FIRE1."""

RESET_CYCLES = 16


class Ulx3s(wiring.Component):
    """The board's pins, with the names of its schematic.

    Parameters
    ----------
    config : Config
        The machine.
    settings : Settings
    simulated : bool
        Without PLL and I/O cells.

    Members
    -------
    clk_25mhz : 1
    ftdi_txd, ftdi_rxd : 1
        The line, named by the FT231X: it sends on the first and receives on the second.
    btn : 7
        The second one resets.
    led : 8
        As in :class:`hw.board.board.Board`.
    sdram_… :
        The memory. In simulation ``sdram_d_i``, ``sdram_d_o``, ``sdram_d_oe``; on the board one
        port ``sdram_d`` beside the component's members.

    Raises
    ------
    ValueError
        If the PLL does not make the frequency, or the memory does not take it.
    """

    clk_25mhz: Signal
    ftdi_txd: Signal
    ftdi_rxd: Signal
    btn: Signal
    led: Signal
    sdram_clk: Signal
    sdram_cke: Signal
    sdram_csn: Signal
    sdram_rasn: Signal
    sdram_casn: Signal
    sdram_wen: Signal
    sdram_a: Signal
    sdram_ba: Signal
    sdram_dqm: Signal
    sdram_d_i: Signal
    sdram_d_o: Signal
    sdram_d_oe: Signal

    SAME = ("cke", "csn", "rasn", "casn", "wen", "a", "ba", "dqm")
    """Pins of the memory that are the controller's."""

    def __init__(self, config: Config, settings: Settings, *, simulated: bool = False):
        self._config, self._settings, self._simulated = config, settings, simulated
        self._pll = None if simulated else Pll(OSCILLATOR, settings.frequency)
        chip = settings.chip
        super().__init__({
            "clk_25mhz": In(1), "ftdi_txd": In(1), "ftdi_rxd": Out(1), "btn": In(BUTTONS),
            "led": Out(LEDS), "sdram_clk": Out(1), "sdram_cke": Out(1), "sdram_csn": Out(1),
            "sdram_rasn": Out(1), "sdram_casn": Out(1), "sdram_wen": Out(1),
            "sdram_a": Out(chip.row_bits), "sdram_ba": Out(chip.bank_bits),
            "sdram_dqm": Out(WORD_BYTES),
            **({"sdram_d_i": In(WORD_BITS), "sdram_d_o": Out(WORD_BITS), "sdram_d_oe": Out(1)}
               if simulated else {})})
        self.sdram_d = None if simulated else IOPort(WORD_BITS, name="sdram_d")

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        m.domains.sync = ClockDomain()
        m.domains.fall = ClockDomain(clk_edge="neg", reset_less=True)
        m.submodules.board = board = Board(self._config, self._settings)
        self._clock(m)
        into, out, drive = (Signal(WORD_BITS) for _ in range(3))
        m.d.fall += board.sdram.d_i.eq(into)
        m.d.comb += [
            board.rx.eq(self.ftdi_txd), self.ftdi_rxd.eq(board.tx), self.led.eq(board.led),
            *(getattr(self, f"sdram_{n}").eq(getattr(board.sdram, n)) for n in self.SAME),
            out.eq(board.sdram.d_o), drive.eq(board.sdram.d_oe.replicate(WORD_BITS))]
        if self.sdram_d is None:
            m.d.comb += [into.eq(self.sdram_d_i), self.sdram_d_o.eq(out),
                         self.sdram_d_oe.eq(board.sdram.d_oe), self.sdram_clk.eq(~ClockSignal())]
            return m
        m.submodules.sdram_clk = Instance(
            "ODDRX1F", i_SCLK=ClockSignal(), i_RST=Const(0), i_D0=Const(0), i_D1=Const(1),
            o_Q=self.sdram_clk)
        for i in range(WORD_BITS):
            m.submodules[f"sdram_d{i}"] = Instance(
                "BB", i_I=out[i], i_T=~drive[i], o_O=into[i], io_B=self.sdram_d[i])
        return m

    def _clock(self, m: Module) -> None:
        """The clock, and a reset that begins with the button or the loss of the clock, and ends
        some cycles after."""
        locked = Signal()
        clock: Signal = self.clk_25mhz
        if self._pll is None:
            m.d.comb += locked.eq(1)
        else:
            clock = Signal()
            m.submodules.pll = self._pll.instance(self.clk_25mhz, clock, locked)
        m.domains.start = ClockDomain(reset_less=True)
        m.d.comb += [ClockSignal("sync").eq(clock), ClockSignal("fall").eq(clock),
                     ClockSignal("start").eq(clock)]
        settling, wanted, reset = Signal(init=1), Signal(init=1), Signal(init=1)
        left = Signal(range(RESET_CYCLES + 1), init=RESET_CYCLES)
        m.d.start += [settling.eq(self.btn[RESET_BUTTON] | ~locked), wanted.eq(settling),
                      reset.eq(left != 0)]
        with m.If(wanted):
            m.d.start += left.eq(RESET_CYCLES)
        with m.Elif(left != 0):
            m.d.start += left.eq(left - 1)
        m.d.comb += ResetSignal("sync").eq(reset)


def verilog(config: Config, settings: Settings, *, simulated: bool = False) -> str:
    """Verilog of the board, top module ``ulx3s``; ports are the members of :class:`Ulx3s`."""
    check_bus(config)
    return verilog_of(Ulx3s(config, settings, simulated=simulated), TOP)
