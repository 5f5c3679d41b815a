# SPDX-License-Identifier: Apache-2.0
"""What a program takes and gives: names, types and shapes, and the rules of its inputs."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from isa.errors import UserError

TYPES = {"float32": "float", "float64": "double"}
"""Types that ONNX Runtime calls otherwise than numpy."""


class InputError(UserError, ValueError):
    """Inputs that the program does not take; the message says what it takes."""


@dataclass(frozen=True)
class Port:
    """A named input or output; a dimension of 0 is free. ``scale`` and ``zero_point`` are the
    quantization of integers, and 0 where it is not known."""

    name: str
    dtype: np.dtype
    shape: tuple[int, ...]
    scale: float = 0.0
    zero_point: int = 0

    def __str__(self) -> str:
        dims = ", ".join(str(d) if d else "any" for d in self.shape)
        return f"{self.name}: {self.dtype} [{dims}]"

    def __repr__(self) -> str:
        return f"<Port {self}>"

    @property
    def type(self) -> str:
        """The element type as ONNX Runtime writes it: ``tensor(float)``."""
        return f"tensor({TYPES.get(self.dtype.name, self.dtype.name)})"


@dataclass(frozen=True)
class Takes:
    """The inputs of a program.

    Parameters
    ----------
    program : str
        Its name, for errors.
    ports : tuple of Port
    """

    program: str
    ports: tuple[Port, ...]

    def __str__(self) -> str:
        return "; ".join(map(str, self.ports))

    @property
    def batch(self) -> int:
        """Elements that one execution takes along the first axis of every input."""
        return self.ports[0].shape[0] or 1 if self.ports and self.ports[0].shape else 1

    @property
    def alike(self) -> bool:
        """Whether the first axes of all inputs count the same."""
        return len({port.shape[0] for port in self.ports if port.shape}) < 2

    def named(self, inputs: Mapping[str, np.ndarray] | np.ndarray) -> dict[str, np.ndarray]:
        """The inputs by name; an array alone is the only one.

        Raises
        ------
        InputError
            If there is one too many or too few.
        """
        if isinstance(inputs, np.ndarray):
            if len(self.ports) != 1:
                raise InputError(f"program {self.program!r} takes {len(self.ports)} inputs, "
                                 f"give them by name: {self}")
            return {self.ports[0].name: inputs}
        unknown = inputs.keys() - {port.name for port in self.ports}
        missing = {port.name for port in self.ports} - inputs.keys()
        for names, verb in ((unknown, "has no input"), (missing, "is missing input")):
            if names:
                raise InputError(f"program {self.program!r} {verb} "
                                 f"{', '.join(map(repr, sorted(names)))}; it takes {self}")
        return {port.name: np.asarray(inputs[port.name]) for port in self.ports}

    def elements(self, values: Mapping[str, np.ndarray]) -> int:
        """How many there are along the first axes of named inputs.

        Raises
        ------
        InputError
            If a shape or a dtype is not the program's, or they count differently.
        """
        totals = {}
        for port in self.ports:
            got = values[port.name]
            if got.dtype != port.dtype or not self._fits(port, got.shape):
                raise InputError(f"program {self.program!r} takes {port}"
                                 f"{', with any first dimension' if self.alike else ''}; got "
                                 f"{got.dtype} {list(got.shape)}")
            totals[port.name] = got.shape[0] if got.shape else self.batch
        if len(set(totals.values())) > 1 and self.alike:
            raise InputError(f"program {self.program!r}: the inputs differ in their first "
                             f"dimension: {totals}")
        return next(iter(totals.values()), self.batch)

    def _fits(self, port: Port, shape: tuple[int, ...]) -> bool:
        fixed = 1 if self.alike else 0
        return not port.shape and not shape or (
            len(shape) == len(port.shape) > 0 and shape[0] > 0 and all(
                want in (0, have) for want, have in zip(port.shape[fixed:], shape[fixed:],
                                                        strict=True)))
