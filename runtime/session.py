# SPDX-License-Identifier: Apache-2.0
"""Named arrays in, named arrays out: a program's host edges around a device.

    named inputs -> host_pre (ONNX Runtime) -> pack -> device -> unpack -> host_post -> outputs

A batch larger than the program's runs in pieces; a last piece that is too small is filled with
copies of its last element, whose outputs are dropped.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, overload

import numpy as np
import onnx
import onnxruntime

from isa.instructions import Region
from isa.layout import Buffer, host_dtype, pack, unpack
from isa.program import Program, ProgramError
from runtime.device import Device
from runtime.ports import InputError, Port, Takes

FATAL = 4
"""ONNX Runtime's severity of what it writes to standard error: errors are raised."""


Progress = Callable[[int, int], None]


class HostGraph:
    """A piece of the network that the host runs, with ONNX Runtime and without graph
    optimization: the operators mean what the standard says.

    Parameters
    ----------
    data : bytes
        A serialized ONNX model that holds all its constants.

    Raises
    ------
    isa.program.ProgramError
        If it is none, or ONNX Runtime does not run it, now or when it is called.
    """

    def __init__(self, data: bytes):
        with _reported():
            model = onnx.load_from_string(data)
            graph = model.graph
            if any(t.data_location == t.EXTERNAL for t in _tensors(graph)):
                raise ValueError("a constant lies in another file")
            onnx.checker.check_model(model)
            constants = {t.name for t in graph.initializer}
            self.inputs = [_port(v) for v in graph.input if v.name not in constants]
            self.outputs = [_port(v) for v in graph.output]
            options = onnxruntime.SessionOptions()
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
            options.intra_op_num_threads = options.inter_op_num_threads = 1
            options.log_severity_level = FATAL
            self._session = onnxruntime.InferenceSession(data, options,
                                                         providers=["CPUExecutionProvider"])

    def __call__(self, values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """All outputs by name; ``values`` may hold more than the inputs."""
        feeds = {port.name: values[port.name] for port in self.inputs}
        with _reported():
            results = self._session.run(None, feeds)
        return dict(zip([port.name for port in self.outputs], results, strict=True))


@contextlib.contextmanager
def _reported() -> Iterator[None]:
    """A ProgramError for whatever protobuf, onnx and ONNX Runtime raise: their exceptions have no
    class in common."""
    try:
        yield
    except Exception as e:
        raise ProgramError(f"the part of the network for the host does not run ({e}): compile the "
                           "model again") from None


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """All constants, those of subgraphs as well."""
    yield from graph.initializer
    yield from (t for s in graph.sparse_initializer for t in (s.values, s.indices))
    for a in (a for node in graph.node for a in node.attribute):
        yield from (a.t, *a.tensors)
        for inner in (a.g, *a.graphs):
            yield from _tensors(inner)


def _names(ports: Sequence[Port | Buffer]) -> set[str]:
    return {port.name for port in ports}


def _port(value: onnx.ValueInfoProto) -> Port:
    tensor = value.type.tensor_type
    if any(d.dim_value < 0 for d in tensor.shape.dim):
        raise ValueError(f"a dimension of {value.name!r} is negative")
    return Port(value.name, onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type),
                tuple(d.dim_value for d in tensor.shape.dim))


def _buffer_port(buffer: Buffer) -> Port:
    dtype = host_dtype(buffer)
    if dtype.kind == "f" or (buffer.scale, buffer.zero_point) == (1, 0):
        return Port(buffer.name, dtype, buffer.shape)
    return Port(buffer.name, dtype, buffer.shape, buffer.scale, buffer.zero_point)


def check_alone(program: Program) -> None:
    """Refuse a program that means something only together with the executions before.

    Raises
    ------
    isa.program.ProgramError
    """
    if program.patches:
        raise ProgramError(f"program {program.name!r} is a decoder's and keeps a cache from "
                           "execution to execution: run it with makalu generate, or a Generator")


class Session:
    """A program ready to run on a device.

    Parameters
    ----------
    program : Program
        A compiled network.
    device : Device
        Where it runs.
    loaded : bool
        The device stays as it is: the program is an entry of one that it has already, or is not
        run.
    cores : int, optional
        Executions that go on at the same time where a run has several; by default as many as the
        device can.

    Attributes
    ----------
    inputs, outputs : list[Port]
        What :meth:`run` takes and gives.
    takes : Takes
        The rules of the inputs.
    cores : int
        Executions that go on at the same time.
    counters : list[dict[str, int]]
        The machine's counters in each execution of the last :meth:`run`.
    ran_on : list[int]
        Which of the device's cores each of them ran on.

    Raises
    ------
    isa.program.ProgramError
        If the program was compiled for another configuration than the device's, its parts for the
        host do not fit, or it is a decoder's.
    ValueError
        If the device has fewer cores.
    """

    def __init__(self, program: Program, device: Device, loaded: bool = False,
                 cores: int | None = None):
        if not loaded:
            check_alone(program)
        self._cores = cores
        self.program, self.device = program, device
        if cores is not None and not 1 <= cores <= device.at_a_time(program):
            raise ValueError(f"device {device.name!r} runs {device.at_a_time(program)} executions "
                             f"of program {program.name!r} at a time, not {cores}")
        self._pre = HostGraph(program.host_pre) if program.host_pre else None
        self._post = HostGraph(program.host_post) if program.host_post else None
        self.inputs = (self._pre.inputs if self._pre    # an input may have several buffers
                       else list(dict.fromkeys(map(_buffer_port, program.inputs))))
        self.outputs = (self._post.outputs if self._post
                        else [_buffer_port(b) for b in program.outputs])
        self.takes = Takes(program.name, tuple(self.inputs))
        self.counters: list[dict[str, int]] = []
        self.ran_on: list[int] = []
        made = _names(self.inputs) | _names(self._pre.outputs if self._pre else [])
        self._need(made, program.inputs)
        self._need(made | _names(program.outputs), self._post.inputs if self._post else [])
        if not loaded:
            self.load()

    @property
    def cores(self) -> int:
        return self.device.at_a_time(self.program) if self._cores is None else self._cores

    def load(self) -> None:
        """Load the program into the device, again if another one was there since; what executions
        have left is cleared."""
        self.device.load(self.program)

    def _need(self, made: set[str], wanted: Sequence[Port | Buffer]) -> None:
        for name in sorted(_names(wanted) - made):
            raise ProgramError(f"program {self.program.name!r}: nothing makes {name!r}, which it "
                               "reads; compile the model again")

    def __repr__(self) -> str:
        takes, gives = (", ".join(map(str, ports)) for ports in (self.inputs, self.outputs))
        return (f"<Session of {self.program.name} on {self.device.name} "
                f"{self.program.config.name}: takes {takes}; gives {gives}>")

    def get_inputs(self) -> list[Port]:
        """:attr:`inputs`, as ONNX Runtime's sessions call it."""
        return self.inputs

    def get_outputs(self) -> list[Port]:
        """:attr:`outputs`, as ONNX Runtime's sessions call it."""
        return self.outputs

    @property
    def batch(self) -> int:
        """Elements that one execution takes along the first axis of every input."""
        return self.takes.batch

    @overload
    def run(self, inputs: Mapping[str, np.ndarray] | np.ndarray, /, *,
            progress: Progress | None = None) -> dict[str, np.ndarray]: ...

    @overload
    def run(self, names: Sequence[str] | None, feeds: Mapping[str, np.ndarray], /, *,
            progress: Progress | None = None) -> list[np.ndarray]: ...

    def run(self, inputs: Any, feeds: Mapping[str, np.ndarray] | None = None, /, *,
            progress: Progress | None = None) -> dict[str, np.ndarray] | list[np.ndarray]:
        """Run the network: ``run(inputs)``, or as ONNX Runtime's sessions ``run(names, feeds)``.

        Parameters
        ----------
        inputs : mapping of arrays, or an array
            By name; an array alone is the only input. The first axis may be any multiple of the
            program's batch, or anything else at the price of computing the difference; but the
            program's own if its inputs differ in theirs.
        names : sequence of str, or None
            Outputs that are wanted, in the order in which they are given; None: all.
        feeds : mapping of arrays
            Inputs by name.
        progress : callable, optional
            Called with (elements done, elements) after each execution.

        Returns
        -------
        dict[str, np.ndarray]
            The outputs by name; of ``run(names, feeds)`` a list of those that are wanted.

        Raises
        ------
        InputError
            If a name, a shape or a dtype is not the program's.
        runtime.device.DeviceFault
            If the machine stops with an error.
        """
        if feeds is not None:
            found = {port.name for port in self.outputs}
            wanted = [port.name for port in self.outputs] if inputs is None else list(inputs)
            for name in wanted:
                if name not in found:
                    raise InputError(f"program {self.program.name!r} has no output {name!r}; it "
                                     f"gives {'; '.join(map(str, self.outputs))}")
            values = self._run(feeds, progress)
            return [values[name] for name in wanted]
        return self._run(inputs, progress)

    def packed(self, inputs: Mapping[str, np.ndarray] | np.ndarray) -> np.ndarray:
        """The bytes of region INPUT (uint8) for an execution with these inputs, of the program's
        shapes. InputError as :meth:`run`."""
        values = self.takes.named(inputs)
        self.takes.elements(values)
        return self._packed(self._made(values))

    def step(self, inputs: Mapping[str, np.ndarray], arguments: Mapping[str, int]
             ) -> dict[str, np.ndarray]:
        """One execution of an entry, with its arguments (:attr:`isa.program.Program.patches`); the
        inputs have the program's shapes. Otherwise as :meth:`run`."""
        values = self.takes.named(inputs)
        self.takes.elements(values)
        self.device.enter(self.program, arguments)
        self.counters, self.ran_on = [], []
        return self._execute([values])[0]

    def _run(self, inputs: Mapping[str, np.ndarray] | np.ndarray, progress: Progress | None
             ) -> dict[str, np.ndarray]:
        values = self.takes.named(inputs)
        total = self.takes.elements(values)
        self.counters, self.ran_on = [], []
        if not self.takes.alike:
            return self._execute([values])[0]    # there are no batches
        found: list[dict[str, np.ndarray]] = []
        starts = range(0, total, self.batch)
        for first in range(0, len(starts), self.cores):
            now = starts[first:first + self.cores]
            found += self._execute([self._piece(values, start, total) for start in now])
            if progress:
                progress(min(now[-1] + self.batch, total), total)
        if len(found) == 1 and total == self.batch:
            return found[0]
        return {port.name: np.concatenate([p[port.name] for p in found])[:total]
                for port in self.outputs}

    def _piece(self, values: dict[str, np.ndarray], start: int, total: int
               ) -> dict[str, np.ndarray]:
        """What an execution takes from ``start`` on, filled up with copies of the last element."""
        piece = {k: v[start:start + self.batch] for k, v in values.items()}
        missing = start + self.batch - total
        if missing <= 0:
            return piece
        return {k: np.concatenate([v, np.repeat(v[-1:], missing, axis=0)])
                for k, v in piece.items()}

    def _execute(self, pieces: Sequence[dict[str, np.ndarray]]) -> list[dict[str, np.ndarray]]:
        """Executions at the same time, if there are several."""
        made = [self._made(values) for values in pieces]
        regions = [self._packed(values) for values in made]
        results = ([self.device.execute(regions[0])] if len(regions) == 1
                   else self.device.execute_all(regions))
        self.counters += [result.counters for result in results]
        self.ran_on += [result.core for result in results]
        return [self._unpacked(values, result.outputs)
                for values, result in zip(made, results, strict=True)]

    def _made(self, values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The inputs, and what the host makes of them."""
        return {**values, **(self._pre(values) if self._pre else {})}

    def _packed(self, made: dict[str, np.ndarray]) -> np.ndarray:
        """The bytes of region INPUT."""
        program = self.program
        region = np.zeros(program.region_sizes.get(Region.INPUT, 0), np.uint8)
        for b in program.inputs:
            try:
                packed = pack(b, np.ascontiguousarray(made[b.name]), program.config.word_bytes)
            except ValueError as e:     # not the user's array, which has been checked
                raise ProgramError(f"program {program.name!r}: {e}; compile the model again"
                                   ) from None
            region[b.offset:b.offset + b.size] = packed
        return region

    def _unpacked(self, made: dict[str, np.ndarray], outputs: np.ndarray) -> dict[str, np.ndarray]:
        """The outputs by name, of the bytes of region OUTPUT; ``made``: the other values."""
        lanes = self.program.config.word_bytes
        for b in self.program.outputs:
            made[b.name] = unpack(b, outputs[b.offset:b.offset + b.size], lanes)
        if self._post:
            made |= self._post(made)
        return {port.name: made[port.name] for port in self.outputs}
