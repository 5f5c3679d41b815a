# SPDX-License-Identifier: Apache-2.0
"""Open Inference Protocol v2 over gRPC.

The deadline of a call is its request's timeout; what waits is dropped when the client cancels. A
request that fails and is worth sending again has ``grpc-retry-pushback-ms`` in its trailing
metadata.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextvars import ContextVar
from dataclasses import replace
from functools import wraps
from typing import Any

import grpc
import numpy as np
from google.protobuf import json_format
from tritonclient.grpc import model_config_pb2, service_pb2, service_pb2_grpc

from makalu.serve.fronts import names, v2
from makalu.serve.fronts.tensors import bad, datatype_of, dtype_of, from_json, from_raw, to_raw
from makalu.serve.fronts.tokens import token
from makalu.serve.log import say
from makalu.serve.requests import Failure, Reply, Request, ServeError
from makalu.serve.service import Service
from makalu.serve.tenants import Tenant

log = logging.getLogger(__name__)

MESSAGE_BYTES = 64 << 20
"""A message, at most, unless it is said otherwise."""

STREAM_SECONDS, CALLS = 300.0, 512
"""Silence on a stream, and calls at once, at most, unless it is said otherwise."""

HANDSHAKE_MS = 10_000
"""Milliseconds within which a connection has to begin with HTTP/2."""

CONTENTS = {
    "BOOL": "bool_contents", "INT8": "int_contents", "INT16": "int_contents",
    "INT32": "int_contents", "INT64": "int64_contents", "UINT8": "uint_contents",
    "UINT16": "uint_contents", "UINT32": "uint_contents", "UINT64": "uint64_contents",
    "FP32": "fp32_contents", "FP64": "fp64_contents",
}
"""Where a tensor's elements are, if they are not raw."""

NAMED: ContextVar[str] = ContextVar("NAMED", default="")
"""Name of the call that is answered; a stream has none, but its requests have."""

Method = Callable[[Any, Any, Any], Awaitable[Any]]


def _answered(method: Method) -> Method:
    """A method whose ServeError, or whatever it raises, becomes a status. The request's name is in
    the trailing metadata."""
    @wraps(method)
    async def answer(self: Any, message: Any, context: Any) -> Any:
        sent = dict(context.invocation_metadata() or ())
        name = names.given(sent, getattr(message, "id", "")) or names.fresh()
        NAMED.set(name)
        context.set_trailing_metadata(((names.HEADER, name),))
        try:
            return await method(self, message, context)
        except ServeError as e:
            if not e.logged:
                say("refused", id=name, method=method.__name__, status=e.failure.name,
                    reason=str(e))
            await _abort(context, e)
        except Exception as e:
            await _abort(context, _hidden(e))
    return answer


async def _abort(context: Any, error: ServeError) -> None:
    trailing = [(names.HEADER, NAMED.get())] if NAMED.get() else []
    if error.retry_after is not None:
        trailing.append(("grpc-retry-pushback-ms", str(round(error.retry_after * 1e3))))
    await context.abort(getattr(grpc.StatusCode, error.failure.grpc), str(error), tuple(trailing))


def _hidden(e: Exception) -> ServeError:
    """What a client is told of an error that nobody expected."""
    name = NAMED.get() or names.fresh()
    log.error("request %s failed", name, exc_info=e)
    return ServeError(Failure.BROKEN, f"the server failed at request {name}; its log says where: "
                      "send this name to who runs it")


class Servicer(service_pb2_grpc.GRPCInferenceServiceServicer):
    """The protocol's methods for a service; streams on which nothing comes for so many seconds are
    ended."""

    def __init__(self, service: Service, stream_seconds: float):
        self._service, self._stream_seconds = service, stream_seconds

    def _tenant(self, context: Any) -> Tenant:
        sent = dict(context.invocation_metadata() or ())
        return self._service.tenant(token(sent.get("authorization")))

    @_answered
    async def ServerLive(self, message: Any, context: Any) -> Any:
        return service_pb2.ServerLiveResponse(live=True)

    @_answered
    async def ServerReady(self, message: Any, context: Any) -> Any:
        return service_pb2.ServerReadyResponse(ready=self._service.ready)

    @_answered
    async def ServerMetadata(self, message: Any, context: Any) -> Any:
        return service_pb2.ServerMetadataResponse(**v2.SERVER)

    @_answered
    async def ModelReady(self, message: Any, context: Any) -> Any:
        tenant = self._tenant(context)
        try:
            self._service.model(tenant, message.name, message.version)
        except ServeError:
            return service_pb2.ModelReadyResponse(ready=False)
        return service_pb2.ModelReadyResponse(ready=True)

    @_answered
    async def ModelMetadata(self, message: Any, context: Any) -> Any:
        model = self._service.model(self._tenant(context), message.name, message.version)
        return service_pb2.ModelMetadataResponse(**v2.metadata(model))

    @_answered
    async def ModelConfig(self, message: Any, context: Any) -> Any:
        model = self._service.model(self._tenant(context), message.name, message.version)
        config = json_format.ParseDict(v2.config(model), model_config_pb2.ModelConfig())
        return service_pb2.ModelConfigResponse(config=config)

    @_answered
    async def ModelStatistics(self, message: Any, context: Any) -> Any:
        totals = self._service.totals(self._tenant(context), message.name, message.version)
        return json_format.ParseDict(v2.statistics(totals), service_pb2.ModelStatisticsResponse())

    @_answered
    async def RepositoryIndex(self, message: Any, context: Any) -> Any:
        models = v2.index(self._service, self._tenant(context), message.ready)
        return service_pb2.RepositoryIndexResponse(models=models)

    @_answered
    async def RepositoryModelLoad(self, message: Any, context: Any) -> Any:
        await v2.load(self._service, self._tenant(context), message.model_name, message.parameters)
        return service_pb2.RepositoryModelLoadResponse()

    @_answered
    async def RepositoryModelUnload(self, message: Any, context: Any) -> Any:
        await self._service.unload(self._tenant(context), message.model_name)
        return service_pb2.RepositoryModelUnloadResponse()

    @_answered
    async def ModelInfer(self, message: Any, context: Any) -> Any:
        return await self._infer(self._tenant(context), message, context.time_remaining())

    async def ModelStreamInfer(self, messages: AsyncIterator[Any], context: Any
                               ) -> AsyncIterator[Any]:
        """Requests of a stream one after the other; what fails does not end it, but silence."""
        try:
            tenant = self._tenant(context)
        except ServeError as e:
            await _abort(context, e)
        while True:
            try:
                async with asyncio.timeout(self._stream_seconds):
                    message = await anext(messages)
            except StopAsyncIteration:
                return
            except TimeoutError:
                await _abort(context, ServeError(
                    Failure.EXPIRED, f"nothing came on the stream for {self._stream_seconds:g} s; "
                    "open it again when there is a request"))
            try:
                reply = await self._infer(tenant, message, context.time_remaining())
                reply.parameters["triton_final_response"].bool_param = True
                yield service_pb2.ModelStreamInferResponse(infer_response=reply)
            except ServeError as e:
                yield _failed(message, e)
            except Exception as e:
                yield _failed(message, _hidden(e))

    async def _infer(self, tenant: Tenant, message: Any, remaining: float | None) -> Any:
        request = _request(message)
        times = [t for t in (request.timeout, remaining) if t is not None]
        request = replace(request, timeout=min(times, default=None))
        reply = await self._service.infer(tenant, request)
        return _message(reply, message.id)


async def _no_shared_memory(self: Any, message: Any, context: Any) -> Any:
    raise v2.no_shared_memory()


for _name in ("Status", "Register", "Unregister"):
    for _kind in ("System", "Cuda"):
        setattr(Servicer, f"{_kind}SharedMemory{_name}", _answered(_no_shared_memory))


def _request(message: Any) -> Request:
    inputs: dict[str, np.ndarray] = {}
    raws = message.raw_input_contents
    if raws and len(raws) != len(message.inputs):
        raise bad(f"{len(message.inputs)} inputs and {len(raws)} raw_input_contents came; send one "
                  "for each input, or none")
    for tensor, raw in zip(message.inputs, raws or [None] * len(message.inputs), strict=True):
        v2.check(tensor.name, _plain(tensor.parameters))
        v2.once(tensor.name, inputs)
        inputs[tensor.name] = _array(tensor, raw)
    for wanted in message.outputs:
        v2.check(wanted.name, _plain(wanted.parameters))
    name = NAMED.get() or names.given({}, message.id) or names.fresh()
    return v2.request(message.model_name, message.model_version, inputs,
                      tuple(wanted.name for wanted in message.outputs), name,
                      _plain(message.parameters))


def _array(tensor: Any, raw: bytes | None) -> np.ndarray:
    name, datatype = tensor.name, tensor.datatype
    if raw is None:
        dtype_of(name, datatype)
        if datatype not in CONTENTS:
            raise bad(f"tensor {name!r}: contents have no {datatype}; send raw_input_contents")
        return from_json(name, datatype, tensor.shape, list(getattr(tensor.contents,
                                                                    CONTENTS[datatype])))
    if tensor.HasField("contents"):
        raise bad(f"tensor {name!r} has contents, and raw_input_contents came; send one of them")
    return from_raw(name, datatype, tensor.shape, raw)


def _plain(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters as Python's values."""
    plain = {}
    for name, parameter in parameters.items():
        field = parameter.WhichOneof("parameter_choice")
        plain[name] = getattr(parameter, field) if field else None
    return plain


def _message(reply: Reply, id: str) -> Any:
    message = service_pb2.ModelInferResponse(model_name=reply.model, model_version=reply.version,
                                             id=id)
    for name, value in v2.parameters(reply).items():
        field = "string_param" if isinstance(value, str) else "int64_param"
        setattr(message.parameters[name], field, value)
    for name, array in reply.outputs.items():
        message.outputs.add(name=name, datatype=datatype_of(array.dtype), shape=array.shape)
        message.raw_output_contents.append(bytes(to_raw(array)))
    return message


def _failed(message: Any, error: ServeError) -> Any:
    """The reply to a request of a stream that failed."""
    reply = service_pb2.ModelStreamInferResponse(error_message=str(error))
    reply.infer_response.id = message.id
    return reply


def server(service: Service, message_bytes: int = MESSAGE_BYTES,
           stream_seconds: float = STREAM_SECONDS, calls: int = CALLS) -> grpc.aio.Server:
    """A server without an address yet: add a port and start it.

    Parameters
    ----------
    service : Service
    message_bytes : int
        A message, at most.
    stream_seconds : float
        Silence of a client after which its stream is ended.
    calls : int
        Calls and streams at once; more are refused.
    """
    made = grpc.aio.server(maximum_concurrent_rpcs=calls, options=[
        ("grpc.max_receive_message_length", message_bytes), ("grpc.max_send_message_length", -1),
        ("grpc.so_reuseport", 0), ("grpc.server_handshake_timeout_ms", HANDSHAKE_MS)])
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(
        Servicer(service, stream_seconds), made)
    return made
