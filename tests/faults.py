"""A proxy at the network edge that makes the faults of real networks and servers, on the wire and not in the client.

    with FaultProxy("http://127.0.0.1:8103") as proxy:
        proxy.answer(429, headers={"Retry-After": "1"}, when=writes)     # the next request that writes is throttled
        proxy.cut_after(when=writes)                                     # the one after is carried out, its answer lost
        late = proxy.late(when=writes)                                   # this one only when the test says so
        client = FhirClient(f"{proxy.url}/fhir/R4")

Each rule applies `times` times (None: always) to requests that `when` picks; a request takes the first rule that has
not worn out. `requests` holds what came through, in order; `addresses` has their methods and paths, `connections` is
how many they came by, and neither is ever cleared. It stands before a FHIR server as well as before Azurite.
"""

import json
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from ssl import SSLContext
from typing import Any
from urllib.parse import urlsplit

from dev.loopback import LoopbackServer, QuietHandler

HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length"}
NOT_FORWARDED = HOP_BY_HOP | {"accept-encoding"}
"""Answers come uncompressed, so that rules can change them."""


@dataclass(slots=True)
class ProxiedRequest:
    """A request as it came; `answer_status` and `answer_bytes` are 0 while there was no answer."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    answer_status: int = 0
    answer_bytes: int = 0

    @property
    def bundle_methods(self) -> list[str]:
        """The methods of a batch's entries; empty for anything else."""
        if self.method != "POST" or not self.body.startswith(b"{"):
            return []
        return [entry["request"]["method"] for entry in json.loads(self.body).get("entry", [])]


def writes(request: ProxiedRequest) -> bool:
    return request.method == "PUT" or "PUT" in request.bundle_methods


def reads(request: ProxiedRequest) -> bool:
    """Reads and searches of resources, not of the server's capabilities."""
    methods = request.bundle_methods
    single = request.method == "GET" and not request.path.endswith("/metadata")
    return single or request.path.endswith("/_search") or (bool(methods) and set(methods) == {"GET"})


def may_write(request: ProxiedRequest) -> bool:
    """Whatever is not known to only read."""
    return request.method != "GET" and not reads(request)


def anything(request: ProxiedRequest) -> bool:
    return True


@dataclass(slots=True)
class Answer:
    """`seconds_a_byte`: the body comes slowly, so that a client's time limit for each read is never reached."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    seconds_a_byte: float = 0.0


class Cut(Exception):
    """Close the connection; `partial` is the answer of which half is sent first."""

    def __init__(self, partial: Answer | None = None) -> None:
        self.partial = partial


Forward = Callable[[], Answer]
Act = Callable[[ProxiedRequest, Forward], Answer]


class Late:
    """Requests that a gateway has in hand; whoever sent them knows nothing of what becomes of them."""

    def __init__(self) -> None:
        self.held: list[Forward] = []

    def carry_out(self) -> list[Answer]:
        """Sends them on, in the order in which they came; the answers are for the test alone."""
        held, self.held = self.held, []
        return [forward() for forward in held]


@dataclass(slots=True)
class Rule:
    act: Act
    when: Callable[[ProxiedRequest], bool]
    times: int | None
    lock: threading.Lock = field(default_factory=threading.Lock)

    def takes(self, request: ProxiedRequest) -> bool:
        with self.lock:
            if self.times == 0 or not self.when(request):
                return False
            if self.times is not None:
                self.times -= 1
            return True


class FaultProxy(LoopbackServer):
    """Forwards to `target` (`http://host:port`) except where a rule says otherwise; with `tls`, by https."""

    def __init__(self, target: str, tls: SSLContext | None = None) -> None:
        address = urlsplit(target)
        self._target = (address.hostname or "", address.port or 80)
        self._rules: list[Rule] = []
        self.requests: list[ProxiedRequest] = []
        self.addresses: set[str] = set()
        self.connections = 0
        self._late: list[threading.Thread] = []
        super().__init__(self._handler(), tls)

    def clear(self) -> None:
        """Forget the rules and the requests seen so far."""
        self._rules.clear()
        self.requests.clear()

    def rule(self, act: Act, when: Callable[[ProxiedRequest], bool] = anything, times: int | None = 1) -> None:
        self._rules.append(Rule(act, when, times))

    def refuse_over(self, limit_bytes: int, status: int, body: bytes = b"", content_type: str = "text/html") -> None:
        """Refuse longer request bodies, as a gateway does that has a bound of its own."""
        headers = {"Content-Type": content_type}
        self.answer(status, body, headers, lambda request: len(request.body) > limit_bytes, times=None)

    def answer(
        self,
        status: int,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        when: Callable[[ProxiedRequest], bool] = anything,
        times: int | None = 1,
    ) -> None:
        """Answer in the server's place; the request is not forwarded."""
        self.rule(lambda request, forward: Answer(status, list((headers or {}).items()), body), when, times)

    def guard(self, accepts: Callable[[str | None], bool]) -> None:
        """Answer 401 to requests whose Authorization header is not accepted, as a server does that knows its users."""
        self.answer(401, when=lambda request: not accepts(request.headers.get("Authorization")), times=None)

    def delay(self, seconds: float, when: Callable[[ProxiedRequest], bool] = anything, times: int | None = 1) -> None:
        def act(request: ProxiedRequest, forward: Forward) -> Answer:
            time.sleep(seconds)
            return forward()

        self.rule(act, when, times)

    def drip(self, when: Callable[[ProxiedRequest], bool] = anything, times: int | None = 1) -> None:
        """The server carries the request out, and its answer comes a byte a second, until the proxy is closed."""

        def act(request: ProxiedRequest, forward: Forward) -> Answer:
            answer = forward()
            return Answer(answer.status, answer.headers, answer.body, seconds_a_byte=1.0)

        self.rule(act, when, times)

    def cut_before(self, when: Callable[[ProxiedRequest], bool] = anything, times: int | None = 1) -> None:
        """The connection breaks before the request reaches the server."""

        def act(request: ProxiedRequest, forward: Forward) -> Answer:
            raise Cut

        self.rule(act, when, times)

    def cut_after(
        self, when: Callable[[ProxiedRequest], bool] = anything, times: int | None = 1, *, half: bool = False
    ) -> None:
        """The server carries the request out, then the connection breaks: before the answer, or half way through it."""

        def act(request: ProxiedRequest, forward: Forward) -> Answer:
            answer = forward()
            raise Cut(answer if half else None)

        self.rule(act, when, times)

    def late(self, when: Callable[[ProxiedRequest], bool] = anything, times: int | None = 1) -> Late:
        """The connection breaks at once; the request reaches the server when the test says so."""
        late = Late()

        def act(request: ProxiedRequest, forward: Forward) -> Answer:
            late.held.append(forward)
            raise Cut

        self.rule(act, when, times)
        return late

    def duplicate(self, when: Callable[[ProxiedRequest], bool] = anything, times: int | None = 1) -> None:
        """The request is delivered twice; the client sees the second answer."""

        def act(request: ProxiedRequest, forward: Forward) -> Answer:
            forward()
            return forward()

        self.rule(act, when, times)

    def late_by(self, seconds: float, when: Callable[[ProxiedRequest], bool] = anything, times: int | None = 1) -> None:
        """The connection breaks at once, and the request reaches the server so many seconds later, as from a gateway
        that goes on without its client. `wait_for_late` returns when all have."""

        def act(request: ProxiedRequest, forward: Forward) -> Answer:
            def carry_out() -> None:
                time.sleep(seconds)
                with suppress(Cut):
                    forward()

            thread = threading.Thread(target=carry_out, daemon=True)
            thread.start()
            self._late.append(thread)
            raise Cut

        self.rule(act, when, times)

    def wait_for_late(self) -> None:
        for thread in self._late:
            thread.join()

    def rewrite(
        self,
        change: Callable[[Any], Any],
        when: Callable[[ProxiedRequest], bool] = anything,
        times: int | None = 1,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Change the JSON of an answer: drop, reorder or edit entries. `headers` are added."""

        def act(request: ProxiedRequest, forward: Forward) -> Answer:
            answer = forward()
            body = json.dumps(change(json.loads(answer.body))).encode()
            return Answer(answer.status, [*answer.headers, *(headers or {}).items()], body)

        self.rule(act, when, times)

    def after_forwarding(
        self,
        hook: Callable[[ProxiedRequest], None],
        when: Callable[[ProxiedRequest], bool] = anything,
        times: int | None = 1,
    ) -> None:
        """Call `hook` when the server has carried the request out and the client has no answer yet."""

        def act(request: ProxiedRequest, forward: Forward) -> Answer:
            answer = forward()
            hook(request)
            return answer

        self.rule(act, when, times)

    def before_forwarding(
        self,
        hook: Callable[[ProxiedRequest], None],
        when: Callable[[ProxiedRequest], bool] = anything,
        times: int | None = 1,
    ) -> None:
        """Call `hook` when the client has sent the request and the server has not seen it yet."""

        def act(request: ProxiedRequest, forward: Forward) -> Answer:
            hook(request)
            return forward()

        self.rule(act, when, times)

    def _forward(self, request: ProxiedRequest) -> Answer:
        connection = HTTPConnection(*self._target, timeout=120)
        try:
            connection.request(request.method, request.path, body=request.body, headers=dict(request.headers))
            response = connection.getresponse()
            headers = [(name, value) for name, value in response.getheaders() if name.lower() not in HOP_BY_HOP]
            return Answer(response.status, headers, response.read())
        except (OSError, HTTPException):
            raise Cut from None
        finally:
            connection.close()

    def _carry_out(self, request: ProxiedRequest) -> Answer:
        rule = next((rule for rule in list(self._rules) if rule.takes(request)), None)
        return rule.act(request, lambda: self._forward(request)) if rule else self._forward(request)

    def _handler(self) -> type[QuietHandler]:
        proxy = self

        class Handler(QuietHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def setup(self) -> None:
                super().setup()
                proxy.connections += 1

            def handle_one_request(self) -> None:
                try:
                    super().handle_one_request()
                except OSError:  # the client is gone, which is what some tests are about
                    self.close_connection = True

            def do_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                headers = {name: value for name, value in self.headers.items() if name.lower() not in NOT_FORWARDED}
                request = ProxiedRequest(self.command, self.path, headers, body)
                proxy.requests.append(request)
                proxy.addresses.add(f"{request.method} {request.path}")
                try:
                    answer = proxy._carry_out(request)
                except Cut as cut:
                    self.close_connection = True
                    if cut.partial:
                        self._send(cut.partial, len(cut.partial.body) // 2)
                    return
                request.answer_status, request.answer_bytes = answer.status, len(answer.body)
                self._send(answer, len(answer.body))

            def _send(self, answer: Answer, length: int) -> None:
                self.send_response_only(answer.status)
                for name, value in answer.headers:
                    self.send_header(name, value)
                if answer.status not in (204, 304):
                    self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                if self.command != "HEAD":
                    self._send_body(answer.body[:length], answer.seconds_a_byte)
                self.wfile.flush()

            def _send_body(self, body: bytes, seconds_a_byte: float) -> None:
                if not seconds_a_byte:
                    self.wfile.write(body)
                    return
                for n in range(len(body)):
                    if proxy.closing.wait(seconds_a_byte):
                        self.close_connection = True
                        return
                    self.wfile.write(body[n : n + 1])
                    self.wfile.flush()

            do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = do_PATCH = do_MERGE = do_OPTIONS = do_any

        return Handler
