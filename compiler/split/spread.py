# SPDX-License-Identifier: Apache-2.0
"""The instructions of one machine, spread over the ranks of a gang.

The emitters give the instructions as for one machine, and say of each that computes which rank has
it. All ranks have the same layout of the scratchpad, so a rank works where the one machine would,
and what it makes lies in the same words of every rank that reads it: right behind an instruction
stand the XFERs of its words to those. A LOAD is made by each rank that reads what it brings, or
by one of them for all, each a part (:class:`Common`); a STORE by the rank that has made what it
takes.
Both are cut if different ranks want, or have made, parts of them.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from enum import Enum

import numpy as np

from compiler.emit.schedule import moved
from compiler.machine.place import transfers
from compiler.machine.slabs import Slabs
from compiler.machine.steps import SPM, Extent, Step
from compiler.machine.timing import MOVERS, timed
from isa.config import Config
from isa.instructions import Opcode

MASK = np.uint16
"""Type of masks of ranks."""

LATE = 5000
"""Cycles by which the memory or the bus between the ranks can be ahead: what was asked for long ago
has been moved."""


class Common(Enum):
    """How what several ranks read of DRAM comes to them: ``EACH`` reads it; it comes ``ONCE`` and
    goes on from rank to rank; or ``EITHER``, as the memory or the bus between them is ahead."""

    EACH, ONCE, EITHER = range(3)


class _Busy:
    """By how many beats more the memory of the ranks is asked for than the bus between them, of
    late; ``memory``: beats a cycle that it moves."""

    def __init__(self, memory: float):
        self.memory = memory
        self.ahead = 0.0

    def count(self, steps: Iterable[Step]) -> None:
        """What is to be moved next."""
        for step in steps:
            if step.queue in MOVERS:
                self.ahead += step.cycles / self.memory
            elif step.queue == "send":
                self.ahead -= step.cycles
        self.ahead = min(LATE, max(-LATE, self.ahead))

    def once(self, beats: int, ranks: int) -> bool:
        """Whether what some ranks read should come once: that leaves the two more even."""
        each = self.ahead + beats * ranks / self.memory
        return abs(self.ahead + beats / self.memory - beats) <= abs(each)


def spread(steps: list[Step], config: Config, common: Common, slabs: Slabs, memory: float
           ) -> list[Step]:
    """The instructions of all ranks in an order in which they may run one by one.

    Parameters
    ----------
    steps : list of Step
        Those of one machine, in such an order.
    config : Config
    common : Common
    slabs : Slabs
        Which the steps have by their names, but what computes in its fields.
    memory : float
        Beats a cycle that the memory of all ranks moves.
    """
    busy = _Busy(memory)
    cut = list(_stores(steps, config, slabs))
    wanted = _wanted(cut, slabs)
    out: list[Step] = []
    for step, masks in zip(cut, wanted):
        if step.opcode is Opcode.LOAD:
            for part, mask in _parts(step, masks, config, slabs):
                ranks = [rank for rank in range(mask.bit_length()) if mask >> rank & 1]
                if ranks:   # words between those that are read, for example, are read by nobody
                    once = common is Common.ONCE or common is Common.EITHER and busy.once(
                        part.cycles, len(ranks))
                    new = list(_once(part, ranks, config, slabs) if once else _each(part, ranks))
                    busy.count(new)
                    out += new
            continue
        new = [step]
        if step.opcode is not Opcode.STORE:
            new += _sends(step, masks, config, slabs)
        busy.count(new)
        out += new
    return [_placed(step, slabs) for step in _patient(out, slabs)]


def _placed(step: Step, slabs: Slabs) -> Step:
    """A step at the addresses of its rank, and what it sends at those of its receivers."""
    f, rank = dict(step.fields), step.rank
    lands = slabs.addresses(step.reads, step.receivers[0]) if step.to else []
    if step.to:
        f["peer"] -= slabs.skip(f["peer"], step.receivers[0])
    if step.opcode in (Opcode.LOAD, Opcode.STORE, Opcode.XFER):
        f["spm"] -= slabs.skip(f["spm"], rank)
    return replace(step, fields=f, lands=lands, reads=slabs.addresses(step.reads, rank),
                   writes=slabs.addresses(step.writes, rank))


def _patient(steps: list[Step], slabs: Slabs) -> Iterator[Step]:
    """The steps, those without ``w_ahead`` whose weights another rank may have loaded: only LOADs
    are waited for ahead. Which of the words that they read are weights makes no difference here."""
    loaded: defaultdict[int, np.ndarray] = defaultdict(lambda: np.zeros(slabs.end, bool))
    sent: defaultdict[int, np.ndarray] = defaultdict(lambda: np.zeros(slabs.end, bool))
    for step in steps:
        mine = sent[step.rank]
        if step.fields.get("w_ahead") and any(mine[words].any() for words in _inside(step.reads)):
            step = replace(step, fields={**step.fields, "w_ahead": 0})
        yield step
        for words in _inside(step.reads):
            for rank in step.receivers:
                sent[rank][words] = loaded[step.rank][words]
        for words in _inside(step.writes):
            mine[words] = False
            loaded[step.rank][words] = step.opcode is Opcode.LOAD


def _each(step: Step, ranks: list[int]) -> Iterator[Step]:
    """A LOAD by each of some ranks."""
    for rank in ranks:
        yield replace(step, rank=rank, fields=dict(step.fields))


def _once(step: Step, ranks: list[int], config: Config, slabs: Slabs) -> Iterator[Step]:
    """A LOAD in parts, of which each of some ranks makes one and sends it to the others."""
    level = max(range(4), key=lambda level: step.fields[f"n{level}"])
    count, mask = step.fields[f"n{level}"], sum(1 << rank for rank in ranks)
    ends = [count * k // len(ranks) for k in range(len(ranks) + 1)]
    for rank, a, b in zip(ranks, ends, ends[1:]):
        if a < b:
            part = replace(_part(step, level, a, b, config), rank=rank)
            yield replace(part, fields=dict(part.fields))
            runs = _words(part).reshape(-1, part.fields["n0"])
            yield from _to(part, mask & ~(1 << rank), [
                (int(a), int(b) + 1) for a, b in zip(runs[:, 0], runs[:, -1])], config, slabs)


def _inside(extents: Sequence[Extent]) -> list[slice]:
    return [slice(a, b) for space, a, b in extents if space == SPM]


def _stores(steps: list[Step], config: Config, slabs: Slabs) -> Iterator[Step]:
    """The steps, each STORE at the rank that has made its words, or cut into some that are."""
    maker = np.zeros(slabs.end, np.int64)
    for step in steps:
        if step.opcode is Opcode.STORE:
            owners = maker[_words(step)]
            for part, owner in _parts(step, owners, config, slabs, whole=int(np.bincount(
                    owners.ravel()).argmax())):
                yield replace(part, rank=int(owner))
            continue
        yield step
        for words in _inside(step.writes):
            maker[words] = 0 if step.opcode is Opcode.LOAD else step.rank


def _wanted(steps: list[Step], slabs: Slabs) -> list[np.ndarray]:
    """For each step a mask of ranks for each word that it writes, in the order of its extents (of a
    LOAD: of its loops): who reads the word before it is written again."""
    wanted = np.zeros(slabs.end, MASK)
    found = []
    for step in reversed(steps):
        writes = _inside(step.writes)
        if step.opcode is Opcode.LOAD:
            found.append(wanted[_words(step)])
        else:
            found.append(np.concatenate([np.zeros(0, MASK), *(wanted[w] for w in writes)]))
        if step.opcode is Opcode.LOAD:
            wanted[_words(step)] = 0
            writes = _inside(step.box)
        for words in writes:
            wanted[words] = 0
        for taken in [_words(step)] if step.opcode is Opcode.STORE else _inside(step.reads):
            wanted[taken] |= MASK(1 << step.rank)
    return found[::-1]


# -- transfers with DRAM ------------------------------------------------------------------------

def _words(step: Step) -> np.ndarray:
    """Scratchpad words of a transfer [n3, n2, n1, n0]."""
    f = step.fields
    at = np.full((), f["spm"])
    for i in (3, 2, 1):
        at = at[..., None] + np.arange(f[f"n{i}"]) * f[f"spm_stride{i}"]
    return at[..., None] + np.arange(f["n0"])


def _parts(step: Step, values: np.ndarray, config: Config, slabs: Slabs,
           whole: int | None = None) -> Iterator[tuple[Step, int]]:
    """A transfer in parts along one of its loops, each of whose words have one of the ``values``;
    or, if there is no such loop, as it is, with ``whole``, otherwise with all bits of the values
    together. Of a slab, where no rank may have more than its own, each repetition is one by itself.
    """
    for level in range(4):
        axis = 3 - level
        line = values[tuple(slice(None) if a == axis else 0 for a in range(4))]
        shape = [len(line) if a == axis else 1 for a in range(4)]
        if (values == line.reshape(shape)).all():
            cuts = [0, *(np.flatnonzero(np.diff(line)) + 1).tolist(), len(line)]
            for a, b in zip(cuts, cuts[1:]):
                yield _part(step, level, a, b, config), int(line[a])
            return
    if slabs.at(step.fields["spm"]) != step.fields["spm"]:
        axis = next(axis for axis in range(4) if values.shape[axis] > 1)
        for a in range(values.shape[axis]):
            yield from _parts(_part(step, 3 - axis, a, a + 1, config),
                              values.take([a], axis), config, slabs, whole)
        return
    yield step, int(np.bitwise_or.reduce(values, axis=None)) if whole is None else whole


def _part(step: Step, level: int, a: int, b: int, config: Config) -> Step:
    """Repetitions ``a … b - 1`` of a level of a transfer."""
    f, size = dict(step.fields), config.word_bytes
    if (a, b) == (0, f[f"n{level}"]):
        return step
    f[f"n{level}"] = b - a
    f["spm"] += a * (f[f"spm_stride{level}"] if level else 1)
    f["dram"] += a * (f[f"dram_stride{level}"] if level else size)
    cycles, tail, _ = timed(config, step.opcode, f)
    reads, writes = moved(step.opcode, f, size)
    return replace(step, fields=f, cycles=cycles, tail=tail, reads=reads, writes=writes)


# -- transfers between ranks --------------------------------------------------------------------

def _sends(step: Step, masks: np.ndarray, config: Config, slabs: Slabs) -> Iterator[Step]:
    """XFERs of what a step writes to the ranks that want it."""
    others = masks & MASK(~(1 << step.rank) & 0xFFFF)
    if not others.any():
        return
    pieces: dict[int, list[tuple[int, int]]] = {}
    at = 0
    for words in _inside(step.writes):
        mine = others[at:at + words.stop - words.start]
        at += len(mine)
        cuts = [0, *(np.flatnonzero(np.diff(mine)) + 1).tolist(), len(mine)]
        for a, b in zip(cuts, cuts[1:]):
            if mine[a]:
                pieces.setdefault(int(mine[a]), []).append((words.start + a, words.start + b))
    for mask, runs in pieces.items():
        yield from _to(step, mask, runs, config, slabs)


def _to(step: Step, mask: int, runs: list[tuple[int, int]], config: Config, slabs: Slabs
        ) -> Iterator[Step]:
    """XFERs of runs of words that a step has written to the ranks of a mask: of a slab those to
    ranks that have them elsewhere are others."""
    for start, dims in _loops(_joined(runs)):
        alike: defaultdict[int, int] = defaultdict(int)
        for rank in range(mask.bit_length()):
            if mask >> rank & 1:
                alike[slabs.skip(start, rank)] |= 1 << rank
        for _, skip, loops in transfers(dims):
            for some in alike.values():
                yield _send(step, some, start + skip, loops, config)


def _joined(runs: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Sorted, and those that touch as one."""
    out: list[tuple[int, int]] = []
    for a, b in sorted(runs):
        if out and out[-1][1] >= a:
            out[-1] = out[-1][0], max(b, out[-1][1])
        else:
            out.append((a, b))
    return out


def _loops(runs: list[tuple[int, int]]) -> Iterator[tuple[int, list[tuple[int, int, int]]]]:
    """Runs as loops, ``(first word, loops as of`` :func:`transfers```)``: equal runs at equal
    distances are one loop, equal loops at equal distances another."""
    found = [(a, ((b - a, 1, 1),)) for a, b in runs]
    for _ in range(2):
        merged: list[tuple[int, tuple]] = []
        k = 0
        while k < len(found):
            start, loops = found[k]
            count, step = 1, found[k + 1][0] - start if k + 1 < len(found) else 0
            while k + count < len(found) and found[k + count] == (start + count * step, loops):
                count += 1
            merged.append((start, (*loops, (count, step, step))))
            k += count
        found = merged
    for start, loops in found:
        yield start, [(1, 1, 1), *loops]


def _send(step: Step, mask: int, at: int, loops: list[tuple[int, int, int]], config: Config
          ) -> Step:
    fields = {"spm": at, "peer": at, "n0": loops[0][0], "to": mask}
    for i in (1, 2, 3):
        fields[f"n{i}"] = loops[i][0]
        fields[f"spm_stride{i}"] = fields[f"peer_stride{i}"] = loops[i][2]
    cycles, tail, _ = timed(config, Opcode.XFER, fields)
    starts = np.unique(np.add.outer(np.arange(loops[2][0]) * loops[2][2],
                                    np.arange(loops[1][0]) * loops[1][2]))
    reads = [(SPM, at + int(k), at + int(k) + loops[0][0]) for k in starts]
    return Step(Opcode.XFER, fields, step.node, cycles, tail, reads=reads, rank=step.rank, to=mask)
