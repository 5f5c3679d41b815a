# SPDX-License-Identifier: Apache-2.0
"""The server that the suite asks: ``MAKALU_V2`` has its addresses of HTTP and gRPC, or it is the
protocols of this project before functions of numpy."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import tritonclient.grpc
import tritonclient.http

from tests.makalu.serve.conformance.arithmetic import ACCESS
from tests.makalu.serve.fronts.conftest import served  # noqa: F401
from tests.makalu.serve.fronts.stand_in import TOKEN

ADDRESSES = "MAKALU_V2"


@dataclass(frozen=True)
class Stock:
    """A protocol's client and its module."""

    client: Any
    module: Any

    def headers(self) -> dict[str, str]:
        """Tokens of either server, fresh: clients add their own headers to them."""
        return {"authorization": f"Bearer {TOKEN}", "triton-access-token": ACCESS,
                "triton-grpc-protocol-triton-access-token": ACCESS}


@pytest.fixture(scope="session")
def addresses(request: pytest.FixtureRequest) -> list[str]:
    """Of HTTP and gRPC."""
    if ADDRESSES in os.environ:
        return os.environ[ADDRESSES].split()
    here = request.getfixturevalue("served")
    return [f"127.0.0.1:{here.http}", f"127.0.0.1:{here.grpc}"]


@pytest.fixture(scope="session")
def wrong() -> set[int]:
    """Statuses of HTTP for what is wrong: 400, and of Triton 2.51 also 500 where its JSON is."""
    return {400, 500} if ADDRESSES in os.environ else {400}


@pytest.fixture
def http(addresses: list[str]) -> Iterator[Stock]:
    """tritonclient over HTTP."""
    module = tritonclient.http
    with module.InferenceServerClient(addresses[0], network_timeout=20) as client:
        yield Stock(client, module)


@pytest.fixture
def grpc(addresses: list[str]) -> Iterator[Stock]:
    """tritonclient over gRPC."""
    module = tritonclient.grpc
    with module.InferenceServerClient(addresses[1]) as client:
        yield Stock(client, module)


@pytest.fixture(params=["http", "grpc"])
def stock(request: pytest.FixtureRequest) -> Stock:
    """Either."""
    return request.getfixturevalue(request.param)
