# SPDX-License-Identifier: Apache-2.0
"""SageMaker's contract with containers, of one model and of several.

A body is JSON (of the Open Inference Protocol v2 or as TensorFlow Serving takes it), an array of
numpy (``application/x-npy``), or binary of the protocol v2, whose JSON's length is in the content
type, as Triton has it, or in a header. Without ``Accept`` the reply is of the request's form.
"""

import io
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Body, Header, Request, Response
from pydantic import BaseModel, ConfigDict

from makalu.serve import requests
from makalu.serve.fronts import tfserving, v2_rest
from makalu.serve.fronts.caller import Calling, headers, probe
from makalu.serve.fronts.tensors import DTYPES, NAMES, bad, cast, from_raw
from makalu.serve.requests import Failure, Reply, ServeError
from makalu.serve.view import Entry, Served

JSON, NPY = "application/json", "application/x-npy"

BINARY = "application/vnd.sagemaker-triton.binary+json"

SIZE = "json-header-size="
"""Parameter of :data:`BINARY`."""

INFER: dict[str, Any] = {
    "responses": {200: {"content": {JSON: {}, NPY: {}, v2_rest.BINARY: {}}}},
    "openapi_extra": {"requestBody": {"required": True, "content": {
        JSON: {"schema": {"anyOf": [{"$ref": "#/components/schemas/InferRequest"},
                                    {"$ref": "#/components/schemas/PredictRequest"}]}},
        NPY: {"schema": {"type": "string", "format": "binary"}},
        BINARY: {"schema": {"type": "string", "format": "binary"}}}}}}
"""How an inference is described."""


class Trouble(BaseModel):
    """Why a request is not answered."""

    code: int
    type: str
    message: str


class Loading(BaseModel):
    """A model; ``url`` is its folder in the repository, or ends in its name."""

    model_config = ConfigDict(strict=True)

    model_name: str
    url: str


class Loaded(BaseModel):
    """A model that is served."""

    modelName: str
    modelUrl: str


class AllLoaded(BaseModel):
    """All models that are served."""

    models: list[Loaded]


router = APIRouter(tags=["SageMaker"], responses={
    **{f.http: {"model": Trouble, "description": f.name.lower()} for f in Failure},
    "default": {"model": Trouble, "description": "not answered"}})


@router.get("/ping", response_class=Response)
async def ping(http: Request) -> Response:
    """Whether the server answers inferences."""
    return probe(http)


@router.post("/invocations", **INFER)
async def invocations(by: Calling, x_amzn_sagemaker_target_model: Annotated[str, Header()] = ""
                      ) -> Response:
    """Answer an inference of the only model, or of the one that the header names."""
    if x_amzn_sagemaker_target_model:
        return await _answer(by, x_amzn_sagemaker_target_model)
    names = {e.name for e in _served(by)}
    if len(names) != 1:
        raise bad(f"{len(names)} models are served: name one in the header "
                  "X-Amzn-SageMaker-Target-Model, or use /models/NAME/invoke")
    return await _answer(by, names.pop())


@router.get("/models")
async def models(by: Calling) -> AllLoaded:
    """All models that are served."""
    return AllLoaded(models=[_said(name) for name in dict.fromkeys(e.name for e in _served(by))])


@router.post("/models")
async def load(by: Calling, body: Annotated[Loading, Body()]) -> Loaded:
    """Load a model of the repository, or what SageMaker has put into a folder in it under a name of
    its own."""
    name, folder = body.model_name, Path(body.url)
    if _is_served(by, name):
        raise ServeError(Failure.CONFLICT, f"model {name!r} is loaded already; DELETE it first to "
                         "load it again")
    known = folder.name == name and name in {e.name for e in by.service.index(by.tenant)}
    await by.service.load(by.tenant, name, None if known else folder)
    return _said(name)


@router.get("/models/{name}")
async def model(by: Calling, name: str) -> Loaded:
    """Whether a model is served."""
    return _said(_loaded(by, name))


@router.delete("/models/{name}", response_class=Response)
async def unload(by: Calling, name: str) -> Response:
    """Stop serving a model."""
    await by.service.unload(by.tenant, _loaded(by, name))
    return Response()


@router.post("/models/{name}/invoke", **INFER)
async def invoke(by: Calling, name: str) -> Response:
    """Answer an inference of a model."""
    return await _answer(by, _loaded(by, name))


def _served(by: Calling) -> list[Entry]:
    return [e for e in by.service.index(by.tenant) if e.state in ("READY", "LOADING")]


def _is_served(by: Calling, name: str) -> bool:
    return any(e.name == name for e in _served(by))


def _loaded(by: Calling, name: str) -> str:
    if not _is_served(by, name):
        raise ServeError(Failure.NOT_FOUND, f"model {name!r} is not loaded; POST /models loads it")
    return name


def _said(name: str) -> Loaded:
    return Loaded(modelName=name, modelUrl=name)


async def _answer(by: Calling, name: str) -> Response:
    """The reply in the form that ``Accept`` names, of a body of its content type's form."""
    kind, _, parameter = by.http.headers.get("content-type", JSON).lower().partition(";")
    kind, parameter = kind.strip(), parameter.strip()
    length = by.http.headers.get(v2_rest.LENGTH)
    if kind == BINARY and parameter.startswith(SIZE):
        length = parameter.removeprefix(SIZE)
    if length is not None:
        return await v2_rest.answer(by, name, "", length)
    wanted = _wanted(by.http.headers.get("accept", ""), kind)
    served, body = by.service.model(by.tenant, name), await by.http.body()
    if kind == NPY:
        inputs = _of_npy(served, body)
    elif kind == JSON:
        asked = await by.texts.read(body)
        v2 = isinstance(asked, dict) and _is_v2(asked.get("inputs"))
        if wanted == JSON:
            return await (v2_rest.answer_json(by, name, "", asked, memoryview(b"")) if v2
                          else tfserving.answer(by, name, "", asked))
        inputs = v2_rest.inputs_of(v2_rest.parsed(asked), memoryview(b"")) if v2 \
            else tfserving.inputs_of(served, asked)[0]
    else:
        raise bad(f"the content type {kind!r} is not supported; send {JSON}, {NPY}, or {BINARY} "
                  f"with {SIZE}N")
    reply = await by.infer(requests.Request(name, inputs, id=by.name()))
    if wanted == JSON:
        return await tfserving.say(by, reply, rows=True)
    return Response(_npy(reply), media_type=NPY, headers=headers(reply))


def _wanted(accept: str, kind: str) -> str:
    """The form of a reply: the first of those accepted that there is."""
    accepted = [part.partition(";")[0].strip().lower() for part in accept.split(",")]
    for form in accepted:
        if form in ("", "*/*", "application/*"):
            return kind
        if form in (JSON, NPY):
            return form
    raise bad(f"no form of {accept!r} is supported; accept {JSON} or {NPY}")


def _is_v2(inputs: Any) -> bool:
    return isinstance(inputs, list) and any(isinstance(i, dict) and "datatype" in i for i in inputs)


def _of_npy(served: Served, body: bytes) -> dict[str, np.ndarray]:
    """The only input of a model from numpy's file; nothing in it is executed or unpickled."""
    if len(served.inputs) != 1:
        raise bad(f"model {served.name!r} has several inputs; send {JSON}")
    port, file = served.inputs[0], io.BytesIO(body)
    try:
        version = np.lib.format.read_magic(file)
        shape, fortran, dtype = (np.lib.format.read_array_header_1_0 if version == (1, 0)
                                 else np.lib.format.read_array_header_2_0)(file)
    except Exception as e:      # whatever Python's parser raises at the header
        raise bad(f"the body is no .npy file of version 1 or 2 ({e}); write it with numpy.save"
                  ) from None
    if dtype.newbyteorder("=") not in NAMES or dtype.byteorder == ">":
        raise bad(f"the array is of {dtype}; send little-endian numbers of one of "
                  + ", ".join(DTYPES))
    array = from_raw(port.name, NAMES[dtype], shape[::-1] if fortran else shape,
                     memoryview(body)[file.tell():])
    return {port.name: cast(port.name, array.T if fortran else array, port.dtype)}


def _npy(reply: Reply) -> bytes:
    if len(reply.outputs) != 1:
        raise bad(f"model {reply.model!r} has outputs {', '.join(reply.outputs)}, and {NPY} holds "
                  f"one array; accept {JSON}")
    file = io.BytesIO()
    np.save(file, next(iter(reply.outputs.values())), allow_pickle=False)
    return file.getvalue()
