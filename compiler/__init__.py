# SPDX-License-Identifier: Apache-2.0
"""From ONNX models to programs: ``compile_model(model, config) -> isa.program.Program``."""

from compiler.compile import compile_model
from compiler.ir.errors import CompileError

__all__ = ["CompileError", "compile_model"]
