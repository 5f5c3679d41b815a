# SPDX-License-Identifier: Apache-2.0
"""The types that a component declares are those of the members that it makes."""

import inspect
from dataclasses import replace

import pytest
from amaranth.hdl import Fragment, Signal
from amaranth.lib import data, stream, wiring

from hw.board import beats, sdram
from hw.board.board import Settings
from hw.board.sdram_chip import SdramChip
from hw.board.ulx3s import Ulx3s
from hw.chip.exchange import ChipExchange
from hw.chip.hub import Hub
from hw.engine import ports
from hw.engine.signature import WritePort, Writes
from hw.exchange import ports as exchange
from hw.memory import axi
from hw.top import Makalu
from isa.presets import PRESETS

PORTS = {ports.SpmReader: (ports.SpmRead,), ports.SpmWriter: (ports.SpmWrite,),
         ports.EnginePort: (ports.Engine,),
         axi.AXIPort: (axi.AXI4, axi.AXI4Lite), Writes: (WritePort,),
         exchange.ExchangePort: (exchange.Exchange,),
         beats.BeatsPort: (beats.Beats,), sdram.SdramPort: (sdram.SdramPins,)}
ARGUMENTS = {"config": PRESETS["tiny"], "data_bytes": 8, "beat_bits": 22, "chip": SdramChip()}


def is_a(member: object, declared: object) -> bool:
    """``member``, flipped or not, has the declared type; a Protocol stands for the signatures
    beside it."""
    if getattr(declared, "__origin__", None) is list:
        return isinstance(member, list) and all(is_a(m, declared.__args__[0]) for m in member)
    if declared in PORTS:
        return isinstance(getattr(member, "signature", None), PORTS[declared])
    if isinstance(member, wiring.FlippedInterface):
        member = wiring.flipped(member)
    return isinstance(member, declared)


@pytest.fixture(scope="module")
def components():
    """One component of each class of the machine, of a board, and of what joins several."""
    made = {}
    init = wiring.Component.__init__

    def spy(self, *args):
        init(self, *args)
        made.setdefault(type(self), self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wiring.Component, "__init__", spy)
        whole = replace(PRESETS["tiny"], exchange=True)
        Fragment.get(Makalu(whole, trace=True), None)
        Fragment.get(ChipExchange(whole, 3, 1, 2), None)
        Fragment.get(Ulx3s(PRESETS["tiny"], Settings(), simulated=True), None)
        Fragment.get(Hub(PRESETS["tiny"], cores=2, channels=2, groups=1), None)
    return {cls: c for cls, c in made.items() if cls.__module__.startswith("hw.")}


def test_declared(components):
    assert len(components) > 20
    for cls, component in components.items():
        declared = inspect.get_annotations(cls)
        if cls is not Makalu:       # its AXI ports are only known by name
            made = component.signature.members.keys() - {"await"}   # which Python keeps for itself
            assert declared.keys() == made, cls
        for name, kind in declared.items():
            assert is_a(getattr(component, name), kind), f"{cls.__name__}.{name}: {kind}"


@pytest.mark.parametrize("port, signature", [(p, s) for p, ss in PORTS.items() for s in ss])
def test_protocols(port, signature):
    wanted = inspect.signature(signature).parameters.keys() & ARGUMENTS.keys()
    made = signature(*(ARGUMENTS[name] for name in wanted)).create()
    declared = inspect.get_annotations(port)
    assert declared.keys() - {"signature"} == made.signature.members.keys()
    for name, kind in declared.items():
        assert kind in (Signal, data.View, stream.Interface, wiring.Signature)
        assert is_a(getattr(made, name), kind), f"{port.__name__}.{name}"
