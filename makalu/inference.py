# SPDX-License-Identifier: Apache-2.0
"""A session as ONNX Runtime has it, from a model's file in one line."""

from pathlib import Path
from typing import Any

from isa.config import Config
from makalu import api
from runtime.session import Session


class InferenceSession(Session):
    """Compiles a model and opens a device for it; where a program takes
    ``onnxruntime.InferenceSession``, it takes this.

    ::

        session = makalu.InferenceSession("net.onnx", config="core256", device="rtl")
        session.run(None, {session.get_inputs()[0].name: images})

    Parameters
    ----------
    model : str, Path, onnx.ModelProto or torch.nn.Module
        As of :func:`makalu.compile`, or a ``.mkl`` file.
    config : Config or str
        The machine; of a ``.mkl`` file its own.
    device : str
        As of :func:`makalu.open_device`.
    options
        Of :func:`makalu.compile`. ``host`` is ``("all",)`` unless given: what the machine does not
        run at the network's edges runs in ONNX Runtime.

    Raises
    ------
    compiler.ir.errors.CompileError
        If the model cannot run on the machine.
    """

    def __init__(self, model: Any, config: Config | str = "core256", *, device: str = "golden",
                 **options: Any):
        options.setdefault("host", ("all",))
        program = (api.load(model, config, **options) if isinstance(model, str | Path)
                   else api.compile(model, config, **options))
        super().__init__(program, api.open_device(device, program.config))

    def close(self) -> None:
        """Close the device."""
        self.device.close()

    def __enter__(self) -> "InferenceSession":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
