# SPDX-License-Identifier: Apache-2.0
"""What every device has: progress, an end, and ``with``."""

import dataclasses

import numpy as np
import pytest

from isa.instructions import (EXCHANGE, FETCH_BYTES, QUEUE_OF, Fault, Instruction, Opcode, Region,
                              assembled)
from isa.presets import PRESETS
from makalu.measure.zoo import Recorder
from makalu.see.bisect import Comparison
from runtime.device import DeviceFault, queue_at, region_input
from runtime.golden_device import GoldenDevice
from runtime.uart_device import UartDevice
from sim.board import BoardDevice
from sim.device import RtlDevice
from tests.runtime.test_packet_link import Line
from tests.sim import standin

TINY = PRESETS["tiny"]


@pytest.mark.parametrize("kind", [GoldenDevice, RtlDevice, UartDevice, BoardDevice, Comparison,
                                  Recorder])
def test_every_device_can_be_closed(kind):
    assert kind.progress is None and "close" in dir(kind)
    assert {"load", "execute", "close", "__enter__", "__exit__"} <= set(dir(kind))


def test_inputs_are_the_bytes_of_the_region() -> None:
    """Of one axis, of bytes, as many as the program says; behind them zeros."""
    program = dataclasses.replace(standin.program(TINY), region_sizes={Region.INPUT: 36})
    found = region_input(program, np.full(36, 9, np.uint8))
    assert found.tolist() == [9] * 36 + [0] * 28
    for wrong in (np.zeros((6, 6), np.uint8), np.zeros(35, np.uint8), np.zeros(36, np.int8)):
        with pytest.raises(ValueError, match="takes 36 input bytes .uint8., got"):
            region_input(program, wrong)


@pytest.mark.parametrize("code, queue", [
    *((assembled([Instruction(op)]), "" if op in EXCHANGE else QUEUE_OF.get(op, ""))
      for op in Opcode),
    (bytes(FETCH_BYTES), ""), (b"", "")])
def test_the_queue_of_what_has_stopped(code: bytes, queue: str) -> None:
    """END, what is no instruction, on this machine at least, and what is behind the program have
    none."""
    program = dataclasses.replace(standin.program(TINY), image=code)
    assert queue_at(program, 0) == queue
    unit = f"{queue.upper()} engine" if queue else "fetch and decoder"
    assert f", {unit}: " in str(DeviceFault(program, Fault.BAD_FIELD, 0))


def test_with_ends_a_simulation():
    cycles = []
    with RtlDevice(TINY, verilog=standin.verilog(TINY)) as device:
        device.progress = cycles.append
        device.load(standin.program(TINY))
        size = standin.program(TINY).region_sizes[2]
        device.execute(np.zeros(size, np.uint8))
        assert device.harness
    with pytest.raises(RuntimeError, match="no program is loaded"):
        device.execute(np.zeros(size, np.uint8))


def test_with_closes_after_an_error():
    with pytest.raises(KeyError), GoldenDevice(TINY) as device:
        device.load(standin.program(TINY))
        raise KeyError
    with pytest.raises(RuntimeError, match="no program is loaded"):
        device.execute(np.zeros(4, np.uint8))


def test_a_board_gives_its_line_back(monkeypatch):
    line = Line()
    monkeypatch.setattr("runtime.uart_device.Host", lambda *args: None)
    with UartDevice(TINY, line):
        assert line.received is not None
    assert line.received is None
