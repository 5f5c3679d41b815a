# SPDX-License-Identifier: Apache-2.0
"""``torch.compile(module, backend="makalu")``: the module's forward on a machine.

Importing this module needs torch, which finds it by the entry point ``torch_dynamo_backends``.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from compiler.ir.errors import CompileError
from isa.program import Program
from makalu import api
from runtime.session import Session

OPTIONS = {"config": "core256_fp", "precision": "fp16", "device": "golden", "host": ("all",)}
"""What ``torch.compile(…, options={…})`` may set, with :data:`CALIBRATION`, and what it is
otherwise."""

CALIBRATION = "calibration"
"""For ``int8``: samples, each a sequence of the tensors that ``forward`` takes."""


def backend(graph: torch.fx.GraphModule, inputs: Sequence[Any],
            options: Mapping[str, Any] | None = None) -> "Compiled":
    """What torch calls for each graph that it has captured.

    Parameters
    ----------
    graph : torch.fx.GraphModule
    inputs : sequence
        Tensors, parameters and buffers among them, and sizes that are free.
    options : mapping, optional
        Of :data:`OPTIONS`.

    Raises
    ------
    CompileError
        If an option is not known, gradients are wanted, or the machine cannot run the graph.
    """
    given = dict(options or {})
    unknown = given.keys() - OPTIONS.keys() - {CALIBRATION}
    if unknown:
        raise CompileError("torch.compile", f"option {sorted(unknown)[0]!r} is not known",
                           f"use {', '.join(OPTIONS)}, {CALIBRATION}")
    if torch.is_grad_enabled():
        raise CompileError("torch.compile", "gradients are on, and the machine is for inference",
                           "call the module under torch.no_grad()")
    return Compiled(graph, inputs, {**OPTIONS, **given})


class Compiled:
    """A captured graph that runs on a machine; a program is compiled for each set of shapes.

    Parameters
    ----------
    graph : torch.fx.GraphModule
    inputs : sequence
        As of :func:`backend`.
    options : mapping
        All of :data:`OPTIONS`.

    Attributes
    ----------
    sessions : dict
        Programs on their devices, by the shapes and types of the inputs.
    """

    def __init__(self, graph: torch.fx.GraphModule, inputs: Sequence[Any],
                 options: Mapping[str, Any]):
        self._graph, self._options = graph.eval(), dict(options)
        self._fixed = [k for k, x in enumerate(inputs) if _is_weight(x)]
        self._free = [k for k, x in enumerate(inputs)
                      if isinstance(x, torch.Tensor) and k not in self._fixed]
        self._weights: list[tuple[int, int]] = []
        self.sessions: dict[Any, Session] = {}

    def __call__(self, *inputs: Any) -> tuple[torch.Tensor, ...]:
        weights = [(inputs[k].data_ptr(), inputs[k]._version) for k in self._fixed]
        if weights != self._weights:        # a program holds their values
            self.sessions, self._weights = {}, weights
        free = [inputs[k] for k in self._free]
        shapes = tuple((tuple(x.shape), x.dtype) for x in free)
        if shapes not in self.sessions:
            self.sessions[shapes] = self._session(inputs)
        session = self.sessions[shapes]
        names = [port.name for port in session.inputs]
        values = session.run({name: x.detach().cpu().numpy()
                              for name, x in zip(names, free, strict=True)})
        return tuple(torch.from_numpy(values[port.name]) for port in session.outputs)

    def _session(self, inputs: Sequence[Any]) -> Session:
        bound = _Bound(self._graph, inputs, self._free).eval()
        options = dict(self._options)
        device, config = options.pop("device"), options.pop("config")
        samples = options.pop(CALIBRATION, None)
        program: Program = api.compile(
            bound, config, example_inputs=[inputs[k] for k in self._free], name="torch_compile",
            calibration=samples and _named(samples), **options)
        return Session(program, api.open_device(device, program.config))


class _Bound(torch.nn.Module):
    """A graph of whose inputs only the free ones are left; the others have the values given."""

    def __init__(self, graph: torch.fx.GraphModule, inputs: Sequence[Any], free: Sequence[int]):
        super().__init__()
        self.graph, self._free = graph, list(free)
        self._kept = [x.detach() if isinstance(x, torch.Tensor) else int(x) for x in inputs]
        for k, x in enumerate(self._kept):
            if isinstance(x, torch.Tensor) and k not in self._free:
                self.register_buffer(f"weight{k}", x)

    def forward(self, *free: torch.Tensor) -> Any:
        """The graph's outputs."""
        values = [getattr(self, f"weight{k}", x) for k, x in enumerate(self._kept)]
        for k, x in zip(self._free, free, strict=True):
            values[k] = x
        return self.graph(*values)


def _named(samples: Sequence[Sequence[torch.Tensor]]) -> dict[str, Any]:
    """Calibration samples, one behind another, by the names that torch's exporter gives the
    inputs."""
    return {f"free_{k}": torch.cat(list(x)).numpy() for k, x in enumerate(zip(*samples))}


def _is_weight(value: Any) -> bool:
    """A parameter or a buffer, which torch hands over among the inputs."""
    return isinstance(value, torch.nn.Parameter) or hasattr(value, "_dynamo_static_input_type")
