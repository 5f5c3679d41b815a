# SPDX-License-Identifier: Apache-2.0
"""The model of time of several cores: against that of one, sums by hand, and the RTL."""

from dataclasses import replace

import numpy as np
import onnx
import pytest

from compiler import compile_model
from compiler.machine.bursts import Bursts, bursts_of
from compiler.machine.buses import Memory
from compiler.machine.hub import AGAIN, Hub
from compiler.machine.rank import AHEAD, FETCH
from compiler.machine.running import Ask, Running, predict
from compiler.machine.shared import (GANG_START, _Core, _share, begins, gang, gang_cycles, steps_of,
                                     together)
from compiler.machine.steps import Step
from compiler.machine.timing import FETCH_LATENCY, HUB_LATENCY, LANDING, timed
from examples.digits import INT8
from isa.chip import CHIPS
from isa.instructions import FETCH_BYTES, GANG_QUEUES, Opcode, Region
from isa.presets import PRESETS
from isa.program import Program
from makalu.plan import in_groups
from sim.chip_device import RtlChip
from sim.cores import RtlCores
from sim.harness import DramModel
from tests.compiler.models import Net

HOSTS = ("QuantizeLinear", "DequantizeLinear")


def digits(machine: str) -> Program:
    return compile_model(INT8, PRESETS[machine], allow_host=HOSTS)


def heavy(channels: int = 512) -> onnx.ModelProto:
    """A fully connected layer: hardly more than its weights."""
    net = Net()
    weight = np.random.default_rng(0).integers(-8, 8, (channels, channels, 1, 1)).astype(np.int8)
    x = net.dq(net.input("x", "int8", (1, channels, 1, 1)), 0.5, 0, "int8")
    y = net.op("Conv", x, net.weights(weight, 0.01))
    return net.model(net.q(y, 0.5, 0, "int8"))


@pytest.mark.parametrize("machine", ["tiny", "core256", "core1024", "core256_fp"])
@pytest.mark.parametrize("model", [INT8, heavy()], ids=["digits", "heavy"])
def test_one_core_is_what_the_compiler_predicts(machine, model):
    program = compile_model(model, PRESETS[machine], allow_host=HOSTS)
    bus = program.config.bus_bytes
    assert predict(steps_of(program), program.config) == program.predicted_cycles[:-1]
    for width in (bus, 1.5 * bus, 8 * bus):
        assert together([program], width) == [sum(program.predicted_cycles)]


class Transfers(Running):
    """A core that wants so many beats, each time so many cycles after those before have moved, with
    its gang where a third number says so."""

    def __init__(self, *wanted: tuple[int, ...]):
        self._wanted = list(wanted)
        self.times = [(0, 0, 0)]

    @property
    def ended(self) -> bool:
        return not self._wanted

    def begin(self) -> list[Ask]:
        return self._next(0)

    def answer(self, ask: Ask, last: int, asked: int | None = None) -> list[Ask]:
        self._wanted.pop(0)
        self.times = [(0, 0, last)]
        return self._next(last)

    def _next(self, now: int) -> list[Ask]:
        return [Ask(now + after, beats, together=shared == [1])
                for after, beats, *shared in self._wanted[:1]]


@pytest.mark.parametrize("bandwidth,wanted,ends", [
    (1, [[(0, 100)]], [100]),
    (2, [[(0, 100)]], [100]),                               # no more than a beat a cycle
    (0.5, [[(0, 100)]], [200]),
    (1, [[(0, 100)], [(0, 100)]], [200, 200]),
    (1, [[(0, 100)], [(0, 50)]], [150, 100]),
    (1, [[(0, 100)], [(50, 100)]], [150, 200]),
    (2, [[(0, 100)], [(0, 100)], [(0, 100)]], [150, 150, 150]),
    (2, [[(0, 100)], [(0, 100)], [(40, 60)]], [130, 130, 130]),
    (1, [[(0, 30), (10, 30)], [(0, 60)]], [120, 110]),
    (1, [[(5, 0), (5, 10)]], [20]),
])
def test_beats_are_shared_evenly(bandwidth, wanted, ends):
    cores = [_Core(Transfers(*one), 0) for one in wanted]
    _share(cores, Memory(bandwidth), meet=False)
    assert [core.cycles for core in cores] == ends


@pytest.mark.parametrize("bandwidth,wanted,ends", [
    (1, [[(0, 100, 1)], [(40, 100, 1)]], [140, 140]),       # once, when both want it
    (1, [[(0, 30), (0, 50, 1)], [(0, 50, 1), (0, 10)]], [80, 90]),
    (0.5, [[(0, 10, 1), (0, 10, 1)]] * 3, [40] * 3),
    (1, [[(0, 20, 1), (0, 20)], [(0, 20, 1), (0, 20)]], [60, 60]),
])
def test_a_gang_reads_once(bandwidth, wanted, ends):
    cores = [_Core(Transfers(*one), 0) for one in wanted]
    _share(cores, Memory(bandwidth), meet=True)
    assert [core.cycles for core in cores] == ends


def test_weights_of_a_gang_are_read_once():
    """Four cores in front of a memory for one: nearly as fast as one of them alone."""
    program = compile_model(heavy(), PRESETS["core256"])
    alone = sum(program.predicted_cycles)
    width = program.config.bus_bytes
    assert max(together([program] * 4, width)) > 3 * alone
    assert max(together([program] * 4, width, gang=True)) < 1.1 * alone
    assert together([program] * 2, 2 * width, [0, 100], gang=True)[0] >= alone + 100


def test_with_ample_bandwidth_each_is_as_if_alone():
    a, b = digits("core256"), compile_model(heavy(), PRESETS["core256"])
    alone = [sum(p.predicted_cycles) for p in (a, b, a)]
    assert together([a, b, a], 3 * 16) == alone


def test_cores_that_do_not_overlap_are_as_if_alone():
    program = digits("core256")
    alone = sum(program.predicted_cycles)
    assert together([program] * 3, 16, [0, alone, 3 * alone]) == [alone] * 3
    assert max(together([program] * 2, 16, [0, alone // 2])) > alone


def test_no_memory_is_faster_than_its_bandwidth():
    """Weights alone take that long; and less bandwidth is never quicker."""
    program = compile_model(heavy(), PRESETS["core256"])
    last = 0
    for width in (128, 64, 48, 32, 16, 8, 4):
        worst = max(together([program] * 4, width))
        assert worst >= max(last, 4 * 512 * 512 / width)
        last = worst
    assert worst <= 1.1 * 4 * len(program.image) / width


def test_what_cannot_be_is_refused():
    program = digits("core256")
    with pytest.raises(ValueError, match="all for the same machine; got core256, tiny"):
        together([program, digits("tiny")], 16)
    with pytest.raises(ValueError, match="all for the same machine; got none"):
        together([], 16)
    with pytest.raises(ValueError, match="the memory moves 0 bytes a cycle"):
        together([program], 0)
    with pytest.raises(ValueError, match="1 delays for 2 programs"):
        together([program] * 2, 16, [0])
    with pytest.raises(ValueError, match="a gang have one program"):
        together([program, compile_model(heavy(), PRESETS["core256"])], 16, gang=True)


@pytest.mark.parametrize("cores,bandwidth", [(2, 0.25), (4, 0.5), (4, 0.25)])
def test_the_hardware_takes_as_long(cores, bandwidth):
    """Where memory is what they wait for."""
    program = digits("tiny")
    with RtlCores(program.config, cores, dram=DramModel(bandwidth=bandwidth)) as device:
        device.load(program)
        region = np.zeros(program.region_sizes[Region.INPUT], np.uint8)
        outcomes = device.execute([region] * cores)
    took = max(o.result.counters["CYCLES"] for o in outcomes)
    model = max(together([program] * cores, bandwidth * program.config.bus_bytes))
    assert model == pytest.approx(took, rel=0.02)


CONFIG = replace(PRESETS["core256"], exchange=True)


def step(opcode: Opcode, **fields: int) -> Step:
    """An instruction of a rank that waits for nothing."""
    zero = ("wait_mask", "dram", *(f"dram_stride{i}" for i in (1, 2, 3)),
            *(f"wait_{q}" for q in GANG_QUEUES))
    fields = dict.fromkeys(zero, 0) | fields
    cycles, tail, _ = timed(CONFIG, opcode, fields)
    return Step(opcode, fields, -1, cycles, tail)


def xfer(words: int, runs: int = 1, **fields: int) -> Step:
    return step(Opcode.XFER, n0=words, n1=runs, n2=1, n3=1, to=4, signal=1, **fields)


BURST = round(LANDING * CONFIG.max_burst)
"""Cycles that the longest on the bus between cores takes to land."""


def sent() -> int:
    """When a rank can have sent what takes no time."""
    alone, = gang([[step(Opcode.SIGNAL, to=2, counter=0)]], CONFIG, 32)
    return sum(alone) - 1


def test_who_send_take_turns() -> None:
    """Two ranks send two bursts each at the same time: the bus has a beat for a cycle, while what
    came before lands. A third one has both sets some cycles behind the second."""
    sends = [xfer(2 * CONFIG.max_burst, counter=rank) for rank in range(2)]
    ends = [sum(added) for added in gang(
        [*([send] for send in sends), [step(Opcode.AWAIT, counter=k, threshold=1) for k in (0, 1)]],
        CONFIG, 32, apart=0)]
    assert ends[:2] == [sent() + bursts * CONFIG.max_burst + BURST for bursts in (2, 3)]
    assert ends[2] == ends[1] + 1


def test_who_sends_alone_goes_on_when_a_burst_has_landed() -> None:
    send = xfer(2 * CONFIG.max_burst, counter=0)
    alone, = gang([[send]], CONFIG, 32)
    assert send.cycles == 2 * BURST and sum(alone) == sent() + send.cycles


def test_bursts_are_no_longer_than_runs() -> None:
    """One rank's single words pass between the bursts of another one's run."""
    run, words = xfer(2 * CONFIG.max_burst, counter=0), xfer(1, 2, counter=1)
    ends = [sum(added) for added in gang([[run], [words]], CONFIG, 32, apart=0)]
    assert words.cycles == 3
    assert ends == [sent() + run.cycles, sent() + CONFIG.max_burst + words.cycles]


def test_a_rank_waits_for_the_hub_and_for_what_is_read_ahead() -> None:
    """Of a rank's first LOAD, beside that of a core without a hub, whose program it is."""
    load = step(Opcode.LOAD, n0=64, n1=1, n2=1, n3=1, group=0)
    steps = [load, *[step(Opcode.AWAIT, counter=0, threshold=0)] * 100]
    (first, *_), = gang([steps], CONFIG, CONFIG.bus_bytes / 2)
    ahead = AHEAD * FETCH_BYTES // CONFIG.bus_bytes
    assert first == FETCH_LATENCY + HUB_LATENCY + 2 * (ahead + 64) + load.tail
    behind = sum(gang([[load]], CONFIG, CONFIG.bus_bytes)[0])
    assert predict([load], CONFIG) == [behind - 2 * HUB_LATENCY + 1]    # a cycle for its address


def test_what_stands_holds_up_no_other_queue() -> None:
    """A LOAD behind an AWAIT in the program moves before what that waits for has come, and a STORE
    finds its instructions read."""
    def move(opcode: Opcode, **fields: int) -> Step:
        return step(opcode, n0=64, n1=1, n2=1, n3=1, group=0, **fields)
    wait = step(Opcode.AWAIT, counter=0, threshold=1)
    load, = gang([[move(Opcode.LOAD)]], CONFIG, 32)
    (await_, behind), _ = gang([[wait, move(Opcode.LOAD)], [step(Opcode.SIGNAL, to=1, counter=0)]],
                               CONFIG, 32, apart=sum(load))
    assert await_ > sum(load) and behind == 0
    bit = 1 << GANG_QUEUES.index("await")
    ends = []
    for count in (0, 20):
        mine, _ = gang([[*[wait] * count, step(Opcode.AWAIT, counter=0, threshold=1),
                         move(Opcode.STORE, wait_mask=bit, wait_await=count + 1)],
                        [step(Opcode.SIGNAL, to=1, counter=0)]], CONFIG, 32, apart=5000)
        ends.append(sum(mine) - count * 5)
    assert ends[0] == ends[1]


def test_a_gang_that_waits_in_a_circle_is_no_gang() -> None:
    with pytest.raises(AssertionError, match="an order in which all can run"):
        gang([[step(Opcode.AWAIT, counter=0, threshold=1)] for _ in range(2)], CONFIG, 32)


def test_ranks_begin_one_after_another() -> None:
    """Who waits for the last one has its signal when that began so much later."""
    send, wait = step(Opcode.SIGNAL, to=1, counter=0), step(Opcode.AWAIT, counter=0, threshold=1)
    early, late = ([sum(added) for added in gang([[wait], [send]], CONFIG, 32, apart)]
                   for apart in (500, 500 + GANG_START))
    assert late[1] == early[1] and late[0] == early[0] + GANG_START
    assert gang_cycles([[10, 20], [30]]) == max(30, 30 + GANG_START)
    assert begins(3, 4) == 3 * GANG_START and begins(3, 16) == 3 * (GANG_START + 4)


def served(bandwidth: float, *wanted: tuple[int, int, int, str]) -> list[tuple[int, int | None]]:
    """For each of what is wanted, a cycle, a core, beats from the first address on and a line, when
    its last beat has moved and its last burst was asked for."""
    return served_at(bandwidth, *((*one, 0) for one in wanted))


def served_at(bandwidth: float, *wanted: tuple[int, int, int, str, int]
              ) -> list[tuple[int, int | None]]:
    """The same, each from a block of the memory's on."""
    most = CONFIG.max_burst
    hub, found = Hub(CONFIG, 4, bandwidth), dict[int, tuple[int, int | None]]()
    for k, (first, core, beats, line, block) in enumerate(wanted):
        bursts = tuple((block + n, min(most, beats - most * n)) for n in range(-(-beats // most)))
        hub.begin(first, [(core, Ask(k, beats, line=line, bursts=bursts))])
    while hub.end < float("inf"):
        who, last, asked = hub.leave(hub.end)
        found |= {ask.first: (last, asked) for _, ask in who}
    return [found[k] for k in range(len(wanted))]


def test_who_asks_for_little_waits_behind_what_others_have_asked_for() -> None:
    """Not for its share of the bandwidth: a channel's bursts move in the order in which they have
    come."""
    whole, block = CONFIG.outstanding * CONFIG.max_burst, FETCH_BYTES // CONFIG.bus_bytes
    load, little = (0, 0, whole, "load"), (1, 1, block, FETCH)
    assert served(2, load) == [(whole, 0)]
    assert served(2, load, little)[1] == (whole // 2 + block, whole // 2 + block)
    assert served(1, load, little)[1][0] == whole + block


def test_channels_move_what_is_in_them() -> None:
    """A burst waits for those in its own; if its core has asked for others before, it waits in the
    hub until they have gone."""
    most = CONFIG.max_burst
    first = (0, 0, most, "load", 0)
    assert served_at(2, first, (0, 1, most, "load", 2))[1][0] == 2 * most
    assert served_at(2, first, (0, 1, most, "load", 1))[1][0] == most
    assert served_at(2, first, (0, 0, most, "load", 1))[1][0] == 2 * most
    assert served_at(1.5, first)[0][0] == round(most * 2 / 1.5)     # two, of 3 beats in 4 cycles


@pytest.mark.parametrize("at, runs, run, expected", [
    (0, 1, 64, ((0, 32), (1, 32))), (16, 1, 64, ((0, 31), (1, 32), (2, 1))),
    (512, 3, 2, ((1, 2), (3, 2), (5, 2)))])
def test_bursts_of_a_transfer(at: int, runs: int, run: int, expected: Bursts) -> None:
    """Runs of words, a word a beat, every 1,024 bytes."""
    load = step(Opcode.LOAD, n0=run, n1=runs, n2=1, n3=1, group=0, dram=at, dram_stride1=1024)
    assert CONFIG.word_bytes == CONFIG.bus_bytes == 16
    assert bursts_of(load, CONFIG) == expected
    assert bursts_of(replace(load, base=512), CONFIG) == tuple((b + 1, n) for b, n in expected)


def test_no_more_bursts_are_under_way_than_a_core_may_have() -> None:
    """The others come when the first ones have, behind what has been asked for meanwhile."""
    whole, most = CONFIG.outstanding * CONFIG.max_burst, CONFIG.max_burst
    (last, asked), = served(4, (0, 0, whole + most, "load"))
    assert (last, asked) == (whole + most, most + AGAIN)
    (first, _), (second, asked) = served(
        1, (0, 0, whole, "load"), (0, 0, most, "load"))
    assert (first, second, asked) == (whole, whole + most, most + AGAIN)


def test_a_core_takes_instructions_and_loads_in_turns() -> None:
    most, block = CONFIG.max_burst, FETCH_BYTES // CONFIG.bus_bytes
    load = (0, 0, most, "load", 0)
    assert [last for last, _ in served_at(2, load, (1, 0, block, FETCH, 1))] == [
        most, 1 + 2 * block]
    assert served_at(2, load, (1, 1, block, FETCH, 1))[1][0] == 1 + block


def test_writes_and_reads_move_in_turns() -> None:
    most = CONFIG.max_burst
    assert served(1, (0, 0, most, "store"))[0][0] == most
    assert served(1, (0, 0, 4 * most, "load"), (0, 1, most, "store"))[1][0] == 2 * most


def test_the_hardware_takes_as_long_with_several_cores() -> None:
    """Of a network of few thousand cycles, where it shows how the first reads of the cores meet."""
    chip = CHIPS["chip4_small"]
    program = compile_model(INT8, chip.core, allow_host=HOSTS, cores=4)
    with RtlChip(chip) as device:
        device.load(program)
        region = np.zeros(program.region_sizes[Region.INPUT], np.uint8)
        result, = device.execute_all([region])
    model = in_groups(program, 4, chip.bytes_a_cycle)
    assert model == pytest.approx(result.counters["CYCLES"], rel=0.03)
