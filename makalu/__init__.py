# SPDX-License-Identifier: Apache-2.0
"""Makalu, an open inference accelerator: compile a network, run it on the simulated hardware.

    import makalu

    program = makalu.compile("net.onnx", "core256")
    outputs = makalu.run(program, {"image": array}, device="rtl")

    session = makalu.Session(program, makalu.open_device("golden", program.config))
    session.run(images)                      # as often as wanted
"""

from isa.config import Config, ConfigError
from isa.presets import load_config
from isa.program import Program, ProgramError
from makalu.api import compile, load, open_device, run
from runtime.device import Device, DeviceFault
from runtime.session import InputError, Session

__version__ = "0.1.0"

__all__ = ["Config", "ConfigError", "Device", "DeviceFault", "InputError", "Program",
           "ProgramError", "Session", "compile", "load", "load_config", "open_device", "run"]
