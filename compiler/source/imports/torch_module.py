# SPDX-License-Identifier: Apache-2.0
"""A PyTorch module in memory: exported with example inputs to a file, and taken as such a file is.

Nothing here imports torch unless the caller has: a module exists only where torch does.
"""

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from compiler.ir.errors import CompileError
from compiler.source.imports.foreign import Taken, take
from compiler.source.imports.formats import Format


def is_module(model: Any) -> bool:
    """Whether it is a ``torch.nn.Module``."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(model, torch.nn.Module)


def from_module(module: Any, example_inputs: Sequence[Any] | None, verify: bool = True) -> Taken:
    """The ONNX model of a module in evaluation mode, compared with it.

    Parameters
    ----------
    module : torch.nn.Module
    example_inputs : sequence of torch.Tensor
        Arguments of its ``forward``; their shapes are those of the program.
    verify : bool
        Whether the module runs for comparison.

    Raises
    ------
    CompileError
        If there are no example inputs, the module is in training mode or cannot be exported, and
        as :func:`compiler.source.imports.foreign.take`.
    """
    import torch

    name = type(module).__name__
    if example_inputs is None:
        raise CompileError(name, "a torch.nn.Module does not say what shapes it takes",
                           "give example_inputs=(tensor, …)")
    if module.training:
        raise CompileError(name, "the module is in training mode", "call module.eval() first")
    try:
        with torch.no_grad():
            program = torch.export.export(module, tuple(example_inputs))
    except Exception as e:  # torch's errors have no class in common
        raise CompileError(name, f"torch.export does not take it: {str(e).splitlines()[0]}",
                           "write forward without control flow that depends on values") from e
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.pt2"
        torch.export.save(program, path)
        return take(path, Format.TORCH, verify=verify)
