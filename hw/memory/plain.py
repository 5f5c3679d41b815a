# SPDX-License-Identifier: Apache-2.0
"""AXI ports with the names of the standard, for bus libraries, FPGA tools and C++; other ports of
several streams likewise."""

from dataclasses import dataclass

from amaranth.hdl import Module, Shape, ShapeLike, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

BURST_INCR = 1
CACHE_NORMAL_BUFFERABLE = 0b0011

CONSTANTS = {"burst": (2, BURST_INCR), "lock": (1, 0), "cache": (4, CACHE_NORMAL_BUFFERABLE),
             "prot": (3, 0), "qos": (4, 0)}
"""Signals of AW and AR of a whole AXI4 that never change: width and value."""


@dataclass(frozen=True)
class _Channel:
    name: str
    driven: bool            # its payload comes from the component that has the plain names
    payload: dict[str, int]


class PlainAXI:
    """An AXI4 or AXI4-Lite port of a component, or another one of streams, under plain names.

    Parameters
    ----------
    prefix : str
        Of the names, as in ``m_axi_`` for ``m_axi_awaddr``.
    signature : AXI4 or AXI4Lite
        As the master has it.
    master : bool
        Whether the component is the master.
    bytes_wide : int, optional
        Data bytes of an AXI4, whose constant signals it has then; None: AXI4-Lite.
    """

    ORDER = ("aw", "post", "w", "b", "ar", "r", "land")
    """Of the streams that there may be."""

    def __init__(self, prefix: str, signature: wiring.Signature, master: bool,
                 bytes_wide: int | None = None):
        self._prefix, self._master, self._bytes = prefix, master, bytes_wide
        self._channels = [
            _Channel(name, (signature.members[name].flow == Out) == master,
                     _bits(signature.members[name].signature.members["payload"].shape))
            for name in self.ORDER if name in signature.members]

    def members(self) -> dict[str, wiring.Member]:
        """The plain ports."""
        found: dict[str, wiring.Member] = {}
        for c in self._channels:
            forth, back = (Out, In) if c.driven else (In, Out)
            name = self._prefix + c.name
            found |= {f"{name}valid": forth(1), f"{name}ready": back(1)}
            found |= {name + field: forth(width) for field, width in c.payload.items()}
            if "addr" in c.payload and self._bytes is not None:
                found[f"{name}size"] = forth(3)
                found |= {name + f: forth(width) for f, (width, _) in CONSTANTS.items()}
            elif "addr" in c.payload:
                found[f"{name}prot"] = forth(3)
        return found

    def connect(self, m: Module, component: wiring.Component, port: object,
                shut: Value | int = 0) -> None:
        """Joins the plain ports of ``component`` and a port inside; while ``shut`` nothing is
        handed over on channels that come from outside."""
        for c in self._channels:
            inside, name = getattr(port, c.name), self._prefix + c.name
            self._hand_over(m, component, name, c, inside, 0 if c.driven else shut)
            if "addr" not in c.payload or not c.driven:
                continue
            if self._bytes is not None:
                m.d.comb += getattr(component, f"{name}size").eq(exact_log2(self._bytes))
                m.d.comb += [getattr(component, name + f).eq(v)
                             for f, (_, v) in CONSTANTS.items()]

    @staticmethod
    def _hand_over(m: Module, component: wiring.Component, name: str, c: _Channel,
                   s: stream.Interface, shut: Value | int) -> None:
        plain = {f: getattr(component, name + f) for f in ("valid", "ready", *c.payload)}
        inner = {f: s.payload[f] if isinstance(s.payload, data.View) else s.payload
                 for f in c.payload} | {"valid": s.valid, "ready": s.ready}
        for field, port in plain.items():
            to_port = c.driven != (field == "ready")
            source, sink = (inner[field], port) if to_port else (port, inner[field])
            handshake = field in ("valid", "ready")
            m.d.comb += sink.eq(source & ~Value.cast(shut) if handshake else source)


def _bits(shape: ShapeLike) -> dict[str, int]:
    """Fields of a channel's payload and their widths; an address or a response alone has none."""
    if isinstance(shape, data.StructLayout):
        return {name: Shape.cast(field.shape).width for name, field in shape}
    width = Shape.cast(shape).width
    return {"resp" if width == 2 else "addr": width}
