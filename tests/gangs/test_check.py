# SPDX-License-Identifier: Apache-2.0
"""The check of gangs: what is right passes, and each way to be wrong is found by its name; of
mutations, all that some order on the golden model shows to be wrong."""

import numpy as np
import pytest

from gangs.check import Finding, check
from gangs.clocks import AWAIT, Gang
from golden.fault import MachineFault
from isa.instructions import Instruction, Opcode, Region
from tests.golden.test_gang import CONFIG, WORD, gathered, make, run

SIZES = {Region.WORKSPACE: 1024, Region.OUTPUT: 1024}
LOAD = make(Opcode.LOAD, region=Region.INPUT)


def kinds(streams: list[list[Instruction]]) -> list[str]:
    return [f.kind for f in check(streams, CONFIG, SIZES)]


def rounds(ranks: int, count: int, counters: int) -> list[list[Instruction]]:
    """Each rank sends a word to all others, ``count`` times, and goes on when it has theirs, and
    has stored them. In turns it takes one of two places, and one of so many counters."""
    streams: list[list[Instruction]] = []
    for rank in range(ranks):
        others = (1 << ranks) - 1 & ~(1 << rank)
        code = []
        for k in range(count):
            base, counter = k % 2 * ranks, k % counters
            # who gets a word knows that the words of the round before were stored
            known = {"store" if k < count - 1 else "await": k} if k else {}
            code += [
                make(Opcode.LOAD, {"send": k - 1, "store": k - 1} if k > 1 else {},
                     region=Region.INPUT, spm=base + rank, dram=(k * ranks + rank) * WORD),
                make(Opcode.XFER, {"load": k + 1, **known}, spm=base + rank,
                     peer=base + rank, to=others, signal=1, counter=counter),
                make(Opcode.AWAIT, counter=counter,
                     threshold=(k // counters + 1) * (ranks - 1)),
                make(Opcode.STORE, {"await": k + 1, "load": k + 1}, region=Region.OUTPUT,
                     n1=ranks, spm=base, spm_stride1=1, dram=(rank * count + k) * ranks * WORD,
                     dram_stride1=WORD)]
        streams.append(code)
    return streams


def stored(streams: list[list[Instruction]], x: np.ndarray, size: int, seed: int) -> bytes | None:
    try:
        return run(streams, x, size, seed).tobytes()
    except MachineFault:
        return None


@pytest.mark.parametrize("ranks", [2, 3, 4, 16])
def test_what_is_right_passes(ranks: int) -> None:
    assert check(gathered(ranks, 5), CONFIG, SIZES) == []
    streams = rounds(ranks, 6, 2)
    size = ranks * 6 * ranks * WORD
    assert check(streams, CONFIG, {Region.OUTPUT: size}) == []
    x = np.random.default_rng(0).integers(0, 256, 6 * ranks * WORD, np.uint8)
    assert len({stored(streams, x, size, seed) for seed in range(10)}) == 1


def test_a_counter_of_several_senders_needs_turns() -> None:
    """With one counter a sender may be a round ahead while another one's words are not there."""
    assert kinds(rounds(2, 6, 1)) == []
    found = check(rounds(3, 6, 1), CONFIG, {Region.OUTPUT: 3 * 6 * 3 * WORD})
    assert found and all(f.kind == "race" for f in found)


def test_what_is_sure() -> None:
    """Two senders, one of which has sent twice what it may: of three signals, one is the
    other's."""
    streams = [[make(Opcode.SIGNAL, to=4)] * 2, [make(Opcode.SIGNAL, to=4)] * 2,
               [make(Opcode.AWAIT, threshold=3), make(Opcode.AWAIT, threshold=4)]]
    assert [e.sure for e in Gang(streams).awaits] == [[1, 1, 0], [2, 2, 0]]


WRITE = [LOAD, make(Opcode.XFER, {"load": 1}, to=2, signal=1)]
READ = [make(Opcode.AWAIT, threshold=1), make(Opcode.STORE, {"await": 1}, region=Region.OUTPUT)]


@pytest.mark.parametrize("streams,want", [
    ([WRITE, READ], []),
    # the reader does not wait, or for less, or the words are others
    ([WRITE, [READ[0], make(Opcode.STORE, region=Region.OUTPUT)]], ["race"]),
    ([WRITE, [make(Opcode.AWAIT), READ[1]]], ["race", "signal"]),
    ([[LOAD, make(Opcode.SIGNAL, {"load": 1}, to=2), make(Opcode.XFER, {"load": 1}, to=2)], READ],
     ["race"]),
    # own queues
    ([[LOAD, make(Opcode.STORE, region=Region.OUTPUT)]], ["race"]),
    ([[LOAD, make(Opcode.LOAD, region=Region.INPUT)]], ["race"]),
    ([[LOAD, make(Opcode.LOAD, {"load": 1}, region=Region.INPUT)]], []),
    ([[LOAD, make(Opcode.XFER, to=2, signal=1)], READ], ["race"]),
    ([[*WRITE, make(Opcode.LOAD, {"load": 1}, region=Region.INPUT)], READ], ["race"]),
    ([[*WRITE, make(Opcode.LOAD, {"load": 1, "send": 1}, region=Region.INPUT)], READ], []),
    # what comes lands on what is still read, or in the place of another one's
    ([WRITE, [make(Opcode.STORE, region=Region.OUTPUT), READ[0]]], ["race"]),
    ([[*WRITE], [LOAD, make(Opcode.AWAIT, threshold=1)]], ["race"]),
    ([WRITE, [make(Opcode.AWAIT, threshold=2)],
      [LOAD, make(Opcode.XFER, {"load": 1}, to=2, signal=1)]], ["race"]),
    ([[*WRITE, make(Opcode.XFER, {"load": 1}, to=2)], [make(Opcode.AWAIT, threshold=1)]], []),
    # DRAM: two write, one reads what another one writes
    ([[make(Opcode.STORE, region=Region.WORKSPACE)],
      [make(Opcode.STORE, region=Region.WORKSPACE)]], ["race"]),
    ([[make(Opcode.STORE, region=Region.WORKSPACE)],
      [make(Opcode.STORE, region=Region.WORKSPACE, dram=WORD)]], []),
    ([[make(Opcode.STORE, region=Region.WORKSPACE)],
      [make(Opcode.LOAD, region=Region.WORKSPACE)]], ["race"]),
    ([[make(Opcode.STORE, region=Region.WORKSPACE), make(Opcode.SIGNAL, {"store": 1}, to=2)],
      [READ[0], make(Opcode.LOAD, {"await": 1}, region=Region.WORKSPACE)]], []),
    ([[make(Opcode.STORE, region=Region.WORKSPACE), make(Opcode.SIGNAL, to=2)],
      [READ[0], make(Opcode.LOAD, {"await": 1}, region=Region.WORKSPACE)]], ["race"]),
    # deadlock: alone, in a circle, by a wait for what comes later
    ([[LOAD], READ], ["deadlock"]),
    ([[make(Opcode.AWAIT, threshold=1), make(Opcode.SIGNAL, {"await": 1}, to=2)],
      [make(Opcode.AWAIT, threshold=1), make(Opcode.SIGNAL, {"await": 1}, to=1)]],
     ["deadlock", "deadlock"]),
    ([[make(Opcode.STORE, {"load": 1}, region=Region.OUTPUT), LOAD]], ["deadlock"]),
    # signals and addresses
    ([[LOAD, *WRITE[1:], make(Opcode.SIGNAL, to=2)], READ], ["signal"]),
    ([[make(Opcode.SIGNAL, to=1)]], ["signal"]),
    ([[make(Opcode.SIGNAL, to=8)], []], ["signal"]),
    ([[make(Opcode.XFER, to=2, peer=CONFIG.spm_words)], []], ["range"]),
    ([[make(Opcode.LOAD, region=Region.WORKSPACE, dram=1024)]], ["range"]),
])
def test_each_way_to_be_wrong(streams: list[list[Instruction]], want: list[str]) -> None:
    assert kinds(streams) == want


def test_weights_are_read_ahead() -> None:
    """Of what a TENSOR waits for, only LOADs are behind the weights that it reads ahead."""
    counts = dict.fromkeys(("nx", "ny", "ncb", "ns", "nr", "nnb", "ntx", "nty", "nx_last",
                            "ny_last", "m_last", "n_last", "iw", "ih"), 1)
    weights = make(Opcode.LOAD, region=Region.INPUT, spm=64, n0=12)
    for code, waits, want in (
            ([weights], {"load": 1}, []), ([weights], {}, ["race"]),
            ([weights, make(Opcode.STORE, {"load": 1}, region=Region.OUTPUT)], {"store": 1},
             ["race"])):
        for ahead in (0, 1):
            tensor = make(Opcode.TENSOR, waits, **counts, w_base=64, o_base=100, w_ahead=ahead)
            assert kinds([[*code, tensor]]) == (want if ahead or not waits else [])


def test_findings_say_who() -> None:
    found = check([WRITE, [READ[0], make(Opcode.STORE, region=Region.OUTPUT)]], CONFIG, SIZES)
    assert found == [Finding("race", 1, 1, "instruction 1 (STORE) of rank 1: it reads word 0 of "
                             "the scratchpad of rank 1, and nothing orders it and instruction "
                             "1 (XFER) of rank 0")]


# -- mutations ----------------------------------------------------------------------------------

def without(i: Instruction, queue: int) -> Instruction:
    return Instruction(i.opcode, {**i.fields, "wait_mask": i.wait_mask & ~(1 << queue)})


def mutated(streams: list[list[Instruction]], rng: np.random.Generator
            ) -> tuple[str, list[list[Instruction]]]:
    """The streams of :func:`rounds` with one thing wrong, and what that is."""
    out = [list(stream) for stream in streams]

    def some(holds) -> tuple[int, int]:
        found = [(r, k) for r, s in enumerate(out) for k, i in enumerate(s) if holds(i)]
        return found[rng.integers(len(found))]
    what = ["await", "wait", "threshold", "lost", "twice", "address", "order"][rng.integers(7)]
    if what == "await":
        # those that wait for one that came later wait for the one before
        r, k = some(lambda i: i.opcode is Opcode.AWAIT)
        number = sum(i.opcode is Opcode.AWAIT for i in out[r][:k + 1])
        del out[r][k]
        out[r] = [Instruction(i.opcode, {**i.fields, "wait_await": i.wait_await - 1})
                  if i.wait_mask >> AWAIT & 1 and i.wait_await >= number else i for i in out[r]]
    elif what == "wait":
        r, k = some(lambda i: i.wait_mask)
        i = out[r][k]
        out[r][k] = without(i, int(rng.choice([q for q in range(7) if i.wait_mask >> q & 1])))
    elif what == "threshold":
        r, k = some(lambda i: i.opcode is Opcode.AWAIT and i.threshold)
        i = out[r][k]
        out[r][k] = Instruction(i.opcode, {**i.fields, "threshold": i.threshold - 1})
    elif what == "lost":
        r, k = some(lambda i: i.opcode is Opcode.SIGNAL or i.opcode is Opcode.XFER and i.signal)
        i = out[r][k]
        out[r][k] = Instruction(Opcode.AWAIT) if i.opcode is Opcode.SIGNAL else Instruction(
            i.opcode, {**i.fields, "signal": 0})
    elif what == "twice":
        r, k = some(lambda i: i.opcode is Opcode.SIGNAL or i.opcode is Opcode.XFER and i.signal)
        i = out[r][k]
        out[r].append(make(Opcode.SIGNAL, to=i.to, counter=i.counter))
    elif what == "address":
        r, k = some(lambda i: i.opcode is Opcode.XFER)
        i = out[r][k]
        out[r][k] = Instruction(i.opcode, {**i.fields, "peer": i.peer ^ 1})
    else:   # all ranks wait before they send
        k = 4 * int(rng.integers(len(out[0]) // 4))
        for stream in out:
            stream[k + 1], stream[k + 2] = stream[k + 2], stream[k + 1]
    return what, out


def test_mutations() -> None:
    """All are found, whether some order on the golden model shows them or not."""
    ranks, count = 3, 5
    size = ranks * count * ranks * WORD
    rng = np.random.default_rng(4)
    x = rng.integers(0, 256, count * ranks * WORD, np.uint8)
    streams = rounds(ranks, count, 2)
    want = stored(streams, x, size, 0)
    shown = 0
    for _ in range(200):
        what, wrong = mutated(streams, rng)
        assert check(wrong, CONFIG, {Region.OUTPUT: size}), what
        shown += any(stored(wrong, x, size, seed) != want for seed in range(8))
    assert 100 < shown < 200
