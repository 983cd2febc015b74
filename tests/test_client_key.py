"""A client's private key as people set it, and what is said about one that cannot be used."""

import json
from typing import Any

import jwt
import pytest
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from medtech.client_key import ClientKey, UnusableKey

RSA, EC = RSAKey.generate_key(2048), ECKey.generate_key("P-384")
SIGNS_WITH = {"RS384": RSA, "ES384": EC}


def pem(key: Any, private: bool = True) -> str:
    return str(key.as_pem(private=private).decode())


def jwk(key: Any, private: bool = True, **members: Any) -> str:
    return json.dumps({**key.as_dict(private=private), **members})


CURVE = "-----BEGIN EC PARAMETERS-----\nBgUrgQQAIg==\n-----END EC PARAMETERS-----\n"
"""As `openssl ecparam -genkey` writes it before the key."""

FORMS = {
    "as it was made": lambda text: text,
    "with spaces for line breaks": lambda text: text.replace("\n", " "),
    "with backslash and n": lambda text: text.replace("\n", "\\n"),
    "from Windows": lambda text: text.replace("\n", "\r\n"),
    "with a curve before it": lambda text: (
        f"-----BEGIN EC PARAMETERS-----\nBgUrgQQAIg==\n-----END EC PARAMETERS-----\n{text}"
    ),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("algorithm", SIGNS_WITH)
def test_pem_is_read_however_its_lines_are_broken(algorithm: str, form: str) -> None:
    key = SIGNS_WITH[algorithm]
    read = ClientKey.read(FORMS[form](pem(key)))
    assert (read.algorithm, read.key_id) == (algorithm, key.thumbprint())
    assert read.key.as_dict(private=True) == key.as_dict(private=True)


@pytest.mark.parametrize("algorithm", SIGNS_WITH)
def test_a_jwk_keeps_its_id(algorithm: str) -> None:
    read = ClientKey.read(jwk(SIGNS_WITH[algorithm], kid="key 1", use="sig", alg=algorithm, key_ops=["sign"]))
    assert (read.algorithm, read.key_id) == (algorithm, "key 1")


@pytest.mark.parametrize("algorithm", SIGNS_WITH)
def test_what_is_registered_verifies_what_is_signed_and_holds_nothing_private(algorithm: str) -> None:
    read = ClientKey.read(jwk(SIGNS_WITH[algorithm], key_ops=["sign"]))
    public = read.public_jwk()
    assert set(public) & {"d", "p", "q", "dp", "dq", "qi", "key_ops"} == set()
    assert (public["kid"], public["alg"], public["use"]) == (read.key_id, algorithm, "sig")
    signed = jwt.encode({"a": 1}, read.key.private_key, algorithm=algorithm)
    assert jwt.decode(signed, jwt.PyJWK(public).key, algorithms=[algorithm]) == {"a": 1}


def test_a_key_is_not_shown() -> None:
    assert repr(ClientKey.read(jwk(EC, kid="k"))) == "ClientKey(algorithm='ES384', key_id='k')"


UNUSABLE = {
    "nothing": ("", "neither PEM"),
    "a word": ("SECRET", "neither PEM"),
    "half a PEM": (pem(RSA)[:200], "neither PEM"),
    "PEM of something else": ("-----BEGIN PRIVATE KEY-----\nU0VDUkVU\n-----END PRIVATE KEY-----", "no private key"),
    "a public PEM": (pem(RSA, private=False), "public key"),
    "a locked PEM": (EC.as_pem(private=True, password="SECRET").decode(), "passphrase"),
    "another kind of key": (pem(OKPKey.generate_key("Ed25519")), "neither an RSA nor an EC key"),
    "another curve": (pem(ECKey.generate_key("P-256")), "P-384"),
    "half a JWK": (jwk(RSA)[:100], "no JSON"),
    "a key set": (json.dumps({"keys": [RSA.as_dict(private=True)]}), "the one key"),
    "a symmetric JWK": (jwk(OctKey.generate_key(384)), "RSA or EC"),
    "a JWK without members": ('{"kty": "RSA"}', "missing or wrong"),
    "a JWK with a member of the wrong type": (jwk(EC, d=5), "missing or wrong"),
    "a public JWK": (jwk(EC, private=False), "public key"),
    "a JWK for another algorithm": (jwk(RSA, alg="RS256"), "RS384"),
    "a JWK for encryption": (jwk(RSA, use="enc"), "does not sign"),
    "a JWK of another key's parts": (jwk(RSA, d=RSAKey.generate_key(2048).as_dict(private=True)["d"]), "wrong"),
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_an_unusable_key_is_told_without_what_it_holds(name: str) -> None:
    text, said = UNUSABLE[name]
    with pytest.raises(UnusableKey, match=said) as caught:
        ClientKey.read(text)
    assert "SECRET" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_short_key_is_refused() -> None:
    with pytest.warns(UserWarning, match="2048"):
        short = RSAKey.generate_key(1024)
    for text in (pem(short), jwk(short)):
        with pytest.raises(UnusableKey, match="1024 bits"):
            ClientKey.read(text)
