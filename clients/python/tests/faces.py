"""Both clients with one face, so that each test runs against both."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import previewd


class Blocking:
    """`AsyncClient`, each call run to its end."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        self._loop = asyncio.new_event_loop()
        self._client = previewd.AsyncClient(*arguments, **named)

    def close(self) -> None:
        self._loop.run_until_complete(self._client.close())
        self._loop.close()

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)

        def call(*arguments: Any, **named: Any) -> Any:
            result = method(*arguments, **named)
            if isinstance(result, AsyncIterator):
                return self._steps(result)
            return self._loop.run_until_complete(result) if asyncio.iscoroutine(result) else result

        return call

    def _steps(self, items: AsyncIterator[Any]) -> Iterator[Any]:
        while True:
            try:
                yield self._loop.run_until_complete(items.__anext__())
            except StopAsyncIteration:
                return


#: What makes a client, by name.
FACES: dict[str, Any] = {"blocking": previewd.Client, "asyncio": Blocking}
