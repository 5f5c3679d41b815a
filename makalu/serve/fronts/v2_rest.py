# SPDX-License-Identifier: Apache-2.0
"""Open Inference Protocol v2 over REST, with the extensions for binary tensors, configuration,
statistics and the repository of models.

A binary body is the request's JSON, as long as ``Inference-Header-Content-Length`` says, and then
the bytes of those inputs whose parameters have a ``binary_data_size``, in their order. Inputs are
views of the body; outputs are copied once, into the reply.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Body, Request, Response
from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.types import Receive, Scope, Send

from makalu.serve.fronts import v2
from makalu.serve.fronts.caller import ERRORS, Calling, headers, probe
from makalu.serve.fronts.tensors import bad, datatype_of, from_json, from_raw, to_raw
from makalu.serve.requests import Reply

LENGTH = "inference-header-content-length"

JSON = "application/json"

BINARY = "application/octet-stream"


class Pieces(Response):
    """A binary reply that is sent piece by piece, and never put together."""

    def __init__(self, pieces: Sequence[bytes | memoryview], headers: Mapping[str, str]):
        length = str(sum(map(len, pieces)))
        super().__init__(headers={**headers, "content-length": length}, media_type=BINARY)
        self._pieces = pieces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        await send({"type": "http.response.start", "status": self.status_code,
                    "headers": self.raw_headers})
        for k, piece in enumerate(self._pieces, 1):
            await send({"type": "http.response.body", "body": piece,
                        "more_body": k < len(self._pieces)})


class Strict(BaseModel):
    """JSON of exactly these types, whatever else is in it."""

    model_config = ConfigDict(strict=True)


class InputTensor(Strict):
    """An input; without ``data`` where it follows in binary."""

    name: str
    datatype: str
    shape: list[int]
    parameters: dict[str, Any] = {}
    data: Any = None


class WantedTensor(Strict):
    """An output to be sent."""

    name: str
    parameters: dict[str, Any] = {}


class InferRequest(Strict):
    """An inference."""

    id: str = ""
    parameters: dict[str, Any] = {}
    inputs: list[InputTensor]
    outputs: list[WantedTensor] = []


class OutputTensor(BaseModel):
    """An output; without ``data`` where it follows in binary."""

    name: str
    datatype: str
    shape: list[int]
    parameters: dict[str, Any] = {}
    data: list[Any] = []


class InferReply(BaseModel):
    """The outputs; ``parameters.program`` is the hash of the program that made them."""

    id: str = ""
    model_name: str
    model_version: str
    parameters: dict[str, Any]
    outputs: list[OutputTensor]


class Server(BaseModel):
    """The server."""

    name: str
    version: str
    extensions: list[str]


class TensorMetadata(BaseModel):
    """A tensor of a model; a dimension that takes any number is -1."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(BaseModel):
    """A model; the parameters have its program and what an execution costs (``costs``)."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]
    parameters: dict[str, Any] = {}


class IndexRequest(Strict):
    """Which versions to list."""

    ready: bool = False


class IndexEntry(BaseModel):
    """A version of a model in the repository."""

    name: str
    version: str
    state: str
    reason: str


class ChangeRequest(Strict):
    """How to load or unload; there is nothing to choose."""

    parameters: dict[str, Any] = {}


INFER: dict[str, Any] = {
    "response_model": InferReply, "responses": {200: {"content": {BINARY: {}}}},
    "openapi_extra": {"requestBody": {"required": True, "content": {
        JSON: {"schema": {"$ref": "#/components/schemas/InferRequest"}},
        BINARY: {"schema": {"type": "string", "format": "binary"}}}}}}
"""How an inference is described."""

router = APIRouter(prefix="/v2", responses=ERRORS, tags=["Open Inference Protocol v2"],
                   strict_content_type=False)   # tritonclient sends JSON without its type


@router.get("/health/live", response_class=Response)
async def live() -> Response:
    """Whether the server runs."""
    return Response()


@router.get("/health/ready", response_class=Response)
async def ready(http: Request) -> Response:
    """Whether the server answers inferences."""
    return probe(http)


@router.get("")
async def server() -> Server:
    """Metadata of the server."""
    return Server(**v2.SERVER)


@router.get("/models/stats")
@router.get("/models/{model}/stats")
@router.get("/models/{model}/versions/{version}/stats")
async def stats(by: Calling, model: str = "", version: str = "") -> dict[str, Any]:
    """Statistics of a model, or of all."""
    return v2.statistics(by.service.totals(by.tenant, model, version))


@router.get("/models/{model}/ready", response_class=Response)
@router.get("/models/{model}/versions/{version}/ready", response_class=Response)
async def model_ready(by: Calling, model: str, version: str = "") -> Response:
    """Whether a model is served."""
    by.service.model(by.tenant, model, version)
    return Response()


@router.get("/models/{model}/config")
@router.get("/models/{model}/versions/{version}/config")
async def config(by: Calling, model: str, version: str = "") -> dict[str, Any]:
    """Configuration of a model."""
    return v2.config(by.service.model(by.tenant, model, version))


@router.get("/models/{model}")
@router.get("/models/{model}/versions/{version}")
async def metadata(by: Calling, model: str, version: str = "") -> ModelMetadata:
    """Metadata of a model."""
    served = by.service.model(by.tenant, model, version)
    return ModelMetadata(**v2.metadata(served), parameters={"program": served.program,
                                                            "costs": served.costs})


@router.post("/repository/index")
async def index(by: Calling, body: Annotated[IndexRequest | None, Body()] = None
                ) -> list[IndexEntry]:
    """All versions of all models."""
    ready = body is not None and body.ready
    return [IndexEntry(**e) for e in v2.index(by.service, by.tenant, ready)]


@router.post("/repository/models/{model}/load", response_class=Response)
async def load(by: Calling, model: str, body: Annotated[ChangeRequest | None, Body()] = None
               ) -> Response:
    """Read a model's folder again and serve what it has."""
    await v2.load(by.service, by.tenant, model, body.parameters if body else {})
    return Response()


@router.post("/repository/models/{model}/unload", response_class=Response)
async def unload(by: Calling, model: str, body: Annotated[ChangeRequest | None, Body()] = None
                 ) -> Response:
    """Stop serving a model."""
    await by.service.unload(by.tenant, model)
    return Response()


@router.post("/models/{model}/infer", **INFER)
@router.post("/models/{model}/versions/{version}/infer", **INFER)
async def infer(by: Calling, model: str, version: str = "") -> Response:
    """Answer an inference."""
    return await answer(by, model, version, by.http.headers.get(LENGTH))


async def answer(by: Calling, model: str, version: str, length: str | None) -> Response:
    """Answer a body whose JSON ends after ``length`` bytes, or is all of it."""
    body = await by.http.body()
    end = len(body) if length is None else _end(length, len(body))
    return await answer_json(by, model, version, await by.texts.read(body[:end]),
                             memoryview(body)[end:])


async def answer_json(by: Calling, model: str, version: str, value: Any, raw: memoryview
                      ) -> Response:
    """Answer the JSON of a request, and what follows it."""
    asked = parsed(value)
    inputs = inputs_of(asked, raw)
    for wanted in asked.outputs:
        v2.check(wanted.name, wanted.parameters)
    reply = await by.infer(v2.request(model, version, inputs,
                                      tuple(wanted.name for wanted in asked.outputs),
                                      by.name(asked.id), asked.parameters))
    every = asked.parameters.get("binary_data_output", False)
    chosen = {wanted.name: wanted.parameters.get("binary_data", every) for wanted in asked.outputs}
    raws = {name: to_raw(array) for name, array in reply.outputs.items() if chosen.get(name, every)}
    text = await by.texts.write(_said(reply, asked.id, raws))
    if not raws:
        return Response(text, media_type=JSON, headers=headers(reply))
    return Pieces((text, *raws.values()), {**headers(reply), LENGTH: str(len(text))})


def parsed(value: Any) -> InferRequest:
    """A request of its JSON."""
    try:
        return InferRequest.model_validate(value)
    except ValidationError as e:
        raise bad(f"the request does not follow the protocol: {said(e.errors())}; its schema is in "
                  "/openapi.json") from None


def said(found: Any) -> str:
    """The first of pydantic's errors, with its place."""
    return f"{'.'.join(map(str, found[0]['loc'])) or 'body'}: {found[0]['msg']}"


def _end(length: str, size: int) -> int:
    if not (length.isascii() and length.isdigit() and int(length) <= size):
        raise bad(f"Inference-Header-Content-Length is {length!r}, the body has {size} bytes; send "
                  "the number of bytes of its JSON")
    return int(length)


def inputs_of(asked: InferRequest, raw: memoryview) -> dict[str, np.ndarray]:
    """Inputs of a request; ``raw`` is what follows its JSON."""
    inputs: dict[str, np.ndarray] = {}
    at = 0
    for tensor in asked.inputs:
        v2.check(tensor.name, tensor.parameters)
        v2.once(tensor.name, inputs)
        size = tensor.parameters.get("binary_data_size")
        if size is None:
            inputs[tensor.name] = from_json(tensor.name, tensor.datatype, tensor.shape, tensor.data)
            continue
        if type(size) is not int or size < 0 or at + size > len(raw) or tensor.data is not None:
            raise bad(f"tensor {tensor.name!r}: binary_data_size is {size!r}, and "
                      f"{len(raw) - at} bytes follow; send either so many bytes after the JSON, or "
                      "data in it")
        inputs[tensor.name] = from_raw(tensor.name, tensor.datatype, tensor.shape,
                                       raw[at:at + size])
        at += size
    if at < len(raw):
        raise bad(f"{len(raw) - at} bytes follow the tensors; the binary_data_size of each input "
                  "has to say how many are its own")
    return inputs


def _said(reply: Reply, id: str, raws: Mapping[str, memoryview]) -> dict[str, Any]:
    """The reply's JSON, with the data of what is not sent in binary."""
    def entry(name: str, array: np.ndarray) -> dict[str, Any]:
        return {"name": name, "datatype": datatype_of(array.dtype), "shape": list(array.shape),
                **({"parameters": {"binary_data_size": len(raws[name])}} if name in raws
                   else {"data": array.reshape(-1)})}

    return {**({"id": id} if id else {}),
            "model_name": reply.model, "model_version": reply.version,
            "parameters": v2.parameters(reply),
            "outputs": [entry(name, array) for name, array in reply.outputs.items()]}


async def _no_shared_memory() -> Response:
    raise v2.no_shared_memory()


for _kind in ("systemsharedmemory", "cudasharedmemory"):
    router.add_api_route(f"/{_kind}/{{rest:path}}", _no_shared_memory, methods=["GET", "POST"],
                         include_in_schema=False)
del _kind
