# SPDX-License-Identifier: Apache-2.0
"""A checker that cannot fail proves nothing: wrong claims, damaged designs, no runs."""

import re
from dataclasses import replace

import pytest
from amaranth.hdl import Assert, Assume, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hw.memory.lanes import Status
from hw.parts.choice import any_before
from hw.parts.fifo import Fifo
from hw.parts.skid import Skid
from isa.instructions import HEAD, SIGNAL_BITS, UNIT_BYTES, WAIT_BITS, WAIT_REACH
from prove import between, checker, clusters, controller, dma, exchange, gathers, hub, ports
from prove.checker import Vacuous, check
from prove.dma import Halted
from prove.properties import small, wide
from prove.streams import Order
from prove.waits import GangWaits, Waits


class Counter(wiring.Component):
    """Counts the cycles in which ``step`` is high; claims to stay below ``limit``."""

    step: Signal
    reached: Signal

    def __init__(self, limit: int, width: int = 4, never: bool = False):
        self._limit, self._width, self._never = limit, width, never
        super().__init__({"step": In(2), "reached": Out(1)})

    def elaborate(self, platform):
        m = Module()
        count = Signal(self._width)
        m.d.sync += count.eq(Mux(count == 9, 9, count + self.step[0]))
        m.d.comb += [Assert(count < self._limit), self.reached.eq(count == 3)]
        if self._never:
            m.d.comb += Assume(self.step == 2)
        return m


def test_a_true_claim_is_proved_and_a_bounded_one_is_not_called_so():
    assert check(Counter(10), 8, 10).proved
    bounded = check(Counter(10), 8)
    assert bounded.holds and not bounded.proved and str(bounded) == "holds for 8 cycles"


@pytest.mark.parametrize("limit", [9, 5])
def test_a_false_claim_is_refuted_by_the_shortest_run(limit):
    result = check(Counter(limit), 16, 10)
    assert not result.holds and not result.proved
    assert result.cycles == limit + 1 and result.trace is not None
    assert all(inputs["step"] & 1 for inputs in result.trace[:-1])


def test_a_claim_that_fails_too_late_for_the_runs_is_not_proved():
    result = check(Counter(9), 8, 10)
    assert result.holds and not result.proved


def test_contradicting_assumptions_are_refused():
    with pytest.raises(Vacuous):
        check(Counter(0, never=True), 8, 10)


@pytest.mark.parametrize("design", [
    lambda: Order(Fifo(2, 4), 3), lambda: Order(Fifo(2, 4, registered=True), 5),
    lambda: Order(Skid(2, eager=True), 2), lambda: Waits(WAIT_REACH + 127)])
def test_wrong_properties_are_refuted(design):
    assert not check(design(), 12).holds


class Forgetful(Status):
    """Is halted only while something says so, with a register between."""

    def elaborate(self, platform):
        m = Module()
        inner = Status()
        m.submodules.inner = inner
        halted = Signal()
        for name, member in self.signature.members.items():
            if name not in ("engine", "halted"):
                mine, theirs = getattr(self, name), getattr(inner, name)
                m.d.comb += theirs.eq(mine) if member.flow is In else mine.eq(theirs)
        connect(m, flipped(self.engine), inner.engine)
        m.d.sync += halted.eq(self.engine.halt | inner.engine.fault | inner.error)
        m.d.comb += self.halted.eq(halted)
        return m


def test_an_engine_that_forgets_its_halt_breaks_the_bus(monkeypatch):
    """The machine as it once was: an error response in the middle of a burst moves WLAST."""
    monkeypatch.setattr("hw.memory.store.Status", Forgetful)
    assert not check(dma.Stores(small(8, 2)), 16).holds


@pytest.mark.parametrize("block, design", [("hw.scratchpad.port_share", ports.Shared),
                                           ("hw.scratchpad.banks", ports.Ranks)])
def test_an_arbiter_with_other_ranks_is_refuted(block, design, monkeypatch):
    """The last one comes first."""
    monkeypatch.setattr(f"{block}.any_before", lambda bits: any_before(bits[::-1])[::-1])
    assert not check(design(small(8, 2)), 12).holds


@pytest.mark.parametrize("block, name, wrong, design", [
    ("hw.control.fetch", "HEAD", (HEAD[0], replace(HEAD[1], width=3)), controller.Fetches),
    ("hw.control.gather", "UNIT_BYTES", 2 * UNIT_BYTES, gathers.Gathers)])
def test_instructions_of_other_lengths_are_refuted(block, name, wrong, design, monkeypatch):
    """A length is read wrong; what an instruction leaves out is cleared from a later word on."""
    monkeypatch.setattr(f"{block}.{name}", wrong)
    assert not check(design(small(32, 4)), 20).holds


def fixed(m, name, asks, taken):
    """In place of turns: the first one that asks."""
    return asks & ~any_before(asks)


@pytest.mark.parametrize("block, name, wrong, design", [
    ("read_path", "Fifo", lambda shape, depth, **kind: Fifo(
        shape, depth - (depth == hub.DEPTHS.beats), **kind), hub.ReadPlaces),
    ("read_path", "channel_of", lambda address, channels: Const(0, 1), hub.ReadOrder),
    ("channel_reads", "turns", fixed, hub.ReadTurns),
    ("meeting", "one_of", lambda choice, values: list(values)[0], hub.ReadGroups),
    ("channel_writes", "Mux", lambda held, holder, who: who, hub.WriteOrder)])
def test_a_hub_that_is_wrong_is_refuted(block, name, wrong, design, monkeypatch):
    """A place less than is counted; the other channel; the first core always; the first group
    always; a channel that another core may have in the middle of a burst."""
    monkeypatch.setattr(f"hw.chip.{block}.{name}", wrong)
    assert not check(design(small(32, 2)), 11).holds


def hasty(m, name, port, valid, write, last):
    """As :func:`hw.scratchpad.last_write.write_out`, but nobody waits for the writes to be made."""
    leaves = Signal(name=f"{name}_leaves")
    m.d.comb += [port.valid.eq(valid & write), leaves.eq(valid & (port.ready | ~write))]
    return leaves


@pytest.mark.parametrize("name, wrong, design, cycles", [
    ("chip.exchange_bus.turns", fixed, lambda: between.Exchanges(small(8, 2)), 9),
    ("chip.exchange_bus.one_of", lambda choice, values: list(values)[0],
     lambda: between.Exchanges(small(8, 2)), 9),
    ("chip.exchange.one_of", lambda choice, values: list(values)[0],
     lambda: clusters.Clusters(small(8, 2)), 8),
    ("memory.lane_writer.write_out", hasty, lambda: exchange.Landings(wide(8, 2)), 9),
    ("exchange.send.Mux", lambda empty, one, count: count,
     lambda: exchange.Sends(small(8, 2)), 17),
    ("exchange.signals.SIGNAL_BITS", SIGNAL_BITS - 1, exchange.Awaits, 7),
    ("exchange.gate.WAIT_BITS", WAIT_BITS - 1, lambda: GangWaits(WAIT_REACH - 1), 7)])
def test_an_exchange_that_is_wrong_is_refuted(name, wrong, design, cycles, monkeypatch):
    """The first core always, at two places; the first bus always; words that count before they are
    made; a SIGNAL without a burst; counters that are shorter than what they are compared with."""
    monkeypatch.setattr(f"hw.{name}", wrong)
    assert not check(design(), cycles).holds


def test_a_buffer_that_never_fills_says_nothing():
    with pytest.raises(Vacuous):
        check(Order(Fifo(2, 4), 5), 12)


EXCHANGED = {"$or": "$and", "$and": "$or", "$not": "$pos", "$eq": "$ne", "$ne": "$eq"}


def damaged(text: str, module: str) -> list[str]:
    """A module of a design in RTLIL, with each of its gates exchanged, one at a time."""
    start = text.index(f"module {module}\n")
    end = text.find("\nmodule ", start + 1) % (len(text) + 1)
    return [text[:at.start(1)] + EXCHANGED[at[1]] + text[at.end(1):]
            for at in re.compile(r"cell (\$\w+) ").finditer(text, start, end)
            if at[1] in EXCHANGED]


@pytest.mark.parametrize("design, module, gates", [
    (lambda: Order(Skid(2), 2), "\\top.design.buffer", 6),
    (lambda: Order(Fifo(2, 1), 1), "\\top.design.buffer", 4), (Halted, "\\top.design.status", 3)])
def test_every_damaged_gate_is_found(design, module, gates, monkeypatch):
    """A damage that does not show is one that some run would have to show: there is none."""
    text: list[str] = []
    convert = checker.rtlil.convert

    def keep(*args, **fields):
        text.append(convert(*args, **fields))
        return text[-1]

    monkeypatch.setattr(checker.rtlil, "convert", keep)
    assert check(design(), 12).holds
    found = []
    for reached, claims in zip(damaged(text[0], module), damaged(text[1], module), strict=True):
        texts = iter([reached, claims])
        monkeypatch.setattr(checker.rtlil, "convert", lambda *args, texts=texts, **fields:
                            convert(*args, **fields) and next(texts))
        try:
            found.append(not check(design(), 12).holds)
        except Vacuous:
            found.append(True)
    assert len(found) >= gates and sum(found) >= gates, found
