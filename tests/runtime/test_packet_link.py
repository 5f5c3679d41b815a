# SPDX-License-Identifier: Apache-2.0
"""The driver's packets against a board of a few lines of Python, on lines that lose and invent."""

import builtins
import random
import sys
import types

import numpy as np
import pytest

from isa.packets import MAX_PAYLOAD, WITH_PAYLOAD, Command, Status, crc, response
from isa.presets import PRESETS
from runtime.device import MachineError
from runtime.packet_link import PacketLink
from runtime.uart_device import SerialPort, UartDevice

SIZE_BITS = 16


class Line:
    """A board at the end of a line. ``damage`` gets and gives each packet, ``answers`` likewise."""

    name = "the line"

    def __init__(self, damage=bytes, answers=bytes):
        self.memory, self.registers = bytearray(1 << SIZE_BITS), {}
        self.damage, self.answers = damage, answers
        self.received, self.version = bytearray(), 1
        self.last, self.writes, self.irq_after = None, 0, 0

    def write(self, data):
        answer = self.board(self.damage(data))
        if answer is not None:
            self.received += self.answers(answer)

    def read(self, size):
        got, self.received = bytes(self.received[:size]), self.received[size:]
        return got

    def drain(self):
        self.received.clear()

    def close(self):
        self.received = None

    def board(self, p):
        if len(p) < 11 or p[0] != 0xA5:
            return None
        command, sequence, count = p[1], p[2], int.from_bytes(p[3:5], "little")
        address, payload = int.from_bytes(p[5:9], "little"), p[9:-2]
        if crc(p[1:]) or len(payload) != (count if command in WITH_PAYLOAD else 0):
            return response(Status.BAD_CRC, sequence)
        data = b""
        if command == Command.HELLO:
            data = bytes([self.version, SIZE_BITS, MAX_PAYLOAD & 255, MAX_PAYLOAD >> 8, *bytes(4)])
        elif command == Command.WRITE_MEMORY:
            self.memory[address:address + count] = payload
        elif command == Command.READ_MEMORY:
            data = bytes(self.memory[address:address + count])
        elif command == Command.WRITE_REGISTER:
            self.writes += self.last != sequence
            self.registers[address] = int.from_bytes(payload, "little")
        elif command == Command.READ_REGISTER:
            if address >= 4096:
                return response(Status.BAD_ADDRESS, sequence)
            data = self.registers.get(address, 0).to_bytes(4, "little")
        elif command == Command.WAIT:
            self.irq_after -= 1
            data = bytes([self.irq_after < 0])
        self.last = sequence
        return response(Status.OK, sequence, data)


def damaged(rng, share):
    """Some packets lose a byte, get one, or have one changed; never HELLO's first."""
    def change(data):
        if rng.random() >= share:
            return data
        at = rng.randrange(len(data))
        kind = rng.randrange(4)
        return (data[:at] + data[at + 1:], data[:at] + b"\x5a" + data[at:], b"",
                data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1:])[kind]
    return change


def exercise(link, line, count):
    rng = np.random.default_rng(1)
    for k in range(count):
        data = rng.integers(0, 256, int(rng.integers(1, 700)) * 8, np.uint8)
        at = 8 * int(rng.integers(0, 1000))
        link.write_memory(at, data)
        assert np.array_equal(link.read_memory(at, data.size), data)
        link.write(4 * k, 0x12345678 + k)
        assert link.read(4 * k) == 0x12345678 + k
    assert line.writes == count


def test_a_good_line():
    line = Line()
    link = PacketLink(line)
    assert link.memory_bytes == 1 << SIZE_BITS
    exercise(link, line, 10)
    assert link.retries == 0


@pytest.mark.parametrize("where", ["damage", "answers"])
def test_a_bad_line(where):
    """One packet in twelve is damaged on its way, or its answer is: all goes well in the end, and a
    register is written once."""
    rng = random.Random(2)
    line = Line(**{where: damaged(rng, 1 / 12)})
    link = PacketLink(line)
    exercise(link, line, 40)
    assert link.retries > 10


def test_an_answer_that_comes_late():
    """An answer to a request which has been answered since is not taken for one to the next."""
    line = Line()
    link = PacketLink(line)
    line.registers |= {0: 7, 4: 9}
    late = []
    line.answers = lambda answer: late.append(answer) or answer
    assert link.read(0) == 7
    line.answers = lambda answer: (late.pop() if late else b"") + answer
    assert link.read(4) == 9 and not late


def test_waits_for_the_interrupt_and_gives_up():
    line = Line()
    line.irq_after = 3
    assert PacketLink(line).wait()
    line.irq_after = 10**9
    assert not PacketLink(line, patience=0.0).wait()


def test_a_dead_line():
    with pytest.raises(MachineError, match="the line does not answer, 4 times: check the cable"):
        PacketLink(Line(damage=lambda data: b""))


def test_a_line_that_always_fails():
    with pytest.raises(MachineError, match="refuses HELLO: the CRC is wrong, 4 times"):
        PacketLink(Line(damage=lambda data: data[:-1] + bytes([data[-1] ^ 1])))


def test_another_protocol():
    line = Line()
    line.version = 9
    with pytest.raises(MachineError, match="speaks version 9 of the protocol, not 1"):
        PacketLink(line)


def test_what_the_board_refuses_is_not_repeated():
    link = PacketLink(Line())
    with pytest.raises(MachineError, match="refuses READ_REGISTER at 0x10000: the address is not"):
        link.read(0x10000)
    assert link.retries == 0


def test_memory_is_checked_before_anything_is_sent():
    link = PacketLink(Line())
    link.write_memory((1 << SIZE_BITS) - 8, np.full(8, 7, np.uint8))
    assert (link.read_memory((1 << SIZE_BITS) - 8, 8) == 7).all()
    with pytest.raises(MachineError, match="has 65,536 bytes of memory, 65,544 are needed"):
        link.write_memory((1 << SIZE_BITS) - 8, np.zeros(16, np.uint8))
    with pytest.raises(ValueError, match="not whole beats"):
        link.read_memory(4, 8)


def test_a_board_that_holds_something_else():
    with pytest.raises(MachineError, match="not a 'tiny': its identification is 0x0 instead of"):
        UartDevice(PRESETS["tiny"], Line())


def test_without_pyserial(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "serial":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.delitem(sys.modules, "serial", raising=False)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MachineError, match="needs the package pyserial.*pip install pyserial"):
        SerialPort("/dev/ttyUSB0")


def serial(monkeypatch, make):
    module = types.ModuleType("serial")
    module.Serial = make
    monkeypatch.setitem(sys.modules, "serial", module)


def test_a_port_that_does_not_open(monkeypatch):
    def fail(*args, **kwargs):
        raise OSError("no such file")

    serial(monkeypatch, fail)
    with pytest.raises(MachineError, match="'/dev/ttyUSB9' does not open .no such file.: check"):
        SerialPort("/dev/ttyUSB9")
    with pytest.raises(MachineError, match="'fast' behind @ has to be a baud rate"):
        SerialPort("/dev/ttyUSB9@fast")


def test_a_port_is_a_stream(monkeypatch):
    """With the rate behind @, and through it to a board."""
    line, opened = Line(), []

    class Port:
        timeout = 0.0

        def __init__(self, name, baud, timeout):
            opened.append((name, baud))
            self.write, self.read, self.close = line.write, line.read, lambda: None

    serial(monkeypatch, Port)
    port = SerialPort("COM3@2000000")
    link = PacketLink(port)
    link.write(16, 5)
    assert link.read(16) == 5 and opened == [("COM3", 2_000_000)]
    port.close()


def test_a_port_that_never_falls_silent(monkeypatch):
    """Opening it drains it, which ends; so does looking for a response."""
    class Port:
        timeout = 0.0

        def __init__(self, *args, **kwargs):
            pass

        def read(self, size):
            return bytes(size)

    serial(monkeypatch, Port)
    with pytest.raises(MachineError, match="the port 'COM3' does not fall silent: check the baud"):
        PacketLink(SerialPort("COM3"))


def test_a_board_that_sends_no_response_but_all_else():
    class Chatter(Line):
        def read(self, size):
            return bytes(size)

    with pytest.raises(MachineError, match="does not answer, 4 times"):
        PacketLink(Chatter())


def test_a_port_that_goes_away(monkeypatch):
    class Port:
        timeout = 0.0

        def __init__(self, *args, **kwargs):
            pass

        def read(self, size):
            raise OSError("device disconnected")

    serial(monkeypatch, Port)
    with pytest.raises(MachineError, match="'COM3' fails .device disconnected.: check that the"):
        PacketLink(SerialPort("COM3"))
