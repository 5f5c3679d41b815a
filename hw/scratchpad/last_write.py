# SPDX-License-Identifier: Apache-2.0
"""The head of a queue on its way to a scratchpad write port, for engines that begin an instruction
before the writes of the one in front have been made."""

from amaranth.hdl import Module, Mux, Signal, Value

from hw.engine.ports import SpmWriter


def write_out(m: Module, name: str, port: SpmWriter, valid: Value, write: Value, last: Value
              ) -> Signal:
    """Drives ``port.valid`` for a head that is ``valid``, to be written if ``write`` says so;
    ``port``'s address and data are the caller's.

    Returns
    -------
    Signal
        The head leaves: when its word has been accepted or, of the ``last`` one of an instruction,
        when all of the port's writes have been made. It is then done.
    """
    sent, leaves = Signal(name=f"{name}_sent"), Signal(name=f"{name}_leaves")
    m.d.comb += [
        port.valid.eq(valid & write & ~sent),
        leaves.eq(valid & Mux(last, (sent | ~write) & ~port.pending, port.ready | ~write))]
    m.d.sync += sent.eq((sent | (port.valid & port.ready & last)) & ~leaves)
    return leaves
