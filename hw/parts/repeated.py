# SPDX-License-Identifier: Apache-2.0
"""Parts that a design has many times, written once: a chip of 64 cores has 65 ports of its hub and
eight channels behind them, of 60,000 gates each.

A design for a platform of :class:`Repeated` has an instance of a module where such a part is, and
the platform has the part, whose Verilog is to stand beside the design's. For any other platform,
that of a simulation or of a proof, the part itself is there.
"""

from collections.abc import Callable, Iterator
from typing import Any, TypeVar, cast

from amaranth.hdl import ClockSignal, Instance, Module, ResetSignal, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

Part = TypeVar("Part", bound=wiring.Component)


class Repeated:
    """A platform for which repeated parts are modules of their own.

    Members
    -------
    parts : dict of wiring.Component
        One of each, by the name of its module. A part may have others in it, which come here when
        it is elaborated.
    """

    def __init__(self) -> None:
        self.parts: dict[str, wiring.Component] = {}


def ports(part: wiring.Component | wiring.PureInterface) -> Iterator[tuple[str, bool, Signal]]:
    """The ports of a part's module: name, whether it is an output, signal. What is constant has
    none."""
    member: Any
    for path, member, value in part.signature.flatten(part):
        signal = Value.cast(value)
        if isinstance(signal, Signal):
            yield "__".join(map(str, path)), member.flow == Out, signal


def repeated(m: Module, platform: object, kind: str, number: int, make: Callable[[], Part]) -> Part:
    """Adds a part to a module that has more of its kind, in the domain ``sync``.

    Parameters
    ----------
    m : Module
    platform : object
        What ``m`` is elaborated for.
    kind : str
        Name of the part's module. Parts of a design that have it are made with the same arguments.
    number : int
        Which of them it is, within ``m``.
    make : function

    Returns
    -------
    wiring.Component
        The part, or, of one that is written elsewhere, its members.
    """
    name = f"{kind}{number}"
    if not isinstance(platform, Repeated):
        part = m.submodules[name] = make()
        return part
    if kind not in platform.parts:
        platform.parts[kind] = make()
    members = platform.parts[kind].signature.create(path=(name,))
    wires = {f"{'io'[out]}_{port}": signal for port, out, signal in ports(members)}
    m.submodules[name] = Instance(kind, i_clk=ClockSignal(), i_rst=ResetSignal(), **wires)
    return cast(Part, members)
