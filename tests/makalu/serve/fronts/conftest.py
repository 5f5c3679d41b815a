# SPDX-License-Identifier: Apache-2.0
"""A stand-in of the service in a process of its own, and clients of it."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from tests.makalu.serve.fronts.stand_in import ADMIN, TOKEN


@dataclass(frozen=True)
class Served:
    """Where it is served."""

    http: int
    grpc: int

    def client(self, token: str = TOKEN, **more: Any) -> httpx.Client:
        """A client with a tenant's token."""
        return httpx.Client(base_url=f"http://127.0.0.1:{self.http}", timeout=10, trust_env=False,
                            headers={"authorization": f"Bearer {token}"} if token else {}, **more)


@pytest.fixture(scope="session")
def served() -> Iterator[Served]:
    with subprocess.Popen([sys.executable, "-m", "tests.makalu.serve.fronts.stand_in"], text=True,
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield Served(*map(int, process.stdout.readline().split()))
        process.communicate(timeout=15)
        assert process.returncode == 0


@pytest.fixture
def http(served: Served) -> Iterator[httpx.Client]:
    """A tenant's client."""
    with served.client() as client:
        yield client


@pytest.fixture
def admin(served: Served) -> Iterator[httpx.Client]:
    """An administrator's client."""
    with served.client(ADMIN) as client:
        yield client
