# SPDX-License-Identifier: Apache-2.0
"""Several at the same time, or one alone."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Company:
    """Lets in whoever does not mind others; who wants to be alone comes in when all have left, and
    before those that come later."""

    def __init__(self) -> None:
        self._door = asyncio.Lock()
        self._inside = 0
        self._left = asyncio.Event()

    @asynccontextmanager
    async def among_others(self) -> AsyncIterator[None]:
        """Be there, with others that are."""
        async with self._door:
            self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1
            self._left.set()

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """Be there alone."""
        async with self._door:
            while self._inside:
                self._left.clear()
                await self._left.wait()
            yield
