# SPDX-License-Identifier: Apache-2.0
"""Random programs for gangs: every rank fills its scratchpad, of its input and of constants, sends
words to others, works on what it has, sends again, and stores all of it."""

from dataclasses import dataclass, field

import numpy as np

from isa.config import Config
from isa.instructions import GANG_QUEUES, QUEUE_OF, SIGNALS, Instruction, Opcode, Region, assembled
from isa.program import Program, Stream
from tests.e2e.programs import contents, tensor, vector, whole, window

ROUNDS = 2


@dataclass
class Rank:
    """The stream of one rank, and how many signals of each counter have been sent to it."""

    number: int
    code: list[Instruction] = field(default_factory=list)
    sent: list[int] = field(default_factory=lambda: [0] * SIGNALS)

    def chained(self) -> bytes:
        """Its bytes, every instruction after all that it may not overtake: XFERs wait for those
        before them only where another queue has had its turn."""
        count, free = dict.fromkeys(GANG_QUEUES, 0), set[str]()
        for i in self.code:
            queue = QUEUE_OF[i.opcode]
            known = {q: n for q, n in count.items() if n and q not in free}
            i.fields["wait_mask"] = sum(1 << GANG_QUEUES.index(q) for q in known)
            i.fields.update({f"wait_{q}": n for q, n in known.items()})
            free = {queue} if queue == "send" else set()
            count[queue] += 1
        return assembled([*self.code, Instruction(Opcode.END)])


def work(rng: np.random.Generator, config: Config) -> list[Instruction]:
    """Something that reads all over the scratchpad and writes to its last quarter."""
    kind = rng.random()
    if kind < 0.5:
        return tensor(rng, config)
    return [window(rng, config) if kind < 0.8 and config.window_taps else vector(rng, config)]


def send(rng: np.random.Generator, config: Config, sender: Rank, ranks: list[Rank], signal: int
         ) -> None:
    """An XFER of random shape to some others, to words that nobody else writes in this round, and
    which are read as residuals at most."""
    to = [r for r in ranks if r is not sender and rng.random() < 0.6]
    if not to:
        return
    eighth, mine = config.spm_words // 8, config.spm_words // 8 // len(ranks)
    n = [int(v) for v in rng.integers(1, 5, 3)]
    n0 = int(rng.integers(1, max(2, mine // np.prod(n))))
    step = [n0, n0 * n[0], n0 * n[0] * n[1]]
    order = rng.permutation(3)
    fields = {"n0": n0, **{f"n{k + 1}": n[k] for k in range(3)},
              "spm": int(rng.integers(0, 4 * eighth)),
              "peer": 5 * eighth + sender.number * mine,
              "to": sum(1 << r.number for r in to)}
    assert np.prod(n) * n0 <= mine or n0 == 1
    if np.prod(n) * n0 > mine:
        fields |= {"n1": 1, "n2": 1, "n3": 1}
    for k in range(3):
        fields[f"peer_stride{k + 1}"] = step[k]
        fields[f"spm_stride{k + 1}"] = int(rng.integers(-8, 9)) * int(order[k] + 1)
    low = sum(min(0, fields[f"spm_stride{k}"] * (fields[f"n{k}"] - 1)) for k in (1, 2, 3))
    fields["spm"] = max(fields["spm"], -low)
    if rng.random() < 0.5:
        fields |= {"signal": 1, "counter": signal}
        for r in to:
            r.sent[signal] += 1
    sender.code.append(Instruction(Opcode.XFER, fields))


def meet(rank: Rank, ranks: list[Rank], counter: int) -> None:
    """A SIGNAL to all others."""
    others = [r for r in ranks if r is not rank]
    rank.code.append(Instruction(Opcode.SIGNAL, {
        "to": sum(1 << r.number for r in others), "counter": counter}))
    for r in others:
        r.sent[counter] += 1


def constants(rng: np.random.Generator, config: Config) -> list[Instruction]:
    """LOADs of some words, from where they lie in region PROGRAM behind all instructions; most are
    read together."""
    found = []
    for _ in range(int(rng.integers(0, 4))):
        words = int(rng.integers(1, config.spm_words // 4))
        at = int(rng.integers(0, config.spm_words - words))
        found.append(Instruction(Opcode.LOAD, {
            "region": int(Region.PROGRAM), "dram": at * config.word_bytes, "spm": at, "n0": words,
            "n1": 1, "n2": 1, "n3": 1, "group": int(rng.random() < 0.8)}))
    return found


def random_exchange(rng: np.random.Generator, config: Config, ranks: int, inputs: int = 1
                    ) -> tuple[Program, list[np.ndarray]]:
    """A program and the bytes of so many INPUTs."""
    all_ = [Rank(k) for k in range(ranks)]
    counters = [int(c) for c in rng.permutation(SIGNALS)]
    made = [work(rng, config) for _ in range(ranks * ROUNDS)]
    given = [contents(rng, config, [i for each in made for i in each]).reshape(-1)
             for _ in range(inputs)]
    for rank in all_:
        rank.code += [*whole(config, Region.INPUT, Opcode.LOAD), *constants(rng, config)]
    for turn in range(ROUNDS):
        ready, over = counters[2 * turn:2 * turn + 2]
        for rank in all_:
            meet(rank, all_, ready)
        for rank in all_:
            rank.code.append(Instruction(Opcode.AWAIT, {"counter": ready,
                                                        "threshold": rank.sent[ready]}))
        for rank in all_:
            for _ in range(int(rng.integers(0, 3))):
                send(rng, config, rank, all_, over)
            meet(rank, all_, over)
        for rank in all_:
            rank.code.append(Instruction(Opcode.AWAIT, {"counter": over,
                                                        "threshold": rank.sent[over]}))
            rank.code += [Instruction(i.opcode, dict(i.fields)) for i in made.pop()]
    for rank in all_:
        stores = whole(config, Region.OUTPUT, Opcode.STORE)
        for store in stores:
            store.fields["dram"] += rank.number * config.spm_bytes
        rank.code += stores
    end = sum(len(rank.chained()) for rank in all_)
    for load in [i for rank in all_ for i in rank.code if i.opcode is Opcode.LOAD]:
        load.fields["dram"] += end if load.fields["region"] == Region.PROGRAM else 0
    images = [rank.chained() for rank in all_]
    assert sum(map(len, images)) == end
    starts = [sum(map(len, images[:k])) for k in range(ranks)]
    sizes = {Region.PROGRAM: end + config.spm_bytes, Region.WORKSPACE: 0,
             Region.INPUT: config.spm_bytes, Region.OUTPUT: ranks * config.spm_bytes}
    return Program(
        name="random gang", config=config, image=b"".join(images) + given[0].tobytes(),
        inputs=[], outputs=[], instruction_count=len(all_[0].code) + 1, region_sizes=sizes,
        streams=[Stream(start=start, instruction_count=len(rank.code) + 1)
                 for start, rank in zip(starts[1:], all_[1:])]), given
