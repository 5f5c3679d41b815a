# SPDX-License-Identifier: Apache-2.0
"""Gangs on the golden model: words go where numpy puts them, whatever the order; faults name the
rank; a gang that cannot go on says who waits for what."""

import random
from dataclasses import replace

import numpy as np
import pytest

from golden.fault import MachineFault
from golden.gang import Gang
from golden.machine import Machine
from isa.instructions import GANG_QUEUES, Fault, Instruction, Opcode, Region, assembled
from isa.presets import PRESETS

CONFIG = replace(PRESETS["tiny"], exchange=True)
WORD = CONFIG.word_bytes
ONE = dict(n0=1, n1=1, n2=1, n3=1)
END = Instruction(Opcode.END)
SEEDS = (None, *range(20))


def make(opcode: Opcode, waits: dict[str, int] | None = None, **fields: int) -> Instruction:
    """An instruction with waits for so many of the queues named."""
    waits = waits or {}
    if opcode in (Opcode.LOAD, Opcode.STORE, Opcode.XFER):
        fields = {**ONE, **fields}
    mask = sum(1 << GANG_QUEUES.index(q) for q in waits)
    return Instruction(opcode, {**fields, "wait_mask": mask,
                                **{f"wait_{q}": count for q, count in waits.items()}})


def run(streams: list[list[Instruction]], inputs: np.ndarray, output: int,
        seed: int | None) -> np.ndarray:
    images = [assembled([*stream, END]) for stream in streams]
    starts = [sum(map(len, images[:k])) for k in range(len(images))]
    return Gang(CONFIG, len(streams)).run(
        b"".join(images), starts, inputs, {Region.OUTPUT: output, Region.WORKSPACE: 64},
        choose=None if seed is None else random.Random(seed).choice)


def gathered(ranks: int, each: int, awaits: bool = True) -> list[list[Instruction]]:
    """Each rank loads ``each`` words and sends them to all others; then it stores every
    ``ranks``-th word of all, from its rank on."""
    streams = []
    for rank in range(ranks):
        mine, everyone = rank * each, (1 << ranks) - 1
        code = [make(Opcode.LOAD, region=Region.INPUT, dram=mine * WORD, spm=mine, n0=each),
                make(Opcode.XFER, {"load": 1}, spm=mine, peer=mine, n0=each,
                     to=everyone & ~(1 << rank), signal=1, counter=3)]
        if awaits:
            code.append(make(Opcode.AWAIT, counter=3, threshold=ranks - 1))
        code.append(make(Opcode.STORE, {"load": 1, **({"await": 1} if awaits else {})},
                         region=Region.OUTPUT, dram=rank * each * WORD, spm=rank, n1=each,
                         dram_stride1=WORD, spm_stride1=ranks))
        streams.append(code)
    return streams


@pytest.mark.parametrize("ranks", [2, 3, 4, 8, 16])
def test_all_gather(ranks: int) -> None:
    each = 5
    x = np.random.default_rng(ranks).integers(0, 256, (ranks * each, WORD), np.uint8)
    want = np.concatenate([x[rank::ranks] for rank in range(ranks)])
    for seed in SEEDS:
        got = run(gathered(ranks, each), x.reshape(-1), want.size, seed)
        assert np.array_equal(got.reshape(want.shape), want), seed


def test_orders_differ() -> None:
    """Without the AWAITs some order is wrong, so the orders are not all the same."""
    x = np.random.default_rng(1).integers(1, 256, (20, WORD), np.uint8)
    want = np.concatenate([x[rank::4] for rank in range(4)])
    found = [run(gathered(4, 5, False), x.reshape(-1), want.size, seed) for seed in range(20)]
    assert not all(np.array_equal(got, want.ravel()) for got in found)


def test_queues_overtake_one_another() -> None:
    """Without a wait a STORE may be in front of the LOAD that stands before it; with one it never
    is."""
    x = np.arange(1, 1 + WORD, dtype=np.uint8)
    load = make(Opcode.LOAD, region=Region.INPUT)
    for waits, want in ({"load": 1}, {True}), ({}, {False, True}):
        code = [load, make(Opcode.STORE, waits, region=Region.OUTPUT)]
        assert {bool(run([code], x, WORD, seed).any()) for seed in range(20)} == want


def test_strides_and_multicast() -> None:
    """Four loops on both sides, against numpy's; who is not named gets nothing."""
    rng = np.random.default_rng(2)
    x = rng.integers(1, 256, (2 * 3 * 4 * 2, WORD), np.uint8)
    load = make(Opcode.LOAD, region=Region.INPUT, spm=100, n0=len(x))
    send = make(Opcode.XFER, {"load": 1}, spm=100, n0=2, n1=4, n2=3, n3=2, spm_stride1=2,
                spm_stride2=8, spm_stride3=24, peer=600, peer_stride1=6, peer_stride2=2,
                peer_stride3=-100, to=0b1010, signal=1)
    want = np.zeros((CONFIG.spm_words, WORD), np.uint8)
    for k3 in range(2):
        for k2 in range(3):
            for k1 in range(4):
                at = 600 + 6 * k1 + 2 * k2 - 100 * k3
                want[at:at + 2] = x.reshape(2, 3, 4, 2, WORD)[k3, k2, k1]
    size = CONFIG.spm_bytes

    def out(rank: int, waits: dict[str, int]) -> Instruction:
        return make(Opcode.STORE, waits, region=Region.OUTPUT, dram=rank * size,
                    n0=CONFIG.spm_words)
    code = [make(Opcode.AWAIT, threshold=1), out(1, {"await": 1})], [out(2, {})], [
        make(Opcode.AWAIT, threshold=1), out(3, {"await": 1})]
    got = run([[load, send], *code], x.reshape(-1), 4 * size, 7).reshape(4, -1, WORD)
    assert np.array_equal(got[1], want) and np.array_equal(got[3], want)
    assert not got[0].any() and not got[2].any()


def test_signals_come_behind_the_words_before_them() -> None:
    """A thousand times to and fro: one counter each way, both ranks count up the same word."""
    rounds = 1000
    x = np.random.default_rng(3).integers(0, 256, (rounds, WORD), np.uint8)
    ping, pong = [], []
    for k in range(rounds):
        ping += [make(Opcode.LOAD, {"send": 2 * k} if k else {}, region=Region.INPUT,
                      dram=k * WORD),
                 make(Opcode.XFER, {"load": k + 1, **({"await": k} if k else {})}, to=2),
                 make(Opcode.SIGNAL, to=2, counter=7),
                 make(Opcode.AWAIT, counter=0, threshold=k + 1)]
        pong += [make(Opcode.AWAIT, counter=7, threshold=k + 1),
                 make(Opcode.STORE, {"await": k + 1}, region=Region.OUTPUT, dram=k * WORD),
                 make(Opcode.SIGNAL, {"store": k + 1}, to=1, counter=0)]
    for seed in (None, 0, 1):
        assert np.array_equal(run([ping, pong], x.reshape(-1), x.size, seed), x.ravel())


def test_one_gang_runs_program_after_program() -> None:
    """Counters are zero when the gang begins."""
    gang = Gang(CONFIG, 2)
    image = assembled([make(Opcode.SIGNAL, to=2), END]), assembled([
        make(Opcode.AWAIT, threshold=1), END])
    for streams in (image, image):
        gang.run(b"".join(streams), [0, len(streams[0])], np.zeros(0, np.uint8), {})
    with pytest.raises(MachineFault):
        gang.run(assembled([END]) + image[1], [0, len(assembled([END]))], np.zeros(0, np.uint8), {})


@pytest.mark.parametrize("seed", [None, 0, 1])
def test_deadlock(seed: int | None) -> None:
    """Both wait for the other one before they signal; rank 0 has ended."""
    def waits(other: int) -> list[Instruction]:
        return [make(Opcode.LOAD, region=Region.INPUT),
                make(Opcode.AWAIT, {"load": 1}, threshold=1),
                make(Opcode.SIGNAL, {"await": 1}, to=1 << other)]
    with pytest.raises(MachineFault) as e:
        run([[], waits(2), waits(1)], np.zeros(WORD, np.uint8), WORD, seed)
    assert (e.value.code, e.value.rank, e.value.index) == (Fault.WATCHDOG, 1, 1)


@pytest.mark.parametrize("bad,code", [
    (make(Opcode.XFER, to=0), Fault.BAD_FIELD),
    (make(Opcode.XFER, to=0b010), Fault.BAD_FIELD),
    (make(Opcode.XFER, to=0b1001), Fault.BAD_FIELD),
    (make(Opcode.SIGNAL, to=0), Fault.BAD_FIELD),
    (make(Opcode.SIGNAL, to=0b011), Fault.BAD_FIELD),
    (make(Opcode.SIGNAL, to=0b1000), Fault.BAD_FIELD),
    (make(Opcode.XFER, to=1, n2=0), Fault.BAD_FIELD),
    (make(Opcode.XFER, to=1, n0=0), Fault.BAD_FIELD),
    (make(Opcode.XFER, to=1, spm=CONFIG.spm_words), Fault.SPM_RANGE),
    (make(Opcode.XFER, to=1, peer=CONFIG.spm_words), Fault.SPM_RANGE),
    (make(Opcode.XFER, to=1, n1=3, peer=1, peer_stride1=-1), Fault.SPM_RANGE),
    (make(Opcode.XFER, to=1, n1=2, spm_stride1=-1), Fault.SPM_RANGE),
    (make(Opcode.STORE, {"load": 2}, region=Region.OUTPUT), Fault.WATCHDOG),
    (Instruction(Opcode.LOAD), Fault.BAD_FIELD)])
def test_faults(bad: Instruction, code: Fault) -> None:
    """Each in the middle of rank 1's stream, in the legal neighbors' company."""
    load = make(Opcode.LOAD, region=Region.INPUT)
    good = [make(Opcode.XFER, to=0b101, n1=3, peer=2, peer_stride1=-1),
            make(Opcode.SIGNAL, to=0b101), make(Opcode.STORE, {"load": 1}, region=Region.OUTPUT)]
    for seed in (None, 0, 1):
        for middle in ([], [bad]):
            streams = [[load], [load, *middle, *good], []]
            if not middle:
                run(streams, np.zeros(WORD, np.uint8), WORD, seed)
                continue
            with pytest.raises(MachineFault) as e:
                run(streams, np.zeros(WORD, np.uint8), WORD, seed)
            assert (e.value.code, e.value.rank, e.value.index) == (code, 1, 1)


def test_a_stream_without_an_end() -> None:
    with pytest.raises(MachineFault) as e:
        Gang(CONFIG, 1).run(assembled([make(Opcode.LOAD, region=Region.INPUT)] * 4), [0],
                            np.zeros(WORD, np.uint8), {})
    assert (e.value.code, e.value.index) == (Fault.DRAM_RANGE, 4)


@pytest.mark.parametrize("i", [make(Opcode.XFER, to=2), make(Opcode.SIGNAL, to=2),
                               make(Opcode.AWAIT)])
def test_alone(i: Instruction) -> None:
    """A machine without ``exchange`` has none of them; one that is alone nobody to send to, and
    what it awaits does not come."""
    nothing = np.zeros(0, np.uint8)
    load = make(Opcode.LOAD, region=Region.PROGRAM)
    with pytest.raises(MachineFault) as e:
        Machine(PRESETS["tiny"]).run(assembled([load, i, END]), nothing, {})
    assert (e.value.code, e.value.index) == (Fault.ILLEGAL_OPCODE, 1)
    if i.opcode is Opcode.AWAIT:
        Machine(CONFIG).run(assembled([i, END]), nothing, {})
        i = make(Opcode.AWAIT, threshold=1)
    with pytest.raises(MachineFault) as e:
        Machine(CONFIG).run(assembled([load, i, END]), nothing, {})
    want = Fault.WATCHDOG if i.opcode is Opcode.AWAIT else Fault.BAD_FIELD
    assert (e.value.code, e.value.index) == (want, 1)


def test_bits_of_queues_that_there_are_not() -> None:
    """Without ``exchange`` a wait for send or await is none."""
    x = np.arange(WORD, dtype=np.uint8)
    code = [make(Opcode.LOAD, {"send": 9, "await": 9}, region=Region.INPUT),
            make(Opcode.STORE, {"load": 1, "await": 1}, region=Region.OUTPUT), END]
    sizes = {Region.OUTPUT: WORD}
    assert np.array_equal(Machine(PRESETS["tiny"]).run(assembled(code), x, sizes), x)
    with pytest.raises(MachineFault):
        Machine(CONFIG).run(assembled(code), x, sizes)
