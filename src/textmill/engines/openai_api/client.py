"""Bytes to a server and back, within limits: size, time, no redirects, certificates verified."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import textmill
from textmill.engines.openai_api.address import ServerAddress
from textmill.engines.openai_api.verdicts import Reply, Trouble

if TYPE_CHECKING:
    import httpx2

MAX_ANSWER_BYTES = 16 * 2**20
CONNECT_TIMEOUT_S = 10.0
LISTING_TIMEOUT_S = 30.0

_NO_PROXY = {"http://": None, "https://": None, "all://": None}
"""Whatever HTTP_PROXY says: it has no business between two programs of one machine."""


class Client:
    """Keeps up to `connections` connections to one server open. Used in one event loop."""

    def __init__(
        self,
        address: ServerAddress,
        *,
        api_key: str | None,
        timeout_s: float | None,
        connections: int,
    ) -> None:
        import httpx2

        self._address, self._timeout_s = address, timeout_s
        self._client = httpx2.AsyncClient(
            headers=_headers(api_key),
            timeout=httpx2.Timeout(timeout_s, connect=_shorter(CONNECT_TIMEOUT_S, timeout_s)),
            limits=httpx2.Limits(
                max_connections=connections, max_keepalive_connections=connections
            ),
            follow_redirects=False,
            mounts=_NO_PROXY if address.loopback else None,
        )

    async def complete(self, body: bytes) -> Reply | Trouble:
        """Send one request for completions and wait for the whole answer."""
        return await self._exchange("POST", self._address.url, body, self._timeout_s)

    async def models(self) -> Reply | Trouble:
        """Ask which models there are."""
        timeout_s = _shorter(LISTING_TIMEOUT_S, self._timeout_s)
        return await self._exchange("GET", f"{self._address.base}/models", None, timeout_s)

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    async def _exchange(
        self, method: str, url: str, body: bytes | None, timeout_s: float | None
    ) -> Reply | Trouble:
        import httpx2

        try:
            # httpx2's timeouts are of single reads: a server that drips would never meet them.
            async with (
                asyncio.timeout(timeout_s),
                self._client.stream(method, url, content=body) as response,
            ):
                return await _whole(response)
        except TimeoutError:
            return Trouble.TIMEOUT
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
            return _trouble(error)


def _shorter(limit_s: float, timeout_s: float | None) -> float:
    return limit_s if timeout_s is None else min(limit_s, timeout_s)


def _headers(api_key: str | None) -> dict[str, str]:
    headers = {
        "Accept": "application/json",
        "Accept-Encoding": "identity",  # the limit on an answer's size is to hold unpacked
        "Content-Type": "application/json",
        "User-Agent": f"textmill/{textmill.__version__}",
    }
    return headers | {"Authorization": f"Bearer {api_key}"} if api_key else headers


async def _whole(response: httpx2.Response) -> Reply | Trouble:
    chunks, size = [], 0
    async for chunk in response.aiter_raw():
        chunks.append(chunk)
        size += len(chunk)
        if size > MAX_ANSWER_BYTES:
            return Trouble.TOO_LARGE
    headers: Mapping[str, str] = {k.lower(): v for k, v in response.headers.items()}
    return Reply(response.status_code, headers, b"".join(chunks))


def _trouble(error: Exception) -> Trouble:
    import httpx2

    if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in _causes(error)):
        return Trouble.UNTRUSTED
    if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.ProxyError):
        return Trouble.UNREACHABLE
    return Trouble.TIMEOUT if isinstance(error, httpx2.TimeoutException) else Trouble.BROKEN


def _causes(error: BaseException | None) -> list[Any]:
    found: list[Any] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found
