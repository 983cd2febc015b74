"""Answers that are longer than any answer may be, packed or not: how much of them is read, and what comes of it."""

import gzip
import zlib
from collections.abc import Iterable, Iterator

import httpx
import pytest

from medtech.deadline import Deadline, within
from medtech.errors import FhirServerUnavailable
from medtech.persist import body as body_module
from medtech.persist.answers import Interaction, Verdict
from medtech.persist.body import LATE_PIECES, MAX_ANSWER_BYTES, MAX_ANSWER_ELEMENTS, AnswerTooLarge, read_body
from medtech.persist.client import FhirClient
from medtech.persist.settle import SavedAs
from tests.faults import Answer, FaultProxy, Forward, ProxiedRequest, reads, writes
from tests.persist.identity.samples import LOOKUP, add, add_device, key, resolve
from tests.persist.samples import Server, error_of, identity, points, resource_id, saved_as, series, unique, write_all

MIB = 1024 * 1024
GZIP = {"Content-Encoding": "gzip"}


class Counted(httpx.SyncByteStream):
    """A body as it comes from the network, piece by piece; `received` counts the bytes that were taken."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = chunks
        self.received = 0

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._chunks:
            self.received += len(chunk)
            yield chunk


def test_an_answer_that_drips_past_the_deadline_is_given_up() -> None:
    seconds = [0.0]

    def drip() -> Iterator[bytes]:
        while True:
            seconds[0] += 1
            yield b" "

    stream = Counted(drip())
    with within(Deadline(10, lambda: seconds[0])), pytest.raises(httpx.ReadTimeout):
        read_body(httpx.Response(200, stream=stream))
    assert stream.received == 10 + LATE_PIECES


def test_an_answer_that_is_on_its_way_at_the_deadline_is_read() -> None:
    with within(Deadline(0)):
        assert read_body(httpx.Response(200, stream=Counted(pieces(b"{}" * 5000)))) == b"{}" * 5000


def pieces(body: bytes, length: int = 1000) -> list[bytes]:
    return [body[at : at + length] for at in range(0, len(body), length)]


def spaces(mebibytes: int) -> bytes:
    """A Bundle, packed, with so many MiB of blanks in it: a thousandth of that on the wire."""
    packer = zlib.compressobj(9, wbits=31)
    parts = [packer.compress(b'{"resourceType":"Bundle","type":"batch-response",')]
    parts += [packer.compress(b" " * MIB) for _ in range(mebibytes)]
    return b"".join([*parts, packer.compress(b'"entry":[]}'), packer.flush()])


class TestReading:
    def test_the_largest_answer_fits(self) -> None:
        stream = Counted(b"x" * (MIB + 4096) for _ in range(100))
        assert len(read_body(httpx.Response(200, stream=stream))) == 100 * (MIB + 4096)

    def test_packed(self) -> None:
        text = b'{"resourceType": "Patient"}' * 1000
        for length in (1, 7, 100_000):
            stream = Counted(pieces(gzip.compress(text), length))
            assert read_body(httpx.Response(200, headers=GZIP, stream=stream)) == text

    def test_what_unpacks_to_gigabytes_is_not_read_to_its_end(self) -> None:
        packed = spaces(959)
        stream = Counted(pieces(packed))
        with pytest.raises(AnswerTooLarge):
            read_body(httpx.Response(200, headers=GZIP, stream=stream))
        # As much of it as unpacks to the bound, and the piece in which that is passed.
        assert stream.received <= len(packed) * MAX_ANSWER_BYTES / (959 * MIB) + 2000

    def test_it_is_not_unpacked_beyond_the_bound_in_one_piece(self, monkeypatch: pytest.MonkeyPatch) -> None:
        unpacked: list[int] = []
        decompressobj = zlib.decompressobj

        class Watched:
            def __init__(self, wbits: int) -> None:
                self._decoder = decompressobj(wbits)
                self.eof = False

            def decompress(self, chunk: bytes, most: int) -> bytes:
                part = self._decoder.decompress(chunk, most)
                unpacked.append(len(part))
                return part

        monkeypatch.setattr(zlib, "decompressobj", Watched)
        with pytest.raises(AnswerTooLarge):
            read_body(httpx.Response(200, headers=GZIP, stream=Counted([spaces(200)])))
        assert sum(unpacked) == MAX_ANSWER_BYTES + 1

    @pytest.mark.parametrize("element", [b"[],", b"{},", b"0,"])
    def test_what_takes_gigabytes_once_parsed_is_refused(self, element: bytes) -> None:
        body = b'{"resourceType":"Bundle","entry":[' + element * MAX_ANSWER_ELEMENTS + b"0]}"
        assert len(body) < MAX_ANSWER_BYTES
        with pytest.raises(AnswerTooLarge):
            read_body(httpx.Response(200, stream=Counted(pieces(body, MIB))))

    def test_one_without_end_is_given_up(self) -> None:
        def endless() -> Iterator[bytes]:
            while True:
                yield b" " * MIB

        stream = Counted(endless())
        with pytest.raises(AnswerTooLarge):
            read_body(httpx.Response(200, stream=stream))
        assert stream.received == MAX_ANSWER_BYTES + MIB

    def test_one_without_end_behind_its_packed_text_is_given_up(self) -> None:
        def endless() -> Iterator[bytes]:
            yield gzip.compress(b"{}")
            while True:
                yield b" " * MIB

        stream = Counted(endless())
        with pytest.raises(AnswerTooLarge):
            read_body(httpx.Response(200, headers=GZIP, stream=stream))
        assert stream.received <= MAX_ANSWER_BYTES + 2 * MIB

    @pytest.mark.parametrize("body", [b"not gzip", gzip.compress(b"{}" * 1000, mtime=0)[:-9], b""])
    def test_what_is_not_gzip_is_no_answer(self, body: bytes) -> None:
        with pytest.raises(httpx.RequestError):
            read_body(httpx.Response(200, headers=GZIP, stream=Counted([body])))

    def test_a_second_layer_is_not_unpacked(self) -> None:
        twice = gzip.compress(spaces(10))
        answer = httpx.Response(200, headers={"Content-Encoding": "gzip, gzip"}, stream=Counted([twice]))
        assert read_body(answer) == twice


def bomb(request: ProxiedRequest, forward: Forward) -> Answer:
    """The request is carried out, and answered with 2 MiB that are packed."""
    forward()
    return Answer(200, list(GZIP.items()), spaces(2))


class TestOutage:
    """The bound is 1 MiB here."""

    @pytest.fixture(autouse=True)
    def bound(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(body_module, "MAX_ANSWER_BYTES", MIB)

    @pytest.mark.parametrize("encoding", ["gzip", "gzip, gzip", "br"])
    def test_data_stays(self, proxy: FaultProxy, proxied: str, encoding: str) -> None:
        proxy.answer(200, spaces(2), {"Content-Encoding": encoding}, when=reads, times=None)
        (outcome,) = write_all(proxied, series(identity(), {0: 60}))
        assert isinstance(error_of(outcome), FhirServerUnavailable)
        assert not [request for request in proxy.requests if writes(request)]

    def test_it_says_what_to_do(self, server: Server, proxy: FaultProxy, proxied: str) -> None:
        proxy.rule(bomb, when=reads, times=None)
        (error,) = resolve(proxied, LOOKUP, key(unique("device")))
        assert isinstance(error, FhirServerUnavailable)
        assert "128 MiB" in error.message
        assert "FHIR_BUNDLE_SIZE" in error.message

    def test_of_capabilities(self, proxy: FaultProxy, proxied: str) -> None:
        proxy.rule(bomb)
        with FhirClient(proxied) as client, pytest.raises(FhirServerUnavailable, match="128 MiB"):
            client.capabilities()

    def test_of_a_further_page(self, server: Server, proxy: FaultProxy, proxied: str) -> None:
        following = {"link": [{"relation": "next", "url": f"{proxied}/Device?page=2"}]}
        proxy.rewrite(lambda answer: answer | following, when=reads)
        proxy.rule(bomb, when=lambda request: "page=2" in request.path)
        with FhirClient(proxied) as client, pytest.raises(FhirServerUnavailable, match="128 MiB"):
            client.search("Device", [{"identifier": unique("d")}])

    def test_of_one_resource_does_not_stop_its_neighbours(
        self, server: Server, proxy: FaultProxy, proxied: str
    ) -> None:
        names = [unique("device") for _ in range(8)]
        devices = [add_device(server, name, add(server, "Patient", unique("patient"))) for name in names]
        proxy.rule(bomb, when=lambda request: reads(request) and names[3].encode() in request.body, times=None)

        found = resolve(proxied, LOOKUP, *map(key, names))

        error = found.pop(3)
        assert isinstance(error, FhirServerUnavailable)
        assert [getattr(each, "device", None) for each in found] == devices[:3] + devices[4:]

    def test_of_reads_that_are_only_together_too_large(self, server: Server, proxy: FaultProxy, proxied: str) -> None:
        def many(request: ProxiedRequest, forward: Forward) -> Answer:
            return bomb(request, forward) if len(request.bundle_methods) > 2 else forward()

        proxy.rule(many, when=reads, times=None)
        with FhirClient(proxied) as client:
            replies = client.exchange([Interaction("GET", f"Patient/{n}") for n in range(8)])
        assert [reply.verdict for reply in replies] == [Verdict.ABSENT] * 8

    def test_of_writes_is_read_again_and_not_sent_again(self, server: Server, proxy: FaultProxy, proxied: str) -> None:
        proxy.rule(bomb, when=writes)
        (outcome,) = write_all(proxied, series(identity(), {0: 60}))
        assert saved_as(outcome) is SavedAs.CREATED
        assert points(server.observation(outcome.write)) == {0: "60"}
        assert server.versions(f"Observation/{resource_id(outcome.write)}") == 1


def test_packed_answers_are_read(server: Server, proxy: FaultProxy, proxied: str) -> None:
    def packed(request: ProxiedRequest, forward: Forward) -> Answer:
        answer = forward()
        return Answer(answer.status, [*answer.headers, *GZIP.items()], gzip.compress(answer.body))

    proxy.rule(packed, times=None)
    (outcome,) = write_all(proxied, series(identity(), {0: 60}))
    assert saved_as(outcome) is SavedAs.CREATED
