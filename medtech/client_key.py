"""The private key with which the app proves to a token endpoint who it is (`FHIR_CLIENT_KEY`).

What it may be is what SMART App Launch 2.2 says in "Client Authentication: Asymmetric (public key)": an RSA key that
signs with RS384, or an EC key on curve P-384 that signs with ES384, known to the server by its `kid`.
"""

import json
import re
from dataclasses import dataclass, field
from textwrap import wrap
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from joserfc.jwk import ECKey, RSAKey

SHORTEST_RSA_BITS = 2048
"""RFC 7518, 3.3."""

_PEM = re.compile(r"-----BEGIN ([A-Z ]+)-----(.+?)-----END \1-----", re.DOTALL)
_LINE_BREAKS = re.compile(r"\\r|\\n|\s")

_PUBLIC_MEMBERS = ("kty", "n", "e", "crv", "x", "y")
"""Of an RSA or EC key (RFC 7518, 6.2.1 and 6.3.1)."""

_PUBLIC = "It is a public key. Set the private key that belongs to it."


class UnusableKey(ValueError):
    """Its text says what is wrong and how to put it right, and nothing of the key."""


@dataclass(frozen=True, slots=True)
class ClientKey:
    """A private key that signs with `algorithm` (`RS384` or `ES384`), as the server knows it: `key_id`."""

    algorithm: str
    key_id: str
    key: "RSAKey | ECKey" = field(repr=False)

    @classmethod
    def read(cls, text: str) -> Self:
        """From PEM or from a JWK, whose `kid` is kept; a PEM's is its thumbprint (RFC 7638).

        App settings and vaults often hold the line breaks of a PEM as spaces or as backslash and n: it is read all the
        same. Raises UnusableKey.
        """
        # Imported late, as it takes a while and few apps have such a key.
        from joserfc import jwt

        key = _from_jwk(text) if text.lstrip().startswith("{") else _from_pem(text)
        if not key.is_private:
            raise UnusableKey(_PUBLIC)
        algorithm = _algorithm(key)
        if key.alg not in (None, algorithm):
            raise UnusableKey(f"Its `alg` is another than {algorithm}, by which a key of its kind signs here.")
        try:
            jwt.encode({"alg": algorithm}, {}, key, algorithms=[algorithm])
        except Exception:  # noqa: BLE001 - of `use`, `key_ops` or a part that does not fit the others
            raise UnusableKey("It does not sign: check its `use`, its `key_ops` and that it is complete.") from None
        return cls(algorithm, key.kid or key.thumbprint(), key)

    def public_jwk(self) -> dict[str, str]:
        """What the server must know, to be registered there."""
        members: dict[str, Any] = dict(self.key.as_dict(private=False))
        public = {name: str(members[name]) for name in _PUBLIC_MEMBERS if name in members}
        return {**public, "kid": self.key_id, "alg": self.algorithm, "use": "sig"}


def _from_pem(text: str) -> "RSAKey | ECKey":
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    from joserfc.jwk import ECKey, RSAKey

    # `openssl ecparam` writes the curve, as a block of its own, before the key.
    blocks: dict[str, str] = dict(_PEM.findall(text))
    label = next((each for each in blocks if each.endswith("PRIVATE KEY")), None)
    if label is None:
        if any(each.endswith("PUBLIC KEY") for each in blocks):
            raise UnusableKey(_PUBLIC)
        raise UnusableKey("It is neither PEM (-----BEGIN PRIVATE KEY-----) nor a JWK ({…}). Set it whole.")
    body = blocks[label]
    if label.startswith("ENCRYPTED") or "ENCRYPTED" in body:
        raise UnusableKey("It is locked by a passphrase. Set it without one; the vault protects it.")
    lines = "\n".join(wrap(_LINE_BREAKS.sub("", body), 64))
    try:
        key = load_pem_private_key(f"-----BEGIN {label}-----\n{lines}\n-----END {label}-----\n".encode(), None)
    except Exception:  # noqa: BLE001 - what a parser says may quote what it read
        raise UnusableKey("It is PEM, but no private key. Set it whole, as it was made.") from None
    if isinstance(key, RSAPrivateKey):
        _check_length(key.key_size)
        return RSAKey.import_key(key)
    if isinstance(key, EllipticCurvePrivateKey):
        return ECKey.import_key(key)
    raise UnusableKey("It is neither an RSA nor an EC key.")


def _from_jwk(text: str) -> "RSAKey | ECKey":
    from joserfc.jwk import ECKey, RSAKey
    from joserfc.util import base64_to_int

    try:
        members = json.loads(text)
    except (ValueError, RecursionError):
        raise UnusableKey("It starts as a JWK, but is no JSON. Set it whole.") from None
    if members.get("kty") not in ("RSA", "EC"):
        raise UnusableKey("It is no JWK of an RSA or EC key (`kty`). Of a key set, set the one key.")
    try:
        if members["kty"] == "EC":
            return ECKey.import_key(members)
        _check_length(base64_to_int(members["n"]).bit_length())
        return RSAKey.import_key(members)
    except UnusableKey:
        raise
    except Exception:  # noqa: BLE001 - what a parser says may quote what it read
        raise UnusableKey("It is a JWK with members that are missing or wrong. Set it whole, as it was made.") from None


def _check_length(bits: int) -> None:
    if bits < SHORTEST_RSA_BITS:
        raise UnusableKey(f"It has {bits} bits; an RSA key needs {SHORTEST_RSA_BITS}. Make a new one.")


def _algorithm(key: "RSAKey | ECKey") -> str:
    if key.key_type == "RSA":
        return "RS384"
    if key.as_dict(private=False).get("crv") != "P-384":
        raise UnusableKey("It is an EC key on another curve than P-384, which ES384 takes. Make one on P-384.")
    return "ES384"
