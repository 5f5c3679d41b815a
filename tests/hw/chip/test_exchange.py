# SPDX-License-Identifier: Apache-2.0
"""Bursts from core to core: each receiver has them, once and in the order of their sender, and a
burst is answered when all of them have landed it, and not before."""

import random
from dataclasses import replace

import pytest
from amaranth.sim import Simulator

from hw.chip.exchange import ChipExchange
from hw.memory.axi import Resp
from hw.memory.lanes import Lanes
from isa.presets import PRESETS

CONFIG = replace(PRESETS["tiny"], name="sends", exchange=True)
WORDS = Lanes(CONFIG).words


class Sender:
    """A core that posts ``bursts`` (rank mask, place, beats, signal), and lands what it is sent
    after some cycles."""

    def __init__(self, number, bursts, rest):
        self.number, self.bursts, self.rest = number, bursts, rest
        self.got, self.answers, self.landed = [], [], 0

    async def post(self, ctx, port, seed):
        rng = random.Random(f"post {seed} {self.number}")
        for k, (to, at, beats, signal) in enumerate(self.bursts):
            while rng.random() < self.rest:
                await ctx.tick()
            ctx.set(port.post.payload, {"at": at, "len": beats - 1, "to": to, "empty": 0,
                                        "signal": signal, "counter": k % 8})
            ctx.set(port.post.valid, 1)
            await ctx.tick().until(port.post.ready)
            ctx.set(port.post.valid, 0)
            for beat in range(beats):
                while rng.random() < self.rest:
                    await ctx.tick()
                ctx.set(port.w.payload, {"data": self.data(k, beat), "strb": -1,
                                         "last": beat == beats - 1})
                ctx.set(port.w.valid, 1)
                await ctx.tick().until(port.w.ready)
                ctx.set(port.w.valid, 0)

    def data(self, burst, beat):
        return self.number << 32 | burst << 16 | beat

    async def land(self, ctx, port, seed):
        rng = random.Random(f"land {seed} {self.number}")
        owed = []
        while True:
            ctx.set(port.land.ready, rng.random() >= self.rest)
            ctx.set(port.b.ready, rng.random() >= self.rest)
            ends = bool(owed) and rng.random() < 0.3
            ctx.set(port.landed, ends)
            _, _, took, beat, answered, b = await ctx.tick().sample(
                port.land.valid & port.land.ready, port.land.payload,
                port.b.valid & port.b.ready, port.b.payload.resp)
            if ends:
                owed.pop()
                self.landed += 1
            if took:
                self.got.append((beat.data, beat.spm, beat.mask, beat.last, beat.signal,
                                 beat.counter))
                owed += [1] * beat.last
            if answered:
                self.answers.append((b, [s.landed for s in self.all]))


def run(senders, members, gang, base, limit=8000, seed=0, regroup=None, team=16, cluster=4):
    """Until all bursts are answered; ``base``: of each core. Returns the cycles."""
    groups = len(members)
    dut = ChipExchange(CONFIG, len(senders), groups, cluster)
    took = []
    for sender in senders:
        sender.all = senders

    async def watch(ctx):
        for g in range(groups):
            ctx.set(dut.members[g], members[g])
            ctx.set(dut.teams[g], team - 1)
        for k, (of, first) in enumerate(zip(gang, base, strict=True)):
            ctx.set(dut.gang[k], of)
            ctx.set(dut.base[k], first)
        for cycle in range(limit):
            if regroup and cycle == regroup[0]:
                ctx.set(dut.members[0], regroup[1])
            await ctx.tick()
            if all(len(s.answers) == len(s.bursts) for s in senders):
                break
        else:
            raise AssertionError("does not end")
        took.append(cycle)
        for _ in range(10):
            await ctx.tick()

    def beside(act, *args):
        async def bench(ctx):
            await act(ctx, *args)
        return bench

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    for sender, port in zip(senders, dut.cores, strict=True):
        sim.add_testbench(beside(sender.post, port, seed), background=True)
        sim.add_testbench(beside(sender.land, port, seed), background=True)
    sim.add_testbench(watch)
    sim.run()
    return took[0]


def expected(senders, receiver, base):
    """For each sender the beats that a receiver has of it."""
    return {s.number: [
        (s.data(k, beat), (at + beat) * WORDS, (1 << WORDS) - 1, beat == beats - 1, signal, k % 8)
        for k, (to, at, beats, signal) in enumerate(s.bursts)
        if to << base[s.number] & 1 << receiver for beat in range(beats)] for s in senders}


def check(senders, base):
    """Every receiver has all that it was sent, in the order of each sender, and no burst was
    answered with an error, or before all had landed it."""
    for s in senders:
        want = expected(senders, s.number, base)
        for other in senders:
            assert [b for b in s.got if b[0] >> 32 == other.number] == want[other.number]
        assert [resp for resp, _ in s.answers] == [0] * len(s.bursts)


@pytest.mark.parametrize("seed, rest", [(0, 0.0), (1, 0.5), (2, 0.2)])
def test_every_receiver_has_every_burst_in_order(seed, rest):
    """Three cores of a gang that does not begin with core 0; another core sends nothing."""
    rng = random.Random(seed)
    base, cores = 1, 4

    def bursts(core):
        rank = core - base
        return [(rng.choice([m for m in range(1, 8) if not m >> rank & 1]), rng.randrange(64),
                 rng.choice([1, 2, 5]), rng.randrange(2)) for _ in range(12)]

    senders = [Sender(k, bursts(k) if k else [], rest) for k in range(cores)]
    run(senders, [0b1110], [0, 1, 1, 1], [base] * 4, seed=seed)
    check(senders, [base] * 4)


@pytest.mark.parametrize("team, cluster", [(2, 2), (3, 2), (2, 4), (3, 4), (6, 2), (6, 1)])
@pytest.mark.parametrize("seed, rest", [(0, 0.0), (1, 0.4)])
def test_teams_in_clusters(team, cluster, seed, rest):
    """Six cores of a gang, teams within clusters and across: each has what its mates sent."""
    rng = random.Random(seed)
    base = [k // team * team for k in range(6)]

    def bursts(core):
        others = [m for m in range(1, 1 << team) if not m >> core % team & 1]
        return [(rng.choice(others), rng.randrange(64), rng.choice([1, 2, 5]), rng.randrange(2))
                for _ in range(12)]

    senders = [Sender(k, bursts(k), rest) for k in range(6)]
    run(senders, [0b111111], [1] * 6, base, seed=seed, team=team, cluster=cluster)
    check(senders, base)


def test_clusters_send_side_by_side():
    """Two of them in the time of the slower one alone."""
    def cycles(busy):
        senders = [Sender(k, [(0b10, 0, 16, 0)] * 8 if k in busy else [], 0) for k in range(4)]
        return run(senders, [0b1111], [1] * 4, [0, 0, 2, 2], team=2, cluster=2)

    assert cycles([0, 2]) == max(cycles([0]), cycles([2]))


def test_a_bus_that_keeps_sending_leaves_others_their_turn():
    """Cores of three clusters send to the same one: they are done at about the same time."""
    senders = [Sender(k, [(0b1000, 0, 4, 0)] * 12 if k < 3 else [], 0) for k in range(4)]
    run(senders, [0b1111], [1] * 4, [0] * 4, cluster=1)
    whose = [data >> 32 for data, *_ in senders[3].got]
    turns = [whose.index(k) for k in range(3)]
    assert max(turns) < 12 and all(whose[-16:].count(k) for k in range(3))


def test_a_burst_is_answered_when_all_have_landed_it():
    senders = [Sender(k, [(0b110, 0, 2, 1)] * 6 if k == 0 else [], 0.3) for k in range(3)]
    run(senders, [0b111], [1, 1, 1], [0] * 3)
    for k, (_, landed) in enumerate(senders[0].answers, start=1):
        assert landed[1] >= k and landed[2] >= k


def test_who_is_not_in_the_gang_is_an_error():
    """A rank beyond it, the core itself, nobody; a core without a gang. Nothing lands."""
    senders = [Sender(0, [(0b100, 0, 1, 0), (0b001, 0, 2, 0), (0, 0, 1, 1), (0b010, 3, 1, 0)], 0),
               Sender(1, [], 0), Sender(2, [(0b001, 0, 1, 0)], 0)]
    run(senders, [0b011], [1, 1, 0], [0] * 3)
    assert [resp for resp, _ in senders[0].answers] == [Resp.DECERR] * 3 + [0]
    assert [resp for resp, _ in senders[2].answers] == [Resp.DECERR]
    assert [len(s.got) for s in senders] == [0, 1, 0]


def test_who_is_in_another_team_is_an_error():
    """Of two teams of two in one gang, a core sends to its mate alone."""
    senders = [Sender(0, [(0b100, 0, 1, 0), (0b110, 0, 1, 1), (0b10, 0, 1, 0)], 0),
               Sender(1, [], 0), Sender(2, [(0b10, 5, 1, 0), (0b1000, 0, 1, 0)], 0),
               Sender(3, [], 0)]
    run(senders, [0b1111], [1] * 4, [0, 0, 2, 2], team=2)
    assert [resp for resp, _ in senders[0].answers] == [Resp.DECERR] * 2 + [0]
    assert [resp for resp, _ in senders[2].answers] == [0, Resp.DECERR]
    assert [len(s.got) for s in senders] == [0, 1, 0, 1]


def test_ranks_that_the_chip_does_not_have_are_an_error():
    """The last core of three is in the gang; the rank behind it would be a fourth."""
    senders = [Sender(0, [], 0), Sender(1, [(0b100, 0, 1, 0), (0b110, 0, 1, 1), (1 << 15, 0, 1, 0),
                                            (0b010, 0, 1, 0)], 0), Sender(2, [], 0)]
    run(senders, [0b110], [0, 1, 1], [1] * 3)
    assert [resp for resp, _ in senders[1].answers] == [Resp.DECERR] * 3 + [0]
    assert [len(s.got) for s in senders] == [0, 0, 1]


def test_a_core_that_leaves_is_not_waited_for():
    """It lands nothing any more; the burst that it has is answered when it is no member, and one
    that comes later for it is an error."""
    senders = [Sender(0, [(0b110, 0, 4, 1)] * 8, 0), Sender(1, [], 0), Sender(2, [], 0)]

    async def never(ctx, port, seed):
        while True:
            await ctx.tick()

    senders[2].land = never
    run(senders, [0b111], [1, 1, 1], [0] * 3, regroup=(300, 0b011))
    assert [resp for resp, _ in senders[0].answers] == [0] + [Resp.DECERR] * 7
    assert len(senders[1].got) == 4 and not senders[2].got
