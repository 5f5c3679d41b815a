# SPDX-License-Identifier: Apache-2.0
"""The Open Inference Protocol v2 and its extensions, as far as REST and gRPC say the same."""

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import numpy as np

from makalu.serve.fronts.tensors import bad, datatype_of
from makalu.serve.requests import Failure, Reply, Request, ServeError, Totals
from makalu.serve.service import Service
from makalu.serve.tenants import Tenant
from makalu.serve.view import Served
from runtime.ports import Port

SERVER: dict[str, Any] = {
    "name": "makalu", "version": version("makalu"),
    "extensions": ["binary_tensor_data", "model_configuration", "model_repository", "parameters",
                   "statistics"]}
"""Metadata of the server."""


def no_shared_memory() -> ServeError:
    """What is said to all requests about shared memory."""
    return ServeError(Failure.NOT_DONE, "tensors in shared memory are not supported; send them in "
                      "the request")


def request(model: str, version: str, inputs: dict[str, np.ndarray], outputs: tuple[str, ...],
            id: str, parameters: Mapping[str, Any]) -> Request:
    """A request with its parameters: ``timeout`` in microseconds, ``lease``. A priority is the
    lease's; others are ignored, as the protocol has it."""
    timeout, lease = parameters.get("timeout", 0), parameters.get("lease", "")
    if type(timeout) is not int or timeout < 0:
        raise bad(f"parameter 'timeout' is {timeout!r}; it is a number of microseconds, and 0 for "
                  "none")
    if not isinstance(lease, str):
        raise bad(f"parameter 'lease' is {lease!r}; it is the id of a lease")
    if parameters.get("sequence_id"):
        raise bad("models here keep no state between requests; send no 'sequence_id'")
    return Request(model, inputs, version, outputs, id, timeout / 1e6 if timeout else None, lease)


def parameters(reply: Reply) -> dict[str, str | int]:
    """What a reply says of itself: which program gave it, its cycles, and the microseconds that it
    waited and that its executions took in the device's process."""
    return {"program": reply.program, "cycles": reply.cycles,
            "queue_us": round(reply.queued * 1e6), "device_us": round(reply.ran * 1e6)}


def check(name: str, parameters: Mapping[str, Any]) -> None:
    """Refuse what a tensor's parameters ask for and this server does not do."""
    if "shared_memory_region" in parameters:
        raise no_shared_memory()
    if parameters.get("classification"):
        raise bad(f"output {name!r}: classification is not supported; take the largest of the "
                  "output's elements")


def once(name: str, known: Mapping[str, Any]) -> None:
    """Refuse a second tensor of one name."""
    if name in known:
        raise bad(f"tensor {name!r} is given twice; send each input once")


def metadata(model: Served) -> dict[str, Any]:
    """Metadata of a model; a dimension that takes any number is -1."""
    return {"name": model.name, "versions": [model.version], "platform": "makalu",
            "inputs": [_tensor(p) for p in model.inputs],
            "outputs": [_tensor(p) for p in model.outputs]}


def config(model: Served) -> dict[str, Any]:
    """Triton's configuration of a model. Its dimensions leave out the batch where all tensors have
    one; then ``max_batch_size`` is the largest that the model is compiled for. The parameters have
    the cost of an execution on each machine, by batch: ``cycles_core256_4``."""
    ports = model.inputs + model.outputs
    batched = all(p.shape and not p.shape[0] for p in ports)

    def entry(port: Port) -> dict[str, Any]:
        datatype = datatype_of(port.dtype)
        return {"name": port.name, "data_type": f"TYPE_{datatype}",
                "dims": _dims(port.shape[1:] if batched else port.shape)}

    described = {"program": model.program, **{
        f"{key}_{cost['config']}_{cost['batch']}": str(cost[key]) for cost in model.costs
        for key in ("cycles", "microseconds", "moved_bytes", "held_bytes")}}
    return {"name": model.name, "platform": "makalu", "backend": "makalu",
            "version_policy": {"latest": {"num_versions": 1}},
            "max_batch_size": max(model.batches) if batched else 0,
            "input": [entry(p) for p in model.inputs],
            "output": [entry(p) for p in model.outputs],
            **({"dynamic_batching": {"preferred_batch_size": list(model.batches)}}
               if batched else {}),
            "parameters": {key: {"string_value": text} for key, text in described.items()}}


def statistics(totals: Mapping[Served, Totals]) -> dict[str, Any]:
    """Triton's statistics. Reading and writing tensors is part of the inference."""
    def time(count: int, seconds: float = 0.0) -> dict[str, int]:
        return {"count": count, "ns": round(seconds * 1e9)}

    return {"model_stats": [
        {"name": model.name, "version": model.version, "last_inference": round(total.last * 1e3),
         "inference_count": total.elements, "execution_count": total.executions,
         "inference_stats": {
             "success": time(total.answered, total.queued + total.ran),
             "fail": time(total.failed),
             "queue": time(total.answered, total.queued),
             "compute_input": time(total.answered),
             "compute_infer": time(total.answered, total.ran),
             "compute_output": time(total.answered),
             "cache_hit": time(0), "cache_miss": time(0)},
         "batch_stats": []} for model, total in totals.items()]}


def index(service: Service, tenant: Tenant, ready: bool) -> list[dict[str, str]]:
    """What the repository has, or what of it is ready."""
    return [{"name": e.name, "version": e.version, "state": e.state, "reason": e.reason}
            for e in service.index(tenant) if e.state == "READY" or not ready]


async def load(service: Service, tenant: Tenant, model: str, parameters: Mapping[str, Any]) -> None:
    """Load a model; its configuration is its folder's."""
    if parameters:
        raise bad("a model is loaded as its folder has it; send no "
                  + ", ".join(sorted(parameters)) + ", change the folder")
    await service.load(tenant, model)


def _tensor(port: Port) -> dict[str, Any]:
    return {"name": port.name, "datatype": datatype_of(port.dtype), "shape": _dims(port.shape)}


def _dims(shape: tuple[int, ...]) -> list[int]:
    return [d or -1 for d in shape]
