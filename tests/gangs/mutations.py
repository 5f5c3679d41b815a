# SPDX-License-Identifier: Apache-2.0
"""Streams of a gang with one thing wrong in what orders them."""

import random
from collections.abc import Callable

from isa.instructions import GANG_QUEUES, QUEUE_OF, SIGNALS, Instruction, Opcode
from tests.gangs.orders import Place, Streams

Changed = tuple[list[list[Instruction]], list[Place]]
"""Streams, and where they are others."""

SEND = GANG_QUEUES.index("send")


def changed(i: Instruction, **fields: int) -> Instruction:
    return Instruction(i.opcode, {**i.fields, **fields})


def _some(streams: Streams, rng: random.Random, may: Callable[[Instruction], bool]) -> Place:
    return rng.choice([(rank, k) for rank, stream in enumerate(streams)
                       for k, i in enumerate(stream) if may(i)])


def _with(streams: Streams, place: Place, **fields: int) -> Changed:
    rank, at = place
    out = [list(stream) for stream in streams]
    out[rank][at] = changed(out[rank][at], **fields)
    return out, [place]


def _numbered(stream: list[Instruction], at: int, by: int) -> None:
    """From a position on, waits for the queue of sends count so many more."""
    first = sum(QUEUE_OF.get(i.opcode) == "send" for i in stream[:at])
    for k in range(at, len(stream)):
        i = stream[k]
        if i.wait_mask >> SEND & 1 and i.wait_send > first:
            stream[k] = changed(i, wait_send=i.wait_send + by)


def _sent(i: Instruction) -> bool:
    return i.opcode is Opcode.SIGNAL or i.opcode is Opcode.XFER and bool(i.signal)


def no_wait(streams: Streams, rng: random.Random) -> Changed:
    """One wait is not there."""
    rank, at = _some(streams, rng, lambda i: bool(i.wait_mask))
    mask = streams[rank][at].wait_mask
    bit = rng.choice([q for q in range(len(GANG_QUEUES)) if mask >> q & 1])
    return _with(streams, (rank, at), wait_mask=mask & ~(1 << bit))


def less(streams: Streams, rng: random.Random) -> Changed:
    """It waits for the instruction in front of the one that it should wait for."""
    rank, at = _some(streams, rng, lambda i: bool(i.wait_mask))
    i = streams[rank][at]
    queue = rng.choice([q for k, q in enumerate(GANG_QUEUES) if i.wait_mask >> k & 1])
    return _with(streams, (rank, at), **{f"wait_{queue}": getattr(i, f"wait_{queue}") - 1})


def threshold(streams: Streams, rng: random.Random) -> Changed:
    """An AWAIT wants a signal more or less."""
    place = _some(streams, rng, lambda i: i.opcode is Opcode.AWAIT)
    i = streams[place[0]][place[1]]
    return _with(streams, place, threshold=i.threshold + rng.choice([-1, 1]))


def nothing(streams: Streams, rng: random.Random) -> Changed:
    """An AWAIT waits for nothing."""
    return _with(streams, _some(streams, rng, lambda i: i.opcode is Opcode.AWAIT), threshold=0)


def lost(streams: Streams, rng: random.Random) -> Changed:
    """An XFER is no signal, or a SIGNAL is not there."""
    rank, at = place = _some(streams, rng, _sent)
    out, where = _with(streams, place)
    if out[rank][at].opcode is Opcode.XFER:
        return _with(streams, place, signal=0)
    _numbered(out[rank], at, -1)
    del out[rank][at]
    return out, where


def _signal_of(i: Instruction, **fields: int) -> Instruction:
    return Instruction(Opcode.SIGNAL, {"to": i.to, "counter": i.counter, **fields})


def doubled(streams: Streams, rng: random.Random) -> Changed:
    """A signal comes twice."""
    rank, at = place = _some(streams, rng, _sent)
    out, where = _with(streams, place)
    _numbered(out[rank], at + 1, 1)
    out[rank].insert(at + 1, _signal_of(out[rank][at]))
    return out, where


def early(streams: Streams, rng: random.Random) -> Changed:
    """A signal comes before the words that it tells of, or before what it should wait for."""
    rank, at = place = _some(streams, rng, lambda i: _sent(i) and bool(i.wait_mask))
    i = streams[rank][at]
    if i.opcode is Opcode.SIGNAL:
        return _with(streams, place, wait_mask=0)
    out, _ = _with(streams, place, signal=0)
    _numbered(out[rank], at, 1)
    out[rank].insert(at, _signal_of(i))
    return out, [(rank, at + 1)]


def counter(streams: Streams, rng: random.Random) -> Changed:
    """A signal raises another counter."""
    rank, at = place = _some(streams, rng, _sent)
    other = (streams[rank][at].counter + rng.randrange(1, SIGNALS)) % SIGNALS
    return _with(streams, place, counter=other)


def exchanged(streams: Streams, rng: random.Random) -> Changed:
    """Two neighbors of a queue change places."""
    rank, at = _some(streams, rng, lambda i: i.opcode is not Opcode.END)
    out = [list(stream) for stream in streams]
    queue = QUEUE_OF[out[rank][at].opcode]
    following = [k for k in range(at + 1, len(out[rank]))
                 if QUEUE_OF.get(out[rank][k].opcode) == queue]
    if not following:
        return exchanged(streams, rng)
    other = following[0]
    out[rank][at], out[rank][other] = out[rank][other], out[rank][at]
    return out, [(rank, at), (rank, other)]


def elsewhere(streams: Streams, rng: random.Random) -> Changed:
    """Words land in another place."""
    rank, at = place = _some(streams, rng, lambda i: i.opcode is Opcode.XFER)
    return _with(streams, place, peer=streams[rank][at].peer ^ 1 << rng.randrange(5))


MUTATIONS = (no_wait, less, threshold, nothing, lost, doubled, early, counter, exchanged, elsewhere)
