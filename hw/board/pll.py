# SPDX-License-Identifier: Apache-2.0
"""The PLL of an ECP5, from one frequency to another.

::

    input / input_divider ─► phase detector ─► VCO, 400 to 800 MHz ─► / output_divider ─► output
                                  ▲                                             │
                                  └──────────── / feedback_divider ◄────────────┘

The feedback is the output, so that ``output = input / input_divider * feedback_divider``.
"""

from amaranth.hdl import Const, Instance, Signal

VCO = (400e6, 800e6)
"""Hz."""

DETECTOR, OUTPUT = (3.125e6, 400e6), (10e6, 400e6)
"""Hz at the phase detector, and of the output."""

MAX_INPUT_DIVIDER, MAX_FEEDBACK_DIVIDER, MAX_OUTPUT_DIVIDER = 128, 80, 128


class Pll:
    """Dividers for an output frequency that is met exactly.

    Parameters
    ----------
    source, frequency : float
        Hz.

    Attributes
    ----------
    input_divider, feedback_divider, output_divider : int

    Raises
    ------
    ValueError
        If no dividers give it.
    """

    def __init__(self, source: float, frequency: float):
        for i in range(1, MAX_INPUT_DIVIDER + 1):
            f = round(frequency * i / source)
            exact = f and abs(source / i * f - frequency) < 1
            if not exact or f > MAX_FEEDBACK_DIVIDER or not (
                    DETECTOR[0] <= source / i <= DETECTOR[1]):
                continue
            middle = (VCO[0] + VCO[1]) / 2
            o = min(max(round(middle / frequency), 1), MAX_OUTPUT_DIVIDER)
            if VCO[0] <= frequency * o <= VCO[1] and OUTPUT[0] <= frequency <= OUTPUT[1]:
                self.source, self.frequency = source, frequency
                self.input_divider, self.feedback_divider, self.output_divider = i, f, o
                return
        raise ValueError(f"the PLL does not make {frequency / 1e6:g} MHz from "
                         f"{source / 1e6:g} MHz: choose a multiple of {source / 5e6:g} MHz between "
                         f"{OUTPUT[0] / 1e6:g} and {OUTPUT[1] / 1e6:g} MHz")

    def instance(self, source: Signal, clock: Signal, locked: Signal) -> Instance:
        """The cell between two clocks; ``locked`` is high when the output is stable."""
        return Instance(
            "EHXPLLL", a_FREQUENCY_PIN_CLKI=f"{self.source / 1e6:g}",
            a_FREQUENCY_PIN_CLKOP=f"{self.frequency / 1e6:g}", a_ICP_CURRENT="12",
            a_LPF_RESISTOR="8", a_MFG_ENABLE_FILTEROPAMP="1", a_MFG_GMCREF_SEL="2",
            p_CLKI_DIV=self.input_divider, p_CLKFB_DIV=self.feedback_divider,
            p_CLKOP_DIV=self.output_divider, p_CLKOP_ENABLE="ENABLED",
            p_CLKOP_CPHASE=self.output_divider - 1, p_CLKOP_FPHASE=0, p_FEEDBK_PATH="CLKOP",
            p_PLLRST_ENA="DISABLED", p_INTFB_WAKE="DISABLED", p_STDBY_ENABLE="DISABLED",
            p_DPHASE_SOURCE="DISABLED", p_OUTDIVIDER_MUXA="DIVA",
            i_CLKI=source, i_CLKFB=clock, o_CLKOP=clock, o_LOCK=locked, i_RST=Const(0),
            i_STDBY=Const(0), i_PHASESEL0=Const(0), i_PHASESEL1=Const(0), i_PHASEDIR=Const(0),
            i_PHASESTEP=Const(0), i_PHASELOADREG=Const(0), i_PLLWAKESYNC=Const(0),
            i_ENCLKOP=Const(0))
