# SPDX-License-Identifier: Apache-2.0
"""Converts a PyTorch ExportedProgram and runs the original, in a process of its own. Job and answer
are those of :mod:`compiler.source.imports.tensorflow_worker`, without layers: the exporter gives
values other names than the program has."""

import json
import sys
from pathlib import Path

import numpy as np
import torch


def main() -> None:
    """One job."""
    job = json.load(sys.stdin)
    folder = Path(job["folder"])
    program = torch.export.load(job["path"])
    torch.manual_seed(0)
    example, _ = program.example_inputs or ((), {})
    made = [x.new_empty(x.shape).uniform_(-1, 1) if x.is_floating_point() else x for x in example]
    exported = torch.onnx.export(program, tuple(example), dynamo=True, verbose=False,
                                 opset_version=job["opset"])
    exported.save(str(folder / "model.onnx"))
    with torch.no_grad():
        found = program.module()(*made)
    outputs = found if isinstance(found, tuple | list) else [found]
    given = [v.name for v in exported.model.graph.inputs]
    results = [v.name for v in exported.model.graph.outputs]
    np.savez(folder / "values.npz",
             **{f"in:{n}": x.numpy() for n, x in zip(given, made, strict=True)},
             **{f"out:{n}": x.numpy() for n, x in zip(results, outputs, strict=True)})
    (folder / "report.json").write_text(json.dumps({
        "by": f"PyTorch {torch.__version__}"}))


if __name__ == "__main__":
    main()
