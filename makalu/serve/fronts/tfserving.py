# SPDX-License-Identifier: Apache-2.0
"""TensorFlow Serving's REST: status, metadata and predictions of models.

Row format: ``instances`` is a list of elements, each the value of the only input or an object of
values by input; the reply's ``predictions`` likewise. Columnar: ``inputs`` is the batch of the only
input or an object of batches; the reply's ``outputs`` likewise.
"""

from typing import Any

import numpy as np
from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict

from makalu.serve.fronts.caller import ERRORS, Calling, headers
from makalu.serve.fronts.tensors import bad, cast, datatype_of
from makalu.serve.requests import Failure, Reply, Request, ServeError
from makalu.serve.view import Served
from runtime.ports import Port

SIGNATURE = "serving_default"

STATES = {"READY": "AVAILABLE", "LOADING": "LOADING", "UNLOADED": "END", "UNAVAILABLE": "END"}

DT = {"BOOL": "DT_BOOL", "FP16": "DT_HALF", "BF16": "DT_BFLOAT16", "FP32": "DT_FLOAT",
      "FP64": "DT_DOUBLE"}
"""TensorFlow's names that differ from ``DT_`` and the protocol v2's."""


class PredictRequest(BaseModel):
    """``instances`` (row format) or ``inputs`` (columnar)."""

    signature_name: str = SIGNATURE
    instances: list[Any] | None = None
    inputs: list[Any] | dict[str, Any] | None = None


class PredictReply(BaseModel):
    """``predictions`` (row format) or ``outputs`` (columnar)."""

    predictions: list[Any] | None = None
    outputs: list[Any] | dict[str, Any] | None = None


class Status(BaseModel):
    """OK, or why a version is not served."""

    model_config = ConfigDict(extra="forbid")

    error_code: str
    error_message: str


class VersionStatus(BaseModel):
    """A version of a model."""

    version: str
    state: str
    status: Status


class ModelStatus(BaseModel):
    """All versions of a model."""

    model_version_status: list[VersionStatus]


PREDICT: dict[str, Any] = {
    "response_model": PredictReply,
    "openapi_extra": {"requestBody": {"required": True, "content": {"application/json": {
        "schema": {"$ref": "#/components/schemas/PredictRequest"}}}}}}
"""How a prediction is described."""

router = APIRouter(prefix="/v1/models", responses=ERRORS, tags=["TensorFlow Serving"])


@router.get("/{model}")
@router.get("/{model}/versions/{version}")
async def status(by: Calling, model: str, version: str = "") -> ModelStatus:
    """The state of each version."""
    found = [e for e in by.service.index(by.tenant)
             if e.name == model and version in ("", e.version)]
    if not found:
        raise ServeError(Failure.NOT_FOUND, f"there is no model {model!r}"
                         + f" of version {version!r}" * bool(version)
                         + "; POST /v2/repository/index lists what there is")
    return ModelStatus(model_version_status=[
        VersionStatus(version=e.version, state=STATES[e.state], status=Status(
            error_code="UNKNOWN" if e.reason else "OK", error_message=e.reason)) for e in found])


@router.get("/{model}/metadata")
@router.get("/{model}/versions/{version}/metadata")
async def metadata(by: Calling, model: str, version: str = "") -> dict[str, Any]:
    """The signature of a model."""
    served = by.service.model(by.tenant, model, version)
    signature = {"inputs": {p.name: _tensor(p) for p in served.inputs},
                 "outputs": {p.name: _tensor(p) for p in served.outputs},
                 "method_name": "tensorflow/serving/predict"}
    return {"model_spec": {"name": served.name, "signature_name": "", "version": served.version},
            "metadata": {"signature_def": {"signature_def": {SIGNATURE: signature}}}}


@router.post("/{model}:predict", **PREDICT)
@router.post("/{model}/versions/{version}:predict", **PREDICT)
async def predict(by: Calling, model: str, version: str = "") -> Response:
    """Answer a prediction."""
    return await answer(by, model, version, await by.texts.read(await by.http.body()))


async def answer(by: Calling, model: str, version: str, asked: Any) -> Response:
    """Answer the JSON of a prediction."""
    served = by.service.model(by.tenant, model, version)
    inputs, rows = inputs_of(served, asked)
    return await say(by, await by.infer(Request(model, inputs, version, id=by.name())), rows)


async def say(by: Calling, reply: Reply, rows: bool) -> Response:
    """A reply in row format, or columnar."""
    said = {"predictions": _rows(reply)} if rows else {"outputs": _alone(reply.outputs)}
    return Response(await by.texts.write(said), media_type="application/json",
                    headers=headers(reply))


def inputs_of(served: Served, asked: Any) -> tuple[dict[str, np.ndarray], bool]:
    """Inputs of a request, and whether it is in row format."""
    if not isinstance(asked, dict) or ("instances" in asked) == ("inputs" in asked):
        raise bad("the body has to be an object with either 'instances' (row format) or 'inputs' "
                  "(columnar)")
    signature = asked.get("signature_name", SIGNATURE)
    if signature not in (SIGNATURE, ""):
        raise bad(f"there is no signature {signature!r}; models here have {SIGNATURE!r} alone")
    rows = "instances" in asked
    given = _columns(asked["instances"]) if rows else asked["inputs"]
    if not isinstance(given, dict):
        if len(served.inputs) != 1:
            raise bad(f"model {served.name!r} has several inputs; send an object of values by "
                      "input: " + ", ".join(p.name for p in served.inputs))
        given = {served.inputs[0].name: given}
    names = {p.name for p in served.inputs}
    if "b64" in given.keys() - names:
        raise _coded("instances")
    if names != given.keys():
        raise bad(f"model {served.name!r} takes {', '.join(sorted(names))}, and "
                  f"{', '.join(sorted(given)) or 'nothing'} came; send every input once")
    return {port.name: _array(port, given[port.name]) for port in served.inputs}, rows


def _columns(instances: Any) -> Any:
    """Batches of rows: as they are, or by input where rows are objects."""
    if isinstance(instances, np.ndarray):
        return instances
    if not isinstance(instances, list):
        raise bad("'instances' has to be a list, of one value for each element")
    if not any(isinstance(row, dict) for row in instances):
        return instances
    names = instances[0].keys() if isinstance(instances[0], dict) else ()
    if any(not isinstance(row, dict) or row.keys() != names for row in instances):
        raise bad("instances name different inputs; give every one the same")
    return {name: [row[name] for row in instances] for name in names}


def _array(port: Port, values: Any) -> np.ndarray:
    if isinstance(values, dict) or isinstance(values, list) and any(
            isinstance(value, dict) for value in values):
        raise _coded(port.name)
    return cast(port.name, values, port.dtype)


def _coded(name: str) -> ServeError:
    return bad(f"{name}: base64 ('b64') and other objects are not supported; send lists of numbers")


def _alone(values: dict[str, Any]) -> Any:
    """The value of the only output, or all by name."""
    return next(iter(values.values())) if len(values) == 1 else values


def _rows(reply: Reply) -> Any:
    if len(reply.outputs) == 1:
        return _alone(reply.outputs)
    if len({array.shape[:1] for array in reply.outputs.values()}) > 1:
        raise bad(f"outputs of model {reply.model!r} count different things along their first "
                  "axes, and have no row format; send columnar 'inputs'")
    return [dict(zip(reply.outputs, row)) for row in zip(*reply.outputs.values(), strict=True)]


def _tensor(port: Port) -> dict[str, Any]:
    name = datatype_of(port.dtype)
    return {"name": port.name, "dtype": DT.get(name, f"DT_{name}"),
            "tensor_shape": {"dim": [{"size": str(d or -1), "name": ""} for d in port.shape],
                             "unknown_rank": False}}
