# SPDX-License-Identifier: Apache-2.0
"""Converts a PyTorch ExportedProgram and runs the original, in a process of its own. Job and answer
are those of :mod:`compiler.source.imports.tensorflow_worker`; the report also has the modules of
the layers: values are called after operators, as ``conv2d_1``."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import torch


class Layers(torch.fx.Interpreter):
    """Runs a program and keeps what each of its nodes gives."""

    def __init__(self, program: torch.export.ExportedProgram):
        super().__init__(program.module())
        self.values: dict[str, np.ndarray] = {}

    def run_node(self, n: torch.fx.Node) -> object:
        """Its value."""
        value = super().run_node(n)
        if isinstance(value, torch.Tensor) and n.op.startswith("call"):
            self.values[f"layer:{n.name}"] = value.numpy()
        return value


def modules(program: torch.export.ExportedProgram) -> dict[str, str]:
    """The module that each value comes from, by its path in the original."""
    stacks = {n.name: list(n.meta.get("nn_module_stack", {}).values())
              for n in program.graph.nodes}
    return {name: stack[-1][0] for name, stack in stacks.items() if stack and stack[-1][0]}


def refused(error: BaseException) -> dict[str, str]:
    """What the exporter says of an operator that it does not have, with the node that it is of."""
    texts = []
    at: BaseException | None = error
    while at is not None:
        texts.append(str(at))
        at = at.__cause__
    node = next((m[1] for t in texts if (m := re.search(r"translating node %(\S+)", t))), "")
    operator = next((m[1] for t in texts if (m := re.search(r"OpOverload\(op='([\w.]+)'", t))), "")
    where = f" of node {node!r}" if node else ""
    if operator:
        return {"cause": f"the operator {operator}{where} has no form in ONNX",
                "cure": "express it by other operators before the export"}
    return {"cause": f"it cannot be converted{where} ({texts[-1].splitlines()[0]})",
            "cure": "express that part by other operators before the export"}


def main() -> None:
    """One job."""
    job = json.load(sys.stdin)
    folder = Path(job["folder"])
    program = torch.export.load(job["path"])
    torch.manual_seed(0)
    example, _ = program.example_inputs or ((), {})
    made = [x.new_empty(x.shape).uniform_(-1, 1) if x.is_floating_point() else x for x in example]
    try:
        exported = torch.onnx.export(program, tuple(example), dynamo=True, verbose=False,
                                     opset_version=job["opset"])
    except torch.onnx.OnnxExporterError as e:
        (folder / "report.json").write_text(json.dumps(refused(e)))
        return
    exported.save(str(folder / "model.onnx"))
    with torch.no_grad():
        found = program.module()(*made)
        layers = Layers(exported.exported_program)
        if job["layers"]:
            layers.run(*made)
    outputs = found if isinstance(found, tuple | list) else [found]
    given = [v.name for v in exported.model.graph.inputs]
    results = [v.name for v in exported.model.graph.outputs]
    np.savez(folder / "values.npz", **layers.values,   # type: ignore[arg-type]
             **{f"in:{n}": x.numpy() for n, x in zip(given, made, strict=True)},
             **{f"out:{n}": x.numpy() for n, x in zip(results, outputs, strict=True)})
    (folder / "report.json").write_text(json.dumps({
        "by": f"PyTorch {torch.__version__}", "modules": modules(exported.exported_program)}))


if __name__ == "__main__":
    main()
