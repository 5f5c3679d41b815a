# SPDX-License-Identifier: Apache-2.0
"""Messages and arrays between two ends, in threads of one process."""

import socket
import threading

import numpy as np
import pytest

from makalu.serve.channel import Channel


@pytest.fixture
def ends():
    """The server's end, and the other one, which a thread uses."""
    mine, (end, out, into) = Channel.pair()
    other = Channel(socket.socket(fileno=end), out, into, copies=False)
    yield mine, other
    other._socket.close()
    mine.close()


def echo(other, times, change=lambda message: message):
    def run():
        for _ in range(times):
            other.send(change(other.receive()))
    thread = threading.Thread(target=run)
    thread.start()
    return thread


@pytest.mark.parametrize("array", [
    np.arange(6, dtype=np.int8).reshape(2, 3), np.zeros((0, 4), np.float32), np.float64(2.5),
    np.arange(12).reshape(3, 4).T, np.arange(20)[::3], np.ones((3, 1 << 20), np.float16),
    np.array([True, False])], ids=str)
def test_arrays_come_as_they_are(ends, array):
    mine, other = ends
    thread = echo(other, 1)
    mine.send({"a": array, "b": (1, "x", array)})
    got = mine.receive()
    thread.join()
    for there in (got["a"], got["b"][2]):
        assert there.dtype == array.dtype and np.array_equal(there, array)


def test_what_came_stays_when_the_next_message_comes(ends):
    """Sizes that grow and shrink, so that the memory is mapped anew."""
    mine, other = ends
    rng = np.random.default_rng(1)
    sizes = [5, 100_000, 7, 3_000_000, 64, 1]
    sent = [rng.integers(0, 255, size, np.uint8) for size in sizes]
    thread = echo(other, len(sent), lambda array: array + 1)

    got = []
    for array in sent:
        mine.send(array)
        got.append(mine.receive())
    thread.join()
    assert all(np.array_equal(a + 1, b) for a, b in zip(sent, got))


def test_the_other_end_ends(ends):
    mine, other = ends
    other._socket.close()
    with pytest.raises((EOFError, OSError)):
        mine.send(1)
        mine.receive()


def test_an_answer_that_ends_within(ends):
    mine, other = ends
    other._socket.sendall(b"\x09\0\0\0\0\0\0\0half")
    other._socket.close()
    with pytest.raises(EOFError):
        mine.receive()
