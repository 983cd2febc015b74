"""The body of an answer, read as far as an answer may go: a small one that unpacks to gigabytes ends no process."""

import zlib
from typing import NamedTuple

import httpx

from medtech import deadline

MAX_ANSWER_BYTES = 128 * 1024 * 1024
"""Of one answer, unpacked. The largest that a bundle of reads can rightly bring fits: 100 Observations (the default
FHIR_BUNDLE_SIZE), whose data points take up to 1 MiB each. Where more is read at once, what is too large is halved."""

MAX_ANSWER_ELEMENTS = 4_000_000
"""Of its JSON: `[],` takes three bytes on the wire and eighty in memory. A hundred Observations have some 5,000."""

LATE_PIECES = 200
"""Of an answer that is on its way when the deadline is over, so much is still read, some megabytes: it says what was
written. A server that sends a byte now and then would otherwise keep the connection for good."""

ACCEPTED_ENCODING = "gzip"
"""One layer of gzip is unpacked here, piece by piece. What comes in another encoding is not FHIR to us: nobody asked
for it, and layer upon layer would turn every kilobyte into a gigabyte."""


class AnswerTooLarge(Exception):
    """It is longer than MAX_ANSWER_BYTES, and the rest was not read, or has more than MAX_ANSWER_ELEMENTS."""


class Answer(NamedTuple):
    """An answer that was read; `content` is its body, unpacked."""

    status_code: int
    headers: httpx.Headers
    content: bytes

    @property
    def is_success(self) -> bool:
        return 200 <= self.status_code < 300


def read_body(answer: httpx.Response) -> bytes:
    """The body, unpacked.

    Raises AnswerTooLarge, and httpx.RequestError for one that was cut, is not gzip, or goes on and on after the
    deadline.
    """
    packed = answer.headers.get("content-encoding", "").strip().lower() == ACCEPTED_ENCODING
    decoder = zlib.decompressobj(zlib.MAX_WBITS | 16) if packed else None
    parts: list[bytes] = []
    received = size = late = 0
    for chunk in answer.iter_raw():
        late += not deadline.seconds_left()
        if late > LATE_PIECES:
            raise httpx.ReadTimeout("the answer was not complete at the deadline")
        received += len(chunk)
        if decoder is None:
            parts.append(chunk)
        elif not decoder.eof:
            try:
                parts.append(decoder.decompress(chunk, MAX_ANSWER_BYTES + 1 - size))
            except zlib.error:
                raise httpx.DecodingError("the answer is not gzip, as its header says") from None
            size += len(parts[-1])
        if max(received, size) > MAX_ANSWER_BYTES:
            raise AnswerTooLarge
    if decoder and not decoder.eof:
        raise httpx.DecodingError("the answer ends before its gzip does")
    body = b"".join(parts)
    # Each element takes at least one of these; those in texts count too, but few texts are that long.
    if len(body) > MAX_ANSWER_ELEMENTS and sum(map(body.count, (b"{", b"[", b","))) > MAX_ANSWER_ELEMENTS:
        raise AnswerTooLarge
    return body
