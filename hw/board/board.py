# SPDX-License-Identifier: Apache-2.0
"""The machine, its memory and its host's line on one clock, without the pins of a certain board.

::

    rx ─► receiver ─► bridge ── AXI4-Lite ──► core ── AXI4 ──► slave ──┐
    tx ◄─ transmitter ◄─┘ └──────────────────────────────────► share ◄─┘
                                                                 │
                                                          SDRAM controller ══ pins
"""

from dataclasses import dataclass

from amaranth.hdl import Cat, Elaboratable, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hw.board.axi_slave import AxiSlave
from hw.board.bridge import Bridge
from hw.board.sdram import SdramController, SdramPins, SdramPort, beat_bits
from hw.board.sdram_chip import SdramChip
from hw.board.share import Share
from hw.board.uart import UartReceiver, UartTransmitter, check_divisor
from hw.core import Core
from isa.config import Config

LEDS = 8


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a board may be built with.

    Parameters
    ----------
    frequency : float
        Of the core's clock, in Hz.
    baud : float
        Bits a second on the line.
    timeout : float
        Seconds of silence after which a packet is given up; longer than a host's pauses in it.
    chip : SdramChip

    Raises
    ------
    ValueError
        If the memory does not run at the frequency, the divided clock misses the rate by more than
        2 %, or a bit is too short to sample.
    """

    frequency: float = 50e6
    baud: float = 1e6
    timeout: float = 0.05
    chip: SdramChip = SdramChip()

    def __post_init__(self) -> None:
        self.chip.cycles(self.frequency)
        check_divisor(self.divisor)
        off = abs(self.frequency / self.divisor / self.baud - 1)
        if off > 0.02:
            raise ValueError(f"{self.baud:g} baud from {self.frequency / 1e6:g} MHz would be off "
                             f"by {100 * off:.1f} %: choose a rate that divides the clock")

    @property
    def divisor(self) -> int:
        """Clock cycles of a bit."""
        return round(self.frequency / self.baud)


class Board(wiring.Component):
    """All of a board that is on the core's clock.

    Parameters
    ----------
    config : Config
        The machine; its bus has eight bytes.
    settings : Settings

    Members
    -------
    rx, tx : 1
        The line, seen from here.
    sdram : :class:`hw.board.sdram.SdramPins`
    led : 8
        From the lowest: memory is ready, request under way, last request refused, interrupt, zeros,
        and the highest blinks about once a second.

    Raises
    ------
    ValueError
        If the machine's bus does not suit the memory.
    """

    rx: Signal
    tx: Signal
    sdram: SdramPort
    led: Signal

    def __init__(self, config: Config, settings: Settings):
        self._config, self._settings = config, settings
        super().__init__({"rx": In(1), "tx": Out(1), "led": Out(LEDS),
                          "sdram": Out(SdramPins(settings.chip))})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        s, bits = self._settings, beat_bits(self._settings.chip)
        m.submodules.receiver = receiver = UartReceiver(s.divisor)
        m.submodules.transmitter = transmitter = UartTransmitter(s.divisor)
        m.submodules.bridge = bridge = Bridge(bits, round(s.timeout * s.frequency))
        m.submodules.core = core = Core(self._config)
        m.submodules.slave = slave = AxiSlave(self._config, bits)
        m.submodules.share = share = Share(bits)
        m.submodules.controller = controller = SdramController(s.chip, s.frequency)
        for one, other in (
                (receiver.o, bridge.i), (bridge.o, transmitter.i),
                (bridge.registers, core.host), (core.bus, slave.bus), (slave.beats, share.a),
                (bridge.beats, share.b), (share.memory, controller.beats),
                (controller.pins, flipped(self.sdram))):
            connect(m, one, other)
        beat = Signal(range(round(s.frequency)))
        m.d.sync += beat.eq(beat + 1)
        m.d.comb += [
            receiver.rx.eq(self.rx), self.tx.eq(transmitter.tx), bridge.irq.eq(core.irq),
            self.led.eq(Cat(controller.ready, bridge.busy, bridge.refused, core.irq,
                            0, 0, 0, beat[-1]))]
        return m
