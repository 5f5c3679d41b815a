# SPDX-License-Identifier: Apache-2.0
"""The properties, as data: what each says in words, and the design that says it to the checker."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from hw.parts.fifo import Fifo
from hw.parts.skid import Skid
from isa.instructions import WAIT_REACH
from isa.config import Config
from prove.between import Exchanges
from prove.checker import Design, Result, check
from prove.clusters import Clusters
from prove.controller import Fetches, Requests, Splits
from prove.dma import Halted, Loads, Stores
from prove.exchange import Awaits, Landings, Sends
from prove.gathers import Gathers
from prove.hub import ReadGroups, ReadOrder, ReadPlaces, ReadTurns, WriteOrder
from prove.ports import Ranks, Shared
from prove.streams import Order, Places
from prove.waits import Counters, GangWaits, Waits


@dataclass(frozen=True, kw_only=True)
class Property:
    """One property.

    Parameters
    ----------
    name : str
        For tests and the command line.
    block : str
        File of the block.
    says : str
        The property in words, what is assumed included.
    design : callable
        Makes the component that asserts it.
    cycles : int
        Every run of this length is tried.
    seconds : int
        For the proof that it holds in all runs; 0: none is looked for.
    quick : bool
        It takes seconds, and so is part of ``make test``.
    """

    name: str
    block: str
    says: str
    design: Callable[[], Design]
    cycles: int = 12
    seconds: int = 120
    quick: bool = True

    def check(self) -> Result:
        """What the checker says of it."""
        return check(self.design(), self.cycles, self.seconds)


def small(bus_bytes: int, max_burst: int) -> Config:
    """A machine with little in flight."""
    return Config(lanes=4, spm_bytes=1024, spm_banks=4, psum_depth=4, ppu_lanes=4, weight_words=1,
                  vector_lanes=4, addr_bits=32, outstanding=2, bus_bytes=bus_bytes,
                  max_burst=max_burst)


def wide(bus_bytes: int, max_burst: int) -> Config:
    """The same with words as wide as the bus."""
    return replace(small(bus_bytes, max_burst), lanes=bus_bytes, spm_bytes=2048)


ORDER = ("nothing is lost, doubled, changed or overtaken; an offered payload stays; it holds "
         "exactly as many as it says")

PROPERTIES = (
    Property(name="skid", block="hw/parts/skid.py", says=f"two places: {ORDER}",
             design=lambda: Order(Skid(2), 2)),
    Property(name="skid_eager", block="hw/parts/skid.py",
             says=f"the eager one, if its taker is ready whenever there is nothing: {ORDER}",
             design=lambda: Order(Skid(2, eager=True), 2, eager=True)),
    Property(name="fifo_1", block="hw/parts/fifo.py", says=f"depth 1: {ORDER}",
             design=lambda: Order(Fifo(2, 1), 1)),
    Property(name="fifo_4", block="hw/parts/fifo.py", says=f"depth 4: {ORDER}",
             design=lambda: Order(Fifo(2, 4), 4)),
    Property(name="fifo_5", block="hw/parts/fifo.py",
             says=f"depth 5, not a power of two: {ORDER}", design=lambda: Order(Fifo(2, 5), 5),
             quick=False),
    Property(name="fifo_registered", block="hw/parts/fifo.py",
             says=f"depth 4 and a register: {ORDER}",
             design=lambda: Order(Fifo(2, 4, registered=True), 5, 2)),
    Property(name="places", block="hw/parts/places.py",
             says="its two flip-flops tell whether any and whether all places are free, if no "
                  "place is taken that is not free, or given back that was not taken",
             design=Places),
    Property(name="waits", block="hw/engine/waits.py",
             says="an instruction passes in the cycle after all it waits for is complete, and not "
                  f"before, for all counts of whole numbers behind those modulo 2^16, if what it "
                  f"waits for is at most {WAIT_REACH:,} back and fewer than {WAIT_REACH:,} "
                  "instructions of a queue complete from then on until it passes",
             design=lambda: Waits(WAIT_REACH - 1)),
    Property(name="counters", block="hw/control/sequencer.py",
             says="every engine sees how many instructions of each queue have completed since the "
                  "doorbell, modulo 2^16, two cycles after the completion at the latest",
             design=lambda: Counters(small(8, 2))),
    Property(name="halted", block="hw/memory/lanes.py",
             says="a DMA engine that has halted, by an error response, a fault or another engine, "
                  "stays halted until reset", design=Halted),
    Property(name="requests", block="hw/memory/controller.py",
             says="whatever the engines do, withdrawn requests included: AR, AW and W that are "
                  "offered stay as they are until they are taken; of the two readers none is "
                  f"passed over more than {Requests.TURNS} times while it keeps asking",
             design=lambda: Requests(small(8, 2))),
    Property(name="shared", block="hw/scratchpad/port_share.py",
             says="of three users of a port: it takes the request of one of them; answers go to "
                  "who asked, in the order of the requests; a user is passed over for earlier "
                  "ones alone, and has the port a cycle after none of those asks; if the port "
                  "answers in order, two cycles later at the soonest", design=lambda:
                  Shared(small(8, 2))),
    Property(name="ranks", block="hw/scratchpad/banks.py",
             says="of two read ports and a write port: the first never waits and has its words "
                  "after the latency; each read has one answer; nothing of a port waits when it "
                  "and those above it have been silent for two cycles each, both places of "
                  "their slots", design=lambda: Ranks(small(8, 2)), cycles=16),
    Property(name="splits", block="hw/memory/axi.py",
             says="the bursts of a run within the address space follow one another without gap or "
                  "overlap, are together the run, and cross no multiple of the longest burst, "
                  "hence no 4 KiB", design=lambda: Splits(small(8, 4)), cycles=14, seconds=0),
    Property(name="loads", block="hw/memory/load.py",
             says="whatever the runs, the memory's pace, the scratchpad's, errors and halts: "
                  "bursts are aligned, within 4 KiB and no longer than max_burst, never more than "
                  "outstanding; none is asked for two cycles after a halt; what is owed is "
                  "known; a memory that keeps the rules is never said to break them",
             design=lambda: Loads(small(8, 2))),
    Property(name="stores", block="hw/memory/store.py",
             says="likewise; WLAST comes with the last beat of each burst and no other, data "
                  "never before their address; of bursts that are owed when the machine halts, in "
                  "the middle or not begun, each beat follows within three cycles in which it can",
             design=lambda: Stores(small(8, 2)), cycles=13, seconds=0, quick=False),
    Property(name="fetches", block="hw/control/fetch.py",
             says="whatever region, program, starts, stops and halts: bursts are legal, there is "
                  "room for each beat that comes, what is owed is known, and a memory that keeps "
                  "the rules is never said to break them, bursts cut at 4 KiB included; an "
                  "instruction has as many words as its first one says, and the number that "
                  "counts those before it",
             design=lambda: Fetches(small(32, 4)), cycles=20, seconds=0, quick=False),
    Property(name="gathers", block="hw/control/gather.py",
             says="an instruction of any length is what its words were, with zeros for those that "
                  "it leaves out, whatever came before it; it is offered a cycle behind its last "
                  "word and until it is taken, if it is no longer than its opcode allows",
             design=lambda: Gathers(small(32, 4))),
    Property(name="read_places", block="hw/chip/read_path.py",
             says="a core's reads over two channels, whatever it asks for and whenever it takes "
                  "its data: of what a channel was asked for each beat has a place; no more is "
                  "asked for than there are places", design=lambda: ReadPlaces(small(32, 2))),
    Property(name="read_order", block="hw/chip/read_path.py",
             says="likewise, bursts that are cut where the channel changes included: each beat "
                  "comes once, in the order of the bursts, the last one of a burst as such, "
                  "whichever channel is first; a piece lies in its channel",
             design=lambda: ReadOrder(small(32, 2)), seconds=0, quick=False),
    Property(name="read_turns", block="hw/chip/channel_reads.py",
             says="reads of two cores, two kinds each, at a channel: addresses go out as they were "
                  "taken, with the ID of who asked, and stay until the memory takes them; who "
                  f"keeps asking is passed over {ReadTurns.PASSED} times at most",
             design=lambda: ReadTurns(small(32, 2))),
    Property(name="read_groups", block="hw/chip/meeting.py",
             says="reads of three cores in two groups, of any members, which may change: a burst "
                  "is taken from all that were members in the cycle before, the same from each, "
                  "and from nobody else; each of its beats goes to all of them in one cycle and "
                  "to nobody else, in the order of the bursts, whatever comes between for others",
             design=lambda: ReadGroups(small(32, 2))),
    Property(name="write_order", block="hw/chip/hub.py",
             says="writes of two cores over two channels, bursts that are cut included: data go "
                  "once and in order to their addresses; those of two bursts never mix; a burst is "
                  "answered once, in order, when all of its pieces are",
             design=lambda: WriteOrder(small(32, 2)), cycles=11, seconds=0, quick=False),
    Property(name="gang_waits", block="hw/exchange/gate.py",
             says="as `waits`, of the queues that only a gang has",
             design=lambda: GangWaits(WAIT_REACH - 1)),
    Property(name="awaits", block="hw/exchange/signals.py",
             says="a counter of signals has one for each of them since the gang before; an AWAIT "
                  "is complete a cycle after its counter is as far as the threshold, modulo 2^16, "
                  "and not before, but two cycles after it was taken at the soonest; if fewer "
                  "signals than half of the counter's range come until then",
             design=Awaits, cycles=7),
    Property(name="sends", block="hw/exchange/send.py",
             says="XFERs of up to four runs of a word, and SIGNALs: bursts go out in the order of "
                  "their instructions, each run once, to its place, the ranks and the counter of "
                  "its instruction; the last burst of what signals is a signal, and no other; an "
                  "instruction is complete with the answer to its last burst",
             design=lambda: Sends(small(8, 2)), cycles=18, seconds=0, quick=False),
    Property(name="landings", block="hw/exchange/landing.py",
             says="whatever comes and whenever the scratchpad takes it: each word is written once, "
                  "in order, to its address; bursts land once and in order, when all their words "
                  "have been written and the writes been made; then a count rises, by each that is "
                  f"a signal, and at no other time; there is room {Landings.SLOW} cycles after "
                  "the scratchpad begins to take all", design=lambda: Landings(wide(8, 2)),
             cycles=11, seconds=0, quick=False),
    Property(name="exchanges", block="hw/chip/exchange.py",
             says="bursts of three cores, any of which are a gang: "
                  "each beat goes once, in order and unchanged, to those that it is for and to "
                  "nobody else; none to anybody if one of those is not in the gang, and then the "
                  "answer is an error; a burst is answered once, in order, and not before all whom "
                  "it was for have landed it; who keeps posting is passed over "
                  f"{Exchanges.CORES - 1} times at most; while all give, take and land what they "
                  f"can, an answer comes in {Exchanges.SLOW} cycles",
             design=lambda: Exchanges(small(8, 2)), cycles=11, seconds=0, quick=False),
    Property(name="clusters", block="hw/chip/exchange.py",
             says="bursts of four cores in two clusters: those of any core land at any other one "
                  "that they are for once, in order and unchanged, whatever lands there of others; "
                  "each is answered once, in order, and not before that one has landed it",
             design=lambda: Clusters(small(8, 2)), cycles=9, seconds=0, quick=False),
)
