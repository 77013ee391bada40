"""HTTP with an endpoint: one session, replies of bounded size, and no redirect to another host."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

import msgspec

from curate import limits
from curate.errors import RecipeError, ServiceError
from curate.recipe.endpoint import same_origin

if TYPE_CHECKING:
    import aiohttp

REDIRECTED = (301, 302, 303, 307, 308)


class TooLargeError(Exception):
    """The reply is larger than the limit."""


class Response(NamedTuple):
    """What an endpoint sent."""

    status: int
    body: bytes
    headers: Mapping[str, str]


class Transport:
    """Posts JSON to one address. The session is opened with the first request, in the loop that sends it."""

    def __init__(self, base_url: str, *, api_key: str, timeout: float, max_bytes: int) -> None:
        self.base_url = base_url
        self._api_key, self._timeout, self._max_bytes = api_key, timeout, max_bytes
        self._session: aiohttp.ClientSession | None = None

    async def post(self, url: str, body: Mapping[str, Any]) -> Response:
        """
        Send a body and return the response.

        Raises TooLargeError beyond the limit, ServiceError for a redirect to another scheme, host or port and for too
        many of them, TimeoutError, and what aiohttp raises.
        """
        target = url
        for _ in range(limits.REDIRECTS + 1):
            async with self._connect().post(target, data=msgspec.json.encode(body), allow_redirects=False) as response:
                location = response.headers.get("Location")
                if response.status not in REDIRECTED or location is None:
                    return Response(response.status, await self._read(response), response.headers)
            try:
                target = urljoin(target, location)
                follow = same_origin(target, url)
            except (ValueError, RecipeError):  # it is no address, such as http://[::1
                target, follow = location, False
            shown = " ".join(target.split())[:200]
            if not follow:
                raise ServiceError(
                    f"{self.base_url} redirects to {shown}; requests and keys are not sent on to another host. "
                    f"If that is the right one, name it as the address"
                )
        raise ServiceError(f"{self.base_url}: more than {limits.REDIRECTS} redirects, the last one to {shown}")

    async def get(self, url: str) -> bytes:
        """Return the body of a reply. Raises as `post`; redirects are not followed."""
        async with self._connect().get(url, allow_redirects=False) as response:
            return await self._read(response)

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    async def _read(self, response: "aiohttp.ClientResponse") -> bytes:
        body = bytearray()
        async for chunk in response.content.iter_any():  # unpacked
            body += chunk
            if len(body) > self._max_bytes:
                raise TooLargeError(f"the reply is larger than {self._max_bytes:,} bytes")
        return bytes(body)

    def _connect(self) -> "aiohttp.ClientSession":
        import aiohttp

        if self._session is None:
            headers = {"Content-Type": "application/json"}
            if self._api_key:
                headers["Authorization"] = f"Bearer {self._api_key}"
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=60),  # the limiter is the limit
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=self._timeout),
                headers=headers,
                proxy=_proxy(self.base_url),  # trust_env would also read .netrc, and both for every request
            )
        return self._session


def _proxy(address: str) -> str | None:
    """Return the proxy that the environment sets for an address."""
    parts = urlsplit(address)
    if not parts.hostname or proxy_bypass(parts.hostname):
        return None
    return getproxies().get(parts.scheme)
