# SPDX-License-Identifier: Apache-2.0
"""A controller for single-data-rate SDRAM of 16 data bits, which reads and writes beats of 8 bytes.

A beat is one burst of four words, so that a column command every four cycles keeps the data bus
busy; precharge and activation of another bank go in between. A row stays open until another row of
its bank is wanted, or a refresh is due. Beat addresses are row, bank, column from the highest bit
down: a run of beats finds the next row in the next bank.

::

    clock of the core   ──┐  ┌──┐  ┌──┐  ┌──      commands, addresses and data leave registers here
                          └──┘  └──┘  └──┘
    clock of the SDRAM  ──┘  └──┘  └──┘  └──      it takes and gives them here, half a cycle later

The memory's clock is the core's, inverted. What it drives behind an edge is taken at its next edge
and is here one cycle later (:mod:`hw.board.ulx3s`).
"""

from typing import Protocol

from amaranth.hdl import Array, Cat, Const, Elaboratable, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.board.beats import BEAT_BITS, BEAT_BYTES, Beats, BeatsPort
from hw.board.sdram_chip import SdramChip

WORD_BITS, WORD_BYTES = 16, 2
BURST = BEAT_BITS // WORD_BITS
"""Words of a beat."""

ALL_BANKS = 10
"""Address bit that extends PRECHARGE to all banks."""

STARTUP_REFRESHES = 8
NOP, ACTIVE, READ, WRITE, PRECHARGE, REFRESH, MODE = 0b111, 0b011, 0b101, 0b100, 0b010, 0b001, 0b000
"""Levels of RAS#, CAS# and WE#, from the high bit down."""


class SdramPins(wiring.Signature):
    """The pins of a memory as its controller sees them; data in, out and output enable apart."""

    def __init__(self, chip: SdramChip):
        super().__init__({
            "cke": Out(1), "csn": Out(1), "rasn": Out(1), "casn": Out(1), "wen": Out(1),
            "a": Out(chip.row_bits), "ba": Out(chip.bank_bits), "dqm": Out(WORD_BYTES),
            "d_o": Out(WORD_BITS), "d_oe": Out(1), "d_i": In(WORD_BITS)})


class SdramPort(Protocol):
    """Type of a component's member with the signature :class:`SdramPins`."""

    signature: wiring.Signature
    cke: Signal
    csn: Signal
    rasn: Signal
    casn: Signal
    wen: Signal
    a: Signal
    ba: Signal
    dqm: Signal
    d_o: Signal
    d_oe: Signal
    d_i: Signal


def beat_bits(chip: SdramChip) -> int:
    """Width of a beat's address in the memory."""
    return chip.row_bits + chip.bank_bits + chip.column_bits - exact_log2(BURST)


class SdramController(wiring.Component):
    """Initializes and refreshes the memory, and reads and writes beats in order.

    Throughput: a beat in four cycles within open rows; a row that is not open costs ``rp + rcd``
    cycles, which the data of another bank hide; a write behind a read waits until the bus has been
    idle for a cycle. Latency of a read: ``cas + 5`` cycles from the request in an open row. Before
    ``ready``, for 200 us after power-up and a few cycles after a reset, no request is taken.

    Parameters
    ----------
    chip : SdramChip
    frequency : float
        Of the clock, in Hz.

    Members
    -------
    beats : :class:`hw.board.beats.Beats`, as the memory
    pins : :class:`SdramPins`
    ready : 1
        The memory is initialized.

    Raises
    ------
    ValueError
        If the memory does not run at this frequency.
    """

    beats: BeatsPort
    pins: SdramPort
    ready: Signal

    def __init__(self, chip: SdramChip, frequency: float):
        self._chip, self._cycles = chip, chip.cycles(frequency)
        super().__init__({"beats": In(Beats(beat_bits(chip))), "pins": Out(SdramPins(chip)),
                          "ready": Out(1)})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        chip, t = self._chip, self._cycles
        command, address, bank = Signal(3, init=NOP), Signal(chip.row_bits), Signal(chip.bank_bits)
        pins = self.pins
        m.d.comb += [pins.cke.eq(1), pins.csn.eq(0), pins.a.eq(address), pins.ba.eq(bank),
                     Cat(pins.wen, pins.casn, pins.rasn).eq(command)]
        m.d.sync += command.eq(NOP)

        longest = max(t.startup, t.rfc, t.rcd, t.rp, t.rrd, t.mrd)
        pause = Signal(range(longest), init=t.startup - 1)
        """Cycles in which no row command is allowed after the last one."""
        with m.If(pause != 0):
            m.d.sync += pause.eq(pause - 1)
        # a reset later on finds a memory that is powered up, but perhaps in the midst of a command
        powered = Signal(reset_less=True)
        settled = powered & (pause < t.startup - max(t.rc, t.rfc, BURST + t.wr))
        refreshes = Signal(range(STARTUP_REFRESHES + 1))
        due = self._refresh_timer(m)
        with m.FSM(name="state"):
            with m.State("Power up"), m.If((pause == 0) | settled):
                m.d.sync += [command.eq(PRECHARGE), address.eq(1 << ALL_BANKS), pause.eq(t.rp - 1)]
                m.next = "Refresh"
            with m.State("Refresh"), m.If(pause == 0):
                m.d.sync += [command.eq(REFRESH), pause.eq(t.rfc - 1), refreshes.eq(refreshes + 1)]
                with m.If(refreshes == STARTUP_REFRESHES - 1):
                    m.next = "Mode"
            with m.State("Mode"), m.If(pause == 0):
                m.d.sync += [command.eq(MODE), pause.eq(t.mrd - 1), bank.eq(0),
                             address.eq(t.cas << 4 | exact_log2(BURST))]
                m.next = "Run"
            with m.State("Run"):
                m.d.comb += self.ready.eq(1)
                m.d.sync += powered.eq(1)
                self._run(m, command, address, bank, pause, due)
        self._data(m)
        return m

    def _refresh_timer(self, m: Module) -> Signal:
        """High while a refresh is due; ``refresh`` cycles apart on the average, whatever it has to
        wait for."""
        timer, due = Signal(range(self._cycles.refresh)), Signal()
        m.d.sync += timer.eq(timer + 1)
        with m.If(timer == self._cycles.refresh - 1):
            m.d.sync += [timer.eq(0), due.eq(1)]
        return due

    def _run(self, m: Module, command: Signal, address: Signal, bank: Signal, pause: Signal,
             due: Signal) -> None:
        chip, t = self._chip, self._cycles
        request, columns = self.beats.request, chip.column_bits - exact_log2(BURST)
        beat = request.payload.beat
        to_bank = beat[columns:columns + chip.bank_bits]
        to_row = beat[columns + chip.bank_bits:]
        banks = 1 << chip.bank_bits
        opened = Signal(banks)
        rows = Array(Signal(chip.row_bits, name=f"row{i}") for i in range(banks))
        # a row that has been open this long has also left the time that two ACTIVATEs are apart
        stay = max(t.ras, t.rc - t.rp)
        keep = Array(Signal(range(max(stay, BURST + t.wr)), name=f"keep{i}")
                     for i in range(banks))
        for k in keep:
            with m.If(k != 0):
                m.d.sync += k.eq(k - 1)
        column, turn = Signal(range(BURST)), Signal(range(t.cas + BURST + 1))
        for wait in (column, turn):
            with m.If(wait != 0):
                m.d.sync += wait.eq(wait - 1)

        is_open = opened.bit_select(to_bank, 1)
        hit = is_open & (rows[to_bank] == to_row)
        write = request.payload.write
        with m.If(due):
            with m.If(opened.any()):
                with m.If(~Cat(*keep).any()):
                    m.d.sync += [command.eq(PRECHARGE), address.eq(1 << ALL_BANKS), opened.eq(0),
                                 pause.eq(t.rp - 1)]
            with m.Elif(pause == 0):
                m.d.sync += [command.eq(REFRESH), pause.eq(t.rfc - 1), due.eq(0)]
        with m.Elif(request.valid & hit):
            with m.If((pause == 0) & (column == 0) & ((turn == 0) | ~write)):
                busy = Mux(write, BURST - 2 + t.wr, BURST - 1)
                m.d.comb += request.ready.eq(1)
                m.d.sync += [
                    command.eq(Mux(write, WRITE, READ)), bank.eq(to_bank),
                    address.eq(Cat(Const(0, exact_log2(BURST)), beat[:columns])),
                    column.eq(BURST - 1), keep[to_bank].eq(_larger(keep[to_bank], busy))]
                with m.If(~write):
                    m.d.sync += turn.eq(t.cas + BURST)
        with m.Elif(request.valid & (pause == 0)):
            m.d.sync += bank.eq(to_bank)
            with m.If(~is_open):
                m.d.sync += [command.eq(ACTIVE), address.eq(to_row), rows[to_bank].eq(to_row),
                             opened.bit_select(to_bank, 1).eq(1), keep[to_bank].eq(stay - 1),
                             pause.eq(max(t.rcd, t.rrd) - 1)]
            with m.Elif(keep[to_bank] == 0):
                m.d.sync += [command.eq(PRECHARGE), address.eq(0),
                             opened.bit_select(to_bank, 1).eq(0), pause.eq(t.rp - 1)]

    def _data(self, m: Module) -> None:
        """Words of a beat to the pins, from the cycle of the command on, and back."""
        pins, request, answer = self.pins, self.beats.request, self.beats.answer
        take = request.valid & request.ready
        words, masks = Signal(BEAT_BITS), Signal(BEAT_BYTES, init=-1 % (1 << WORD_BYTES))
        left, drive = Signal(range(BURST + 1)), Signal()
        m.d.comb += [pins.d_o.eq(words[:WORD_BITS]), pins.d_oe.eq(drive),
                     pins.dqm.eq(masks[:WORD_BYTES])]
        m.d.sync += words.eq(words >> WORD_BITS)
        with m.If(self.ready):
            m.d.sync += masks.eq(masks >> WORD_BYTES)
        with m.If(take & request.payload.write):
            m.d.sync += [words.eq(request.payload.data), masks.eq(~request.payload.strb),
                         left.eq(BURST), drive.eq(1)]
        with m.Elif(left != 0):
            m.d.sync += [left.eq(left - 1), drive.eq(left != 1)]

        came = Signal(BEAT_BITS)
        under_way = Signal(self._cycles.cas + BURST + 1)
        m.d.sync += [came.eq(Cat(came[WORD_BITS:], pins.d_i)),
                     under_way.eq(Cat(take & ~request.payload.write, under_way[:-1]))]
        m.d.comb += [answer.data.eq(came), answer.valid.eq(under_way[-1])]


def _larger(wait: Value, other: Value) -> Value:
    """The larger of what is left of a wait after this cycle, and another wait."""
    rest = Mux(wait != 0, wait - 1, 0)
    return Mux(rest > other, rest, other)
