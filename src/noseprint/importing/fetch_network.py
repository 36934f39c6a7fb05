"""Web connections that reach public addresses only: a stranger's list must not reach the local network.

The check is made on the addresses that are connected to, so that neither a redirect nor a name that changes its address
after a check gets around it.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Iterable
from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpcore2
import httpx2
from httpcore2 import SOCKET_OPTION, AnyIOBackend, AsyncNetworkBackend, AsyncNetworkStream

_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class PrivateAddressError(Exception):
    """A host has an address that is not public."""


def web_client(*, connections: int, timeout: float, user_agent: str, allow_private: bool) -> httpx2.AsyncClient:
    """Return a client for many hosts, which keeps no cookies and does not follow redirects.

    connections: at a time, to all hosts. timeout: seconds to connect, and between two pieces of an answer.
    allow_private: reach any address, and use the proxy that the environment names. Otherwise a request to a host with
    an address that is not public raises PrivateAddressError.
    """
    limits = httpx2.Limits(max_connections=connections, max_keepalive_connections=connections, keepalive_expiry=5)
    return httpx2.AsyncClient(
        limits=limits,
        timeout=timeout,
        headers={"User-Agent": user_agent, "Accept": "image/*", "Accept-Encoding": "identity"},
        cookies=CookieJar(policy=DefaultCookiePolicy(allowed_domains=[])),
        transport=None if allow_private else _PublicTransport(limits),
        trust_env=allow_private,
    )


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public internet, also where it wraps an IPv4 address."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        inner = [found.ipv4_mapped, found.sixtofour, *(found.teredo or ())]
        if found in _NAT64:
            inner.append(ipaddress.IPv4Address(found.packed[-4:]))
        wrapped = [address for address in inner if address is not None]
        if wrapped:
            return all(_is_public(address) for address in wrapped)
    return _is_public(found)


def _is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    is_local = isinstance(address, ipaddress.IPv6Address) and address.is_site_local
    return address.is_global and not (address.is_multicast or address.is_reserved or is_local)


class _PublicTransport(httpx2.AsyncHTTPTransport):
    """The usual transport over a pool whose connections `_PublicBackend` makes."""

    def __init__(self, limits: httpx2.Limits) -> None:
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=httpx2.create_ssl_context(),
            max_connections=limits.max_connections,
            max_keepalive_connections=limits.max_keepalive_connections,
            keepalive_expiry=limits.keepalive_expiry,
            network_backend=_PublicBackend(),
        )


class _PublicBackend(AsyncNetworkBackend):
    """Looks a name up once, refuses it unless each of its addresses is public, and connects to one of these."""

    def __init__(self) -> None:
        self._inner = AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[SOCKET_OPTION] | None = None,
    ) -> AsyncNetworkStream:
        """Connect to `host`. Raises PrivateAddressError, or what httpcore2 raises."""
        try:
            async with asyncio.timeout(timeout):
                found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except TimeoutError as error:
            raise httpcore2.ConnectTimeout(f"{host} was not looked up in time") from error
        except (OSError, UnicodeError) as error:
            raise httpcore2.ConnectError(f"{host} cannot be looked up ({error})") from error
        addresses = list(dict.fromkeys(str(address[0]) for *_, address in found))
        if private := [address for address in addresses if not is_public(address)]:
            raise PrivateAddressError(f"{host} has the address {private[0]}, which is not public")
        problem: Exception = httpcore2.ConnectError(f"{host} has no address")
        for address in addresses:
            try:
                return await self._inner.connect_tcp(
                    address, port, timeout=timeout, local_address=local_address, socket_options=socket_options
                )
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                problem = error
        raise problem

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: Iterable[SOCKET_OPTION] | None = None,
    ) -> AsyncNetworkStream:
        """Refuse. No URL leads here."""
        raise PrivateAddressError(f"{path} is a socket of this machine")

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)
