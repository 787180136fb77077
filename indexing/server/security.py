"""What stands before every request: who may ask, from where, how much and how often; and what every answer says."""

from __future__ import annotations

import hmac
import logging
import time
import traceback
from collections import OrderedDict
from collections.abc import Collection, Iterable
from http.cookies import CookieError, SimpleCookie
from math import ceil
from pathlib import Path
from urllib.parse import quote, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from indexing.server.context import Limits
from indexing.server.errors import problem
from indexing.server.metrics import Metrics
from tracker.errors import FacetrackError

logger = logging.getLogger(__name__)

API = "/api/v1"
COOKIE = "facetrack_token"
LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
"""Names under which a service on this machine alone may be asked: a page of a foreign name that was made to lead here
(DNS rebinding) is refused."""

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
    "connect-src 'self'; font-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)

HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}
"""On every answer."""

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_GONE = 499
"""Status under which a request is counted whose client went away before it was answered; nginx has it so."""

_FORM_OVERHEAD = 64 << 10
"""Bytes of a multipart body beside its files."""

_DIGITS = 18
"""Digits of the longest body that anybody sends."""

_SHORTEST = 16
"""Characters of the shortest token."""

_CLIENTS = 1024
"""Clients whose searches are counted at once."""


def cookie_of(token: str) -> str:
    """Return what the cookie of somebody who knows the token holds: it proves that, and does not tell it."""
    return hmac.new(token.encode(), b"facetrack cookie", "sha256").hexdigest()


def is_token(given: str, token: str) -> bool:
    """Tell whether a token is the right one, in a time that does not tell how much of it is."""
    return hmac.compare_digest(given.encode(), token.encode())


def local_path(target: str) -> str:
    r"""Return a path of this service, whatever came: a form of somebody else's must not lead anywhere.

    Example:
        >>> local_path("/people/3?page=2"), local_path("//elsewhere"), local_path("/\\elsewhere"), local_path("https://a.b")
        ('/people/3?page=2', '/', '/', '/')
    """
    inside = target.startswith("/") and not target.startswith(("//", "/\\")) and target.isprintable()
    return target if inside else "/"


class RateLimit:
    """So many calls a minute for each client, in bursts of up to a third of them (a token bucket).

    Example:
        >>> limit = RateLimit(6)
        >>> [limit.wait("a", now=0.0), limit.wait("a", now=0.0), limit.wait("a", now=0.0), limit.wait("b", now=0.0)]
        [0.0, 0.0, 10.0, 0.0]
    """

    def __init__(self, per_minute: int) -> None:
        self._rate, self._burst = per_minute / 60, max(per_minute / 3, 1.0)
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, client: str, *, now: float | None = None) -> float:
        """Count a call; return 0, or the seconds to wait before it is allowed."""
        now = time.monotonic() if now is None else now
        left, since = self._left.pop(client, (self._burst, now))
        left = min(self._burst, left + (now - since) * self._rate)
        allowed = left >= 1
        self._left[client] = (left - allowed, now)
        if len(self._left) > _CLIENTS:
            self._left.popitem(last=False)
        return 0.0 if allowed else (1 - left) / self._rate


class _Refused(Exception):  # noqa: N818 - not an error: an answer
    def __init__(self, answer: Response) -> None:
        super().__init__()
        self.answer = answer


class Guard:
    """The outermost layer: refuses what is not allowed, adds the headers, counts and logs.

    The log names the route and never what was asked for: no names, no vectors, no tokens.
    """

    def __init__(
        self, app: ASGIApp, *, token: str | None, hosts: Collection[str] | None, limits: Limits, metrics: Metrics
    ) -> None:
        self._app, self._token, self._hosts, self._limits, self._metrics = app, token, hosts, limits, metrics
        self._cookie = None if token is None else cookie_of(token)
        self._searches, self._logins = RateLimit(limits.searches), RateLimit(limits.searches)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008, "reason": "there are no web sockets here"})

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        began, answered = time.perf_counter(), _Answered(send)
        try:
            self._check(scope, Headers(scope=scope))
            await self._app(scope, _Limited(receive, self._most(scope["path"])), answered)
        except _Refused as refused:
            await refused.answer(scope, receive, answered)
        except ClientDisconnect:
            answered.status = answered.status or _GONE
        except Exception as error:
            # The message of the error may hold a name; where it came from does not.
            logger.error("unexpected %s\n%s", type(error).__name__, "".join(traceback.format_tb(error.__traceback__)))
            if not answered.status:
                await problem(500, "an error of facetrack itself; its log tells where")(scope, receive, answered)
        finally:
            self._count(scope, answered.status, time.perf_counter() - began)

    def _count(self, scope: Scope, status: int, seconds: float) -> None:
        method = scope["method"] if scope["method"] in ("GET", "HEAD", "POST", "DELETE") else "other"
        route = route_of(scope)
        self._metrics.count(method, route, status, seconds)
        logger.info("%s %s %d %.0f ms", method, route, status, 1000 * seconds)

    # ---- what is allowed

    def _check(self, scope: Scope, headers: Headers) -> None:
        self._check_host(headers)
        _check_origin(scope, headers)
        self._check_length(scope, headers)
        if not _is_open(scope["path"]) and not self._knows_token(headers):
            raise _Refused(_ask_for_token(scope, headers))
        self._check_rate(scope)

    def _check_host(self, headers: Headers) -> None:
        if self._hosts is not None and _hostname(headers.get("host", "")) not in self._hosts:
            raise _Refused(problem(421, f"this service is called {', '.join(sorted(self._hosts))}; use one of these"))

    def _check_length(self, scope: Scope, headers: Headers) -> None:
        most, told = self._most(scope["path"]), headers.get("content-length", "0")
        if not told.isdecimal() or len(told) > _DIGITS or int(told) > most:
            raise _Refused(_too_large(most))

    def _check_rate(self, scope: Scope) -> None:
        path, client = scope["path"], (scope.get("client") or ("", 0))[0]
        limit = self._searches if path in _COSTLY else self._logins if _is_login(scope) else None
        wait = limit.wait(client) if limit else 0.0
        if wait:
            headers = {"Retry-After": str(ceil(wait))}
            raise _Refused(problem(429, f"too many at once; try again in {ceil(wait)} s", headers=headers))

    def _most(self, path: str) -> int:
        if path == f"{API}/uploads":
            return self._limits.upload + _FORM_OVERHEAD
        return self._limits.pictures + _FORM_OVERHEAD if path in _COSTLY else self._limits.body

    def _knows_token(self, headers: Headers) -> bool:
        if self._token is None or self._cookie is None:
            return True
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return is_token(given.strip(), self._token)
        return any(hmac.compare_digest(one.encode(), self._cookie.encode()) for one in _cookies(headers))


_COSTLY = (f"{API}/search", f"{API}/people/enroll")
"""What looks at pictures, or at every vector."""


def _is_login(scope: Scope) -> bool:
    return (scope["method"], scope["path"]) == ("POST", "/login")


def _is_open(path: str) -> bool:
    return path in (f"{API}/health", "/login") or path.startswith("/static/")


def _ask_for_token(scope: Scope, headers: Headers) -> Response:
    if scope["method"] == "GET" and "text/html" in headers.get("accept", "") and not scope["path"].startswith("/api/"):
        query = scope.get("query_string", b"").decode("latin-1")
        wanted = f"{scope['path']}?{query}" if query else scope["path"]
        return RedirectResponse(f"/login?next={quote(wanted, safe='/')}", 303, {"Cache-Control": "no-store"})
    detail = "a token is needed: send it as 'Authorization: Bearer TOKEN', or log in at /login"
    return problem(401, detail, headers={"WWW-Authenticate": 'Bearer realm="facetrack"'})


def _check_origin(scope: Scope, headers: Headers) -> None:
    """Refuse what a page of another site makes a browser send; what is no browser says neither and may pass.

    As Go's ``http.CrossOriginProtection`` does (https://words.filippo.io/csrf/): ``Sec-Fetch-Site`` tells, and for
    browsers before 2023 ``Origin``, which they all send with what changes something.
    """
    if scope["method"] in _SAFE_METHODS:
        return
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is not None:
        allowed = site in ("same-origin", "none")
    else:
        allowed = origin is None or urlsplit(origin).netloc == headers.get("host", "")
    if not allowed:
        raise _Refused(problem(403, "a page of another site may not change anything here"))


def _hostname(host: str) -> str:
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
    return f"[{name}]" if ":" in name else name


def _cookies(headers: Headers) -> Iterable[str]:
    for header in headers.getlist("cookie"):
        try:
            morsel = SimpleCookie(header).get(COOKIE)
        except CookieError:
            continue
        if morsel is not None:
            yield morsel.value


def _too_large(most: int) -> Response:
    return problem(413, f"the request is larger than {most} bytes; send less, or start the service with a higher limit")


class _Limited:
    """Hands out a body until it is larger than allowed: the length that a client tells need not be true."""

    def __init__(self, receive: Receive, most: int) -> None:
        self._receive, self._most, self._seen = receive, most, 0

    async def __call__(self) -> Message:
        message = await self._receive()
        self._seen += len(message.get("body", b""))
        if self._seen > self._most:
            raise HTTPException(413, f"the request is larger than {self._most} bytes; send less")
        return message


class _Answered:
    """Sends an answer with the headers of every answer, and remembers its status."""

    def __init__(self, send: Send) -> None:
        self._send, self.status = send, 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
            headers.setdefault("Cache-Control", "private, no-cache")
        await self._send(message)


def route_of(scope: Scope) -> str:
    """Return the template of the route that took a request, without what was asked for."""
    route = scope.get("route")
    return str(getattr(route, "path", "other"))


def read_token(token: str | None, token_file: Path | None) -> str | None:
    """Return the token that is given, or that a file holds.

    Raises:
        FacetrackError: if both are given, or it is too short to be a secret.
    """
    if token is not None and token_file is not None:
        raise FacetrackError("a token and a file with one are given; give one of them")
    if token_file is not None:
        try:
            token = token_file.read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as error:
            raise FacetrackError(f"{token_file}: the token cannot be read: {error}") from error
    if token is not None and (len(token) < _SHORTEST or not token.isascii() or not token.isprintable()):
        raise FacetrackError(
            f"the token has {len(token)} characters; give at least {_SHORTEST}, of printable ASCII: "
            "python3 -c 'import secrets; print(secrets.token_urlsafe())'"
        )
    return token
