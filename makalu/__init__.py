# SPDX-License-Identifier: Apache-2.0
"""Makalu, an open inference accelerator: compile a network, run it on the simulated hardware.

    import makalu

    program = makalu.compile("net.onnx", "core256")
    outputs = makalu.run(program, {"image": array}, device="rtl")

    session = makalu.Session(program, makalu.open_device("golden", program.config))
    session.run(images)                      # as often as wanted
    session.run(None, {"image": array})      # as with ONNX Runtime

    generator = makalu.Generator(makalu.decoder("gpt.onnx", context=256), device)
    list(generator.tokens(prompt, 32))       # its key-value cache stays on the machine

    makalu.InferenceSession("net.onnx", device="rtl").run(None, {"image": array})   # all in one
    torch.compile(module, backend="makalu")                                         # in PyTorch

    makalu.profile(program)                  # where the cycles go, on the simulated hardware
    makalu.bisect(program)                   # the first instruction that the hardware gets wrong
    makalu.accuracy("net.onnx", config, samples)        # each precision against FP32
"""

import importlib
from typing import TYPE_CHECKING, Any

from isa.config import Config, ConfigError
from isa.presets import load_config
from isa.program import Program, ProgramError
from makalu.api import compile, decoder, load, open_device, run
from runtime.device import Device, DeviceFault
from runtime.generator import Generator
from runtime.ports import InputError, Port
from runtime.session import Session

if TYPE_CHECKING:
    from compiler.ir.errors import CompileError
    from makalu.inference import InferenceSession
    from makalu.measure.accuracy import measure as accuracy
    from makalu.see.bisect import bisect
    from makalu.see.profile import measure as profile

__version__ = "0.1.0"

__all__ = ["CompileError", "Config", "ConfigError", "Device", "DeviceFault", "Generator",
           "InferenceSession", "InputError", "Port", "Program", "ProgramError", "Session",
           "accuracy", "bisect", "compile", "decoder", "load", "load_config", "open_device",
           "profile", "run"]

_LATER = {"InferenceSession": ("makalu.inference", "InferenceSession"),
          "accuracy": ("makalu.measure.accuracy", "measure"),
          "bisect": ("makalu.see.bisect", "bisect"), "profile": ("makalu.see.profile", "measure")}
"""What is imported when it is asked for first, so that ``import makalu`` stays quick."""


def __getattr__(name: str) -> Any:
    if name == "CompileError":  # by a statement, which an installation puts under makalu
        from compiler.ir.errors import CompileError
        return CompileError
    if name not in _LATER:
        raise AttributeError(f"module 'makalu' has no attribute {name!r}")
    module, attribute = _LATER[name]
    globals()[name] = found = getattr(importlib.import_module(module), attribute)
    return found
