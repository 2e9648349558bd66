"""One picture from the web, within limits: public http(s) addresses only, few redirects, a cap on bytes and on time.

A host's name is resolved once, every address it resolves to must be public, and the connection goes to the address that was
checked; so a name that changes its mind between check and use (DNS rebinding) gains nothing. Proxies are not used.
"""

import http.client
import ipaddress
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import SplitResult, urljoin, urlsplit

from tenfold import __version__
from tenfold.systems.deepeval.decoding import PictureError, Status

REDIRECTS = (301, 302, 303, 307, 308)
REFUSALS = (401, 402, 403, 407, 429, 451)
CHUNK = 1 << 16


def is_public(address: str) -> bool:
    """Whether an IP address belongs to the public internet; an IPv4 address inside an IPv6 one is looked at itself."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    mapped = parsed.ipv4_mapped or parsed.sixtofour if isinstance(parsed, ipaddress.IPv6Address) else None
    parsed = mapped or parsed
    return parsed.is_global and not parsed.is_multicast


@dataclass(frozen=True)
class Fetcher:
    """How pictures are fetched; `allows` decides on IP addresses and can be replaced in tests."""

    timeout_s: float = 20.0
    most_bytes: int = 20_000_000
    most_redirects: int = 5
    allows: Callable[[str], bool] = is_public

    def fetch(self, url: str) -> bytes:
        """The bytes behind an address.

        Raises:
            PictureError: gone, timeout or blocked, with the reason.
        """
        deadline = time.monotonic() + self.timeout_s
        for _ in range(self.most_redirects + 1):
            answer = self._get(url, deadline)
            if isinstance(answer, bytes):
                return answer
            url = urljoin(url, answer)
        raise PictureError("blocked", f"more than {self.most_redirects} redirects")

    def _get(self, url: str, deadline: float) -> bytes | str:
        """The body, or the address of a redirect."""
        parts = _split(url)
        try:
            connection = self._connect(parts, deadline)
            try:
                path = parts._replace(scheme="", netloc="", fragment="").geturl() or "/"
                connection.request(
                    "GET", _ascii(path), headers={"User-Agent": f"tenfold/{__version__}", "Accept": "image/*"}
                )
                with connection.getresponse() as response:
                    return self._answer(response, deadline)
            finally:
                connection.close()
        except PictureError:
            raise
        except socket.gaierror as error:
            raise PictureError(_status_of_lookup(error), f"host {parts.hostname}: {error.strerror}") from None
        except TimeoutError:
            raise PictureError("timeout", f"no answer within {self.timeout_s:g} s") from None
        except (OSError, http.client.HTTPException) as error:
            raise PictureError("timeout", f"{type(error).__name__}: {error}") from None

    def _connect(self, parts: SplitResult, deadline: float) -> http.client.HTTPConnection:
        secure, host = parts.scheme == "https", parts.hostname or ""
        port = parts.port or (443 if secure else 80)
        sock = socket.create_connection((self._address(host, port), port), timeout=_left(deadline))
        connection = http.client.HTTPConnection(parts.netloc.rpartition("@")[2])
        connection.sock = _secured(sock, host) if secure else sock
        return connection

    def _address(self, host: str, port: int) -> str:
        found = [str(info[4][0]) for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
        refused = [address for address in found if not self.allows(address)]
        if refused:
            raise PictureError("blocked", f"{host} is at {refused[0]}, which is no public address")
        return found[0]

    def _answer(self, response: http.client.HTTPResponse, deadline: float) -> bytes | str:
        if response.status in REDIRECTS and (target := response.getheader("Location")):
            return target
        if response.status != 200:
            raise PictureError(_status_of_code(response.status), f"HTTP {response.status}")
        length = response.getheader("Content-Length") or ""
        if length.isdecimal() and int(length) > self.most_bytes:
            raise PictureError("blocked", f"{length} bytes are more than {self.most_bytes:,}")
        return self._body(response, deadline)

    def _body(self, response: http.client.HTTPResponse, deadline: float) -> bytes:
        body = bytearray()
        while chunk := response.read1(CHUNK):
            body += chunk
            if len(body) > self.most_bytes:
                raise PictureError("blocked", f"more than {self.most_bytes:,} bytes")
            _left(deadline)
        if response.length:
            raise PictureError("timeout", f"the connection ended {response.length} bytes early")
        return bytes(body)


def _secured(sock: socket.socket, host: str) -> ssl.SSLSocket:
    try:
        return ssl.create_default_context().wrap_socket(sock, server_hostname=host)
    except BaseException:
        sock.close()
        raise


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        port_is_fine = parts.port is None or parts.port > 0
    except ValueError:
        raise PictureError("blocked", "this is no address of the web") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_is_fine:
        raise PictureError("blocked", "only http and https addresses are fetched")
    return parts


def _ascii(path: str) -> str:
    """A path with everything percent-encoded that HTTP cannot carry as it is."""
    return "".join(
        char if "!" <= char <= "~" else "".join(f"%{byte:02X}" for byte in char.encode(errors="replace")) for char in path
    )


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _status_of_code(code: int) -> Status:
    return "blocked" if code in REFUSALS else "timeout" if code >= 500 or code == 408 else "gone"


def _status_of_lookup(error: socket.gaierror) -> Status:
    """A name that does not exist is gone; a name server that does not answer may answer later."""
    return "gone" if error.errno == socket.EAI_NONAME else "timeout"
