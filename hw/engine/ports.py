# SPDX-License-Identifier: Apache-2.0
"""The interfaces between blocks: scratchpad ports, engine instructions, completion and faults."""

from typing import Protocol, cast

from amaranth import Shape
from amaranth.hdl import Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from isa.config import Config
from isa.instructions import (ALONE_PLACES, GANG_QUEUES, INDEX_BITS, PLACES, QUEUES, WAIT_BITS,
                              Field, Opcode)


def _shape(f: Field) -> Shape:
    return signed(f.width) if f.signed else unsigned(f.width)


def instruction_layout(opcode: Opcode) -> data.StructLayout:
    """Fields of an instruction as an engine gets them: the common ones (without opcode and size),
    its own, and ``index``, its position in the program. LOAD and STORE share a layout. Engines
    that every machine has know nothing of the queues of a gang."""
    fields = {f.name: _shape(f) for f, _ in ALONE_PLACES.get(opcode, PLACES[opcode])}
    return data.StructLayout({**fields, "index": unsigned(INDEX_BITS)})


def gathered_layout(opcode: Opcode) -> data.StructLayout:
    """The same with the waits for all queues of a gang."""
    fields = {f.name: _shape(f) for f, _ in PLACES[opcode]}
    return data.StructLayout({**fields, "index": unsigned(INDEX_BITS)})


def view_of(layout: data.Layout, *, name: str | None = None,
            reset_less: bool = False) -> data.View:
    """``Signal(layout)`` with the type that it has: mypy takes it for a Signal, since it does not
    ask the metaclass. The name is that of the variable, as with a Signal."""
    return cast(data.View, Signal(layout, name=name, reset_less=reset_less, src_loc_at=1))


COMPLETED = data.StructLayout({q: unsigned(WAIT_BITS) for q in QUEUES})
"""Completed instructions of each queue since the doorbell, modulo 2**16."""

FAULT_ENGINE = range(len(GANG_QUEUES) + 1)
"""Who found a fault, as register ERROR_ENGINE says it: a queue's position and 1, or 0."""


class SpmReader(Protocol):
    """Type of a component's member with the signature :class:`SpmRead`."""

    signature: wiring.Signature
    valid: Signal
    ready: Signal
    addr: Signal
    arrived: Signal
    data: Signal


class SpmWriter(Protocol):
    """Type of a component's member with the signature :class:`SpmWrite`."""

    signature: wiring.Signature
    valid: Signal
    ready: Signal
    addr: Signal
    data: Signal
    pending: Signal


class SpmRead(wiring.Signature):
    """A scratchpad read port of one word, as its user sees it.

    Contract: a read is accepted in a cycle in which ``valid`` and ``ready`` are high. Its word is
    ``data`` in a later cycle, with ``arrived``, and only then; words come in the order of the
    reads, and the user has a place for each. The address is within the scratchpad: its user has
    checked it.
    """

    def __init__(self, config: Config):
        super().__init__({
            "valid": Out(1), "ready": In(1), "addr": Out(range(config.spm_words)),
            "arrived": In(1), "data": In(8 * config.word_bytes)})


class SpmWrite(wiring.Signature):
    """A scratchpad write port of one word, as its user sees it: accepted when ``valid`` and
    ``ready`` are high. ``pending``: not every accepted write has been made. A read that is accepted
    when it is low, on any port, gives the new words."""

    def __init__(self, config: Config):
        super().__init__({
            "valid": Out(1), "ready": In(1), "addr": Out(range(config.spm_words)),
            "data": Out(8 * config.word_bytes), "pending": In(1)})


class Engine(wiring.Signature):
    """What every engine shows the sequencer, as the engine sees it.

    ``start`` is high for one cycle for each instruction that begins, its waits satisfied, and
    ``done`` for each completed one, both in order. ``blocked`` has a bit for each queue that the
    next instruction waits for, in an engine that looks at the waits itself. ``busy`` is high while
    an instruction is in execution. ``fault`` rises with ``fault_code`` (:class:`isa.instructions.
    Fault`) and ``fault_index`` (the instruction's position) when an instruction cannot go on, and
    stays until reset; from then on the engine starts no bus access, and no write of the scratchpad
    but for results that have left PSUM; it may go on reading. ``halt`` tells an engine that another
    one failed: it starts nothing new and may stop where it is.
    """

    def __init__(self) -> None:
        super().__init__({
            "completed": In(COMPLETED), "halt": In(1), "start": Out(1), "done": Out(1),
            "blocked": Out(len(QUEUES)), "busy": Out(1),
            "fault": Out(1), "fault_code": Out(8), "fault_index": Out(INDEX_BITS)})


class EnginePort(Protocol):
    """Type of a component's member with the signature :class:`Engine`."""

    signature: wiring.Signature
    completed: data.View
    halt: Signal
    start: Signal
    done: Signal
    blocked: Signal
    busy: Signal
    fault: Signal
    fault_code: Signal
    fault_index: Signal
