"""HTTP to the hub: one client, capped answers, every failure one of the agent's errors. Callers do the retrying."""

import hashlib
import json
import os
import re
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from http.client import responses as phrases
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpx

from client_agent import __version__
from client_agent.clock import RETRY_AFTER_MAX, Stop
from client_agent.errors import (
    AgentError,
    HubRefusedError,
    HubUnreachableError,
    UntrustedError,
    printable,
    storing,
)
from client_agent.route import Route, check_hub_url, find_route, is_loopback, tls_context

API: Final = "/api/v1/"
# Each of: the connection, a proxy's word, the handshake; a certificate takes its time on a line of 1 kB/s.
CONNECT_TIMEOUT: Final = 30.0
ANSWER_TIMEOUT: Final = 60.0
MAX_ANSWER: Final = 1024 * 1024
CHUNK: Final = 64 * 1024
# Answers that say "not now", whoever on the way gives them.
_BUSY: Final = frozenset({408, 425, 429, *range(500, 600)})
# A proxy's words for a host that it does not find, that refuses, or that does not answer.
_PROXY_CANNOT: Final = frozenset({502, 503, 504})
_SECONDS: Final = re.compile(r"[0-9]{1,18}(\.[0-9]{1,18})?")
_PROXY_HINT: Final = "set HTTPS_PROXY (and NO_PROXY) as for other programs on this machine; see docs/agent.md"
_PORT_HINT: Final = "check the address and the port, and ask the hub's administrator whether the hub is up"
_NAME_HINT: Final = "check the address; where outside names are known to the proxy alone, set HTTPS_PROXY"
_CA_HINT: Final = (
    "give the CA that issued it with --ca FILE, or add it to the machine's certificates; a proxy that inspects TLS has"
    " a CA of its own"
)
_CLOCK_HINT: Final = "check this machine's date and time; if they are right, the hub's administrator must renew it"
_WRONG_NAME_HINT: Final = "use the name that the hub's certificate is for; ask the hub's administrator"
# X509_V_ERR_*: not yet valid, expired, another name, another address.
_TRUST_HINTS: Final = {9: _CLOCK_HINT, 10: _CLOCK_HINT, 62: _WRONG_NAME_HINT, 64: _WRONG_NAME_HINT}
_HTTPS_HINT: Final = "if this happens each time, the hub there speaks TLS: its address begins with https://"
_OTHER_PROGRAM_HINT: Final = "check the port: another program may be listening there, or the hub has no TLS"
_NO_TLS_HERE_HINT: Final = " (on this machine itself its address then begins with http://)"
_NO_TLS_HINT: Final = " (its administrator must give it a certificate)"
_OTHER_PARTY_HINT: Final = "a proxy or login page may have answered in the hub's place: check the address and the proxy"


@dataclass(frozen=True)
class Answer:
    """A complete answer with a status below 400."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> dict[str, Any]:
        """The body as a JSON object.

        Raises:
            UntrustedError: answer_malformed.
        """
        found = _json_object(self.body)
        if found is None:
            raise malformed("the answer is not a JSON object")
        return found

    @property
    def retry_after(self) -> float | None:
        """Seconds the hub asks to wait, at most RETRY_AFTER_MAX; None where it does not say."""
        return _retry_after(self.headers)


def malformed(why: str) -> UntrustedError:
    """The error for an answer that the hub's API never gives."""
    return UntrustedError("answer_malformed", f"the hub's answer is not understood: {why}", _OTHER_PARTY_HINT)


class Http:
    """Calls below `base_url`, with the agent's token. Counts the bytes of request and answer bodies.

    A request to `stop` ends a call in its midst: whatever it was, the journal makes it good.
    """

    def __init__(self, base_url: str, *, token: str = "", ca: Path | None = None, stop: Stop | None = None) -> None:
        """Raises SetupError: bad_hub_url, proxy_unusable, config_broken; HubUnreachableError: insecure_hub."""
        self._base = check_hub_url(base_url)
        self.route = find_route(self._base)
        headers = {
            "User-Agent": f"hospintel-agent/{__version__}",
            "X-Hospintel-Version": __version__,
            # Compressed answers could grow without limit while they are unpacked.
            "Accept-Encoding": "identity",
        }
        if token:
            headers["Authorization"] = f"Bearer {token}"
        self._client = httpx.Client(
            headers=headers,
            verify=tls_context(ca) if self._base.startswith("https:") else True,
            timeout=httpx.Timeout(ANSWER_TIMEOUT, connect=CONNECT_TIMEOUT),
            follow_redirects=False,
            proxy=self.route.for_client(),
            # The environment has been asked: two readings of NO_PROXY could differ.
            trust_env=False,
        )
        self._stop = stop or Stop()
        self.bytes_up = 0
        self.bytes_down = 0

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def call(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str | int] | None = None,
        json_body: Mapping[str, Any] | None = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = ANSWER_TIMEOUT,
    ) -> Answer:
        """One request, one complete answer; `timeout` (seconds) is the longest silence.

        Raises:
            HubUnreachableError: no answer, or one that says "not now".
            HubRefusedError: the hub said no.
            UntrustedError: a redirect, or an answer that is too large.
        """
        with self._stream(
            method, path, params=params, json_body=json_body, content=content, headers=headers, timeout=timeout
        ) as response:
            body = _read_capped(response, MAX_ANSWER)
            self.bytes_up += len(response.request.content)
            self.bytes_down += len(body)
            answer = Answer(response.status_code, response.headers, body)
        _raise_for_status(answer)
        return answer

    def download(self, path: str, target: Path, *, digest: str, limit: int) -> None:
        """Fetch the immutable file with the SHA-256 `digest` (hex) to `target`; an interrupted download is resumed.

        Raises:
            HubUnreachableError, HubRefusedError: as `call`; what has arrived is kept for the next try.
            UntrustedError: model_digest, model_too_large (more than `limit` bytes), redirect_refused.
            StorageError: the file cannot be written.
        """
        part = target.with_name(target.name + ".part")
        resumed = self._fetch(path, part, digest, limit)
        if _file_digest(part) != digest and resumed:
            # What lay here before was not the beginning of this file: once more, from its first byte.
            part.unlink()
            self._fetch(path, part, digest, limit)
        if _file_digest(part) != digest:
            part.unlink()
            raise UntrustedError(
                "model_digest", "the downloaded model does not have the digest that the hub signed", _OTHER_PARTY_HINT
            )
        with storing("the model"):
            part.replace(target)

    def _fetch(self, path: str, part: Path, digest: str, limit: int) -> bool:
        """Append to `part` what is missing of it; True where the transfer went on from an earlier one."""
        have = part.stat().st_size if part.exists() else 0
        if have >= limit:
            part.unlink()
            have = 0
        headers = {"Range": f"bytes={have}-", "If-Range": f'"{digest}"'} if have else {}
        try:
            with self._stream("GET", path, headers=headers) as response:
                if response.status_code not in {HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT}:
                    body = _read_capped(response, MAX_ANSWER)
                    _raise_for_status(Answer(response.status_code, response.headers, body))
                    raise malformed(f"status {response.status_code} for a download")
                starts = response.headers.get("content-range", "").startswith(f"bytes {have}-")
                resumed = response.status_code == HTTPStatus.PARTIAL_CONTENT and starts
                if response.status_code == HTTPStatus.PARTIAL_CONTENT and not starts:
                    raise malformed("another range than the one asked for")
                self._store(response, part, limit, append=resumed)
        except HubRefusedError as error:
            if error.status != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                raise
            # A complete file whose last step (the rename) was lost, or one that is longer than the hub's.
            return True
        return resumed

    def _store(self, response: httpx.Response, part: Path, limit: int, *, append: bool) -> None:
        with storing("the model"), part.open("ab" if append else "wb") as file:
            size = file.tell()
            # In the pieces that arrive: what came before a break is kept to the last byte.
            for chunk in response.iter_raw():
                self.bytes_down += len(chunk)
                size += len(chunk)
                if size > limit:
                    file.truncate(0)
                    raise UntrustedError("model_too_large", f"the hub's model has more than {limit:,} bytes")
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())

    @contextmanager
    def _stream(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str | int] | None = None,
        json_body: Mapping[str, Any] | None = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = ANSWER_TIMEOUT,
    ) -> Iterator[httpx.Response]:
        try:
            with (
                self._stop.waiting(),
                self._client.stream(
                    method,
                    self._base + path,
                    params=params,
                    json=json_body,
                    content=content,
                    headers=headers,
                    timeout=httpx.Timeout(timeout, connect=CONNECT_TIMEOUT),
                ) as response,
            ):
                yield response
        except httpx.HTTPError as error:
            raise _unreachable(error, self._base, self.route) from error


def _read_capped(response: httpx.Response, limit: int) -> bytes:
    chunks, size = [], 0
    for chunk in response.iter_raw(CHUNK):
        size += len(chunk)
        if size > limit:
            raise UntrustedError("answer_too_large", f"the answer has more than {limit:,} bytes", _OTHER_PARTY_HINT)
        chunks.append(chunk)
    return b"".join(chunks)


def _unreachable(error: httpx.HTTPError, base: str, route: Route) -> AgentError:
    """The agent's error for a transport failure."""
    text = printable(str(error)) or type(error).__name__
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLError):
            return _untrusted(cause, base)
    if isinstance(error, httpx.ProxyError):
        return _proxy_said(text, base, route)
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout) and route.proxy:
        hint = f"check {route.source}, or ask the hospital's IT for the proxy"
        return HubUnreachableError("proxy_failed", f"no connection to the proxy {route.name}: {text}", hint)
    if isinstance(error, httpx.TimeoutException):
        return _no_answer(text, base)
    if isinstance(error, httpx.ConnectError):
        return _no_connection(error, base, text)
    hint = _HTTPS_HINT if base.startswith("http:") else ""
    return HubUnreachableError("connection_cut", f"the connection to the hub broke: {text}", hint)


def _proxy_said(text: str, base: str, route: Route) -> AgentError:
    """The error for what a proxy answers instead of tunnelling; `text` begins with its status (RFC 9110 9.3.6)."""
    status = int(text[:3]) if text[:3].isdigit() else 0
    if status in _PROXY_CANNOT:
        detail = f"the proxy {route.name} cannot reach the hub: {text}"
        return HubUnreachableError("hub_unreachable", detail, f"{_PORT_HINT}; then the hospital's IT about the proxy")
    if status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        return _proxy_wants_password(route)
    detail = f"the proxy {route.name} did not let the agent through: {text}"
    return HubUnreachableError("proxy_failed", detail, f"ask the hospital's IT to allow {base} at the proxy")


def _proxy_wants_password(route: Route) -> AgentError:
    where = route.source or "HTTPS_PROXY"
    if route.has_password:
        detail = f"the proxy {route.name} does not take the user name and password in {where}"
        hint = (
            f"check them, with any of @ : / # % in them written as %40 %3A %2F %23 %25; the agent speaks Basic, a proxy"
            f" that wants NTLM or Kerberos needs a helper on this machine, which {where} then names"
        )
        return HubUnreachableError("proxy_failed", detail, hint)
    hint = f"write them into {where}, as in http://user:password@proxy.example.org:3128"
    return HubUnreachableError("proxy_failed", "the proxy wants a user name and password", hint)


def _untrusted(error: ssl.SSLError, base: str) -> AgentError:
    """The error for a handshake that failed, whether because of the certificate or because it is none."""
    if isinstance(error, ssl.SSLCertVerificationError):
        detail = f"the hub's certificate is not trusted here: {printable(error.verify_message)}"
        return HubUnreachableError("tls_untrusted", detail, _TRUST_HINTS.get(error.verify_code, _CA_HINT))
    return _no_tls(base, printable(str(error)))


def _no_answer(text: str, base: str) -> HubUnreachableError:
    """The error where the time was over, while the connection was made or later."""
    if "handshake" in text:
        return _no_tls(base, "it took the connection and said nothing")
    return HubUnreachableError("hub_timeout", "the hub did not answer in time", _PROXY_HINT)


def _no_tls(base: str, why: str) -> HubUnreachableError:
    """The error where something answers, and not in TLS."""
    here = is_loopback(urlsplit(base).hostname or "")
    hint = f"{_OTHER_PROGRAM_HINT}{_NO_TLS_HERE_HINT if here else _NO_TLS_HINT}"
    return HubUnreachableError("tls_failed", f"what answers at {base} does not speak TLS as a hub does: {why}", hint)


def _no_connection(error: httpx.ConnectError, base: str, text: str) -> AgentError:
    """The error where nothing answers."""
    for cause in _causes(error):
        if isinstance(cause, socket.gaierror):
            return HubUnreachableError("hub_unreachable", f"the name in {base} is not known here: {text}", _NAME_HINT)
        if isinstance(cause, ConnectionRefusedError):
            return HubUnreachableError("hub_unreachable", f"no connection to the hub: {text}", _PORT_HINT)
    return HubUnreachableError("hub_unreachable", f"no connection to the hub: {text}", _PROXY_HINT)


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def _raise_for_status(answer: Answer) -> None:
    """Raise the error that an answer's status and body stand for; 2xx passes."""
    status = answer.status
    if status < HTTPStatus.MULTIPLE_CHOICES:
        return
    if status < HTTPStatus.BAD_REQUEST:
        raise UntrustedError(
            "redirect_refused",
            f"the hub's address answers with a redirect to {printable(answer.headers.get('location', '?'))}",
            "the agent follows none, its token would travel along: use the address that it leads to, if you trust it",
        )
    body = _json_object(answer.body) or {}
    code, detail = body.get("code"), body.get("detail")
    known = isinstance(code, str) and isinstance(detail, str)
    if status in _BUSY and not (known and code == "too_many_attempts"):
        detail = printable(str(detail)) if known else phrases.get(status, "")
        raise HubUnreachableError(
            "hub_busy",
            f"the hub cannot answer now: {status} {detail}".rstrip(),
            retry_after=_retry_after(answer.headers),
        )
    if status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        raise _proxy_wants_password(Route())
    if not known:
        text = f"status {status} without the hub's own error text"
        raise HubRefusedError(f"http_{status}", text, _OTHER_PARTY_HINT, status=status)
    raise HubRefusedError(printable(str(code), 60), printable(str(detail)), status=status, body=body)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """RFC 9110 10.2.3: seconds, or a date, read against the answer's own Date (this machine's clock may be off)."""
    value = headers.get("retry-after", "").strip()
    if _SECONDS.fullmatch(value):
        return min(float(value), RETRY_AFTER_MAX)
    try:
        wait = parsedate_to_datetime(value) - parsedate_to_datetime(headers.get("date", ""))
    except (TypeError, ValueError, OverflowError):
        return None
    return min(max(0.0, wait.total_seconds()), RETRY_AFTER_MAX)


def _json_object(body: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
