# SPDX-License-Identifier: Apache-2.0
"""What every device has: progress, an end, and ``with``."""

import numpy as np
import pytest

from isa.presets import PRESETS
from makalu.measure.zoo import Recorder
from makalu.see.bisect import Comparison
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
