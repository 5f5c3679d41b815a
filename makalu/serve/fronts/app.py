# SPDX-License-Identifier: Apache-2.0
"""All protocols of HTTP in one application."""

import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema
from starlette.exceptions import HTTPException

from makalu.serve.fronts import admin, errors, page, sagemaker, tfserving, v2_rest
from makalu.serve.fronts.body import Guard, Limits
from makalu.serve.fronts.tensors import bad
from makalu.serve.fronts.text import Texts
from makalu.serve.fronts.v2 import SERVER
from makalu.serve.service import Service


def application(service: Service, metrics: Callable[[], bytes], limits: Limits | None = None
                ) -> FastAPI:
    """REST of a service.

    Parameters
    ----------
    service : Service
    metrics : callable
        Gives Prometheus' text.
    limits : Limits, optional
        Of the requests' bodies.
    """
    app = FastAPI(title="Makalu", version=SERVER["version"], lifespan=_lifespan)
    app.state.service, app.state.metrics, app.state.texts = service, metrics, Texts()
    for front in (v2_rest, tfserving, sagemaker, admin, page):
        app.include_router(front.router)
    app.add_middleware(Guard, service=service, limits=limits or Limits())
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _refused)
    app.openapi = lambda: _described(app)   # type: ignore[method-assign]
    return app


@contextlib.asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    yield
    app.state.texts.close()


async def _invalid(http: Request, e: Exception) -> Response:
    """A body or a parameter that is not as the OpenAPI description says."""
    assert isinstance(e, RequestValidationError)
    return errors.reply(http.url.path, bad(f"the request is not as it should be: "
                                           f"{v2_rest.said(e.errors())}; see /openapi.json"))


async def _refused(http: Request, e: Exception) -> Response:
    """A path or a method that there is not."""
    assert isinstance(e, HTTPException)
    text = f"{http.method} {http.url.path}: {e.detail}; /docs has all paths and their methods"
    return errors.plain(http.url.path, e.status_code, "NOT_FOUND", text, dict(e.headers or {}))


def _described(app: FastAPI) -> dict[str, Any]:
    """OpenAPI, with the bodies that handlers read themselves."""
    if not app.openapi_schema:
        described = get_openapi(title=app.title, version=app.version, routes=app.routes)
        _, models = models_json_schema(
            [(model, "validation") for model in (v2_rest.InferRequest, tfserving.PredictRequest)],
            ref_template="#/components/schemas/{model}")
        described["components"]["schemas"].update(models["$defs"])
        app.openapi_schema = described
    return app.openapi_schema
