"""What a token must be to open anything, and what is refused."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import time
import warnings
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from jwt.algorithms import ECAlgorithm

from orgtenancy.errors import ConfigurationError, Unauthenticated
from orgtenancy.identity import StaticKeys, TokenVerifier
from tests.identity.signing import API, ISSUER, PREFIX, Signer, claims, key_set

GOOD = Signer("good")
FOREIGN = Signer("good")  # the same key id, another key


def make_verifier(**changes: Any) -> TokenVerifier:
    settings: dict[str, Any] = {
        "keys": StaticKeys(key_set(GOOD)),
        "audiences": [API],
        "audience_prefixes": [PREFIX],
        **changes,
    }
    return TokenVerifier(ISSUER, **settings)


VERIFIER = make_verifier()


@pytest.fixture(params=["sync", "async"])
def verify(request: pytest.FixtureRequest) -> Callable[[str], Any]:
    if request.param == "sync":
        return VERIFIER.verify
    return lambda token: asyncio.run(VERIFIER.verify_async(token))


def segment(value: object) -> str:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def test_a_good_token_gives_its_claims(verify: Callable[[str], Any]) -> None:
    assert verify(GOOD.sign(claims()))["sub"] == "afb6zw2tnuqy"


@pytest.mark.parametrize("algorithm", ["ES384", "ES256", "RS256", "EdDSA"])
@pytest.mark.parametrize("alg_in_jwk", [True, False])
def test_each_default_algorithm_verifies_with_and_without_alg_in_the_key(
    algorithm: str, alg_in_jwk: bool
) -> None:
    signer = Signer("k", algorithm)
    jwk = signer.jwk() if alg_in_jwk else signer.jwk(alg=None, use=None)
    verifier = make_verifier(keys=StaticKeys({"keys": [jwk]}))
    assert verifier.verify(signer.sign(claims()))["iss"] == ISSUER


@pytest.mark.parametrize("typ", ["at+jwt", "JWT", "application/at+jwt", None])
def test_usual_types_are_accepted(typ: str | None) -> None:
    assert VERIFIER.verify(GOOD.sign(claims(), typ=typ))


@pytest.mark.parametrize(
    "audience", [API, [API], ["https://other.example", API], f"{PREFIX}acme", [f"{PREFIX}acme"]]
)
def test_one_fitting_audience_is_enough(audience: object) -> None:
    assert VERIFIER.verify(GOOD.sign(claims(aud=audience)))


NOW = int(time.time())
ATTACKS: dict[str, Callable[[], str]] = {
    "no signature, alg none": lambda: (
        f"{segment({'alg': 'none', 'kid': 'good'})}.{segment(claims())}."
    ),
    "alg NONE in other letters": lambda: (
        f"{segment({'alg': 'nOnE', 'kid': 'good'})}.{segment(claims())}."
    ),
    "alg missing": lambda: f"{segment({'kid': 'good'})}.{segment(claims())}.AA",
    "alg as a list": lambda: f"{segment({'alg': ['ES384']})}.{segment(claims())}.AA",
    "foreign key with a known kid": lambda: FOREIGN.sign(claims()),
    "unknown kid": lambda: Signer("other").sign(claims()),
    "kid as a path": lambda: FOREIGN.sign(claims(), kid="../../../dev/null"),
    "kid as SQL": lambda: FOREIGN.sign(claims(), kid="x' UNION SELECT 'good"),
    "kid as a number": lambda: (
        f"{segment({'alg': 'ES384', 'kid': 1})}.{segment(claims())}.AA"
    ),
    "kid with a line break": lambda: GOOD.sign(claims(), kid="good\n"),
    "kid of 257 characters": lambda: FOREIGN.sign(claims(), kid="g" * 257),
    "an empty kid": lambda: GOOD.sign(claims(), kid=""),
    "its own key in the header": lambda: FOREIGN.sign(claims(), kid=None, jwk=FOREIGN.jwk()),
    "its own key set in the header": lambda: FOREIGN.sign(
        claims(), kid="new", jku="http://127.0.0.1:9/jwks"
    ),
    "its own certificate in the header": lambda: FOREIGN.sign(
        claims(), kid="new", x5u="http://127.0.0.1:9/cert", x5c=["MIIB"]
    ),
    "a header's member twice": lambda: signed(
        json.dumps(claims()).encode(), b'{"alg":"ES384","kid":"good","kid":"other"}'
    ),
    "the algorithm twice": lambda: signed(
        json.dumps(claims()).encode(), b'{"alg":"none","alg":"ES384","kid":"good"}'
    ),
    "a header that is a list": lambda: signed(json.dumps(claims()).encode(), b'["ES384"]'),
    "a header in UTF-16": lambda: signed(
        json.dumps(claims()).encode(), '{"alg":"ES384","kid":"good"}'.encode("utf-16")
    ),
    "a payload in UTF-16": lambda: signed(json.dumps(claims()).encode("utf-16")),
    "an unknown critical header": lambda: GOOD.sign(claims(), crit=["exp"], exp=NOW + 60),
    "wrong issuer": lambda: GOOD.sign(claims(iss="https://evil.example/oidc")),
    "issuer with a slash more": lambda: GOOD.sign(claims(iss=f"{ISSUER}/")),
    "no issuer": lambda: GOOD.sign(claims(iss=None)),
    "wrong audience": lambda: GOOD.sign(claims(aud="https://other.example")),
    "audience that only starts like ours": lambda: GOOD.sign(claims(aud=f"{API}.evil.example")),
    "no audience": lambda: GOOD.sign(claims(aud=None)),
    "empty audience": lambda: GOOD.sign(claims(aud=[])),
    "audience as an object": lambda: GOOD.sign(claims(aud={API: True})),
    "audience with a number in it": lambda: GOOD.sign(claims(aud=[API, 1])),
    "expired": lambda: GOOD.sign(claims(exp=NOW - 31)),
    "no expiry": lambda: GOOD.sign(claims(exp=None)),
    "expiry as text": lambda: GOOD.sign(claims(exp="never")),
    "not yet valid": lambda: GOOD.sign(claims(nbf=NOW + 86_400)),
    "issued in the future": lambda: GOOD.sign(claims(iat=NOW + 86_400)),
    "expiry as digits in a text": lambda: GOOD.sign(claims(exp=str(NOW + 600))),
    "expiry as true": lambda: GOOD.sign(claims(exp=True)),
    "issue time as null": lambda: signed(json.dumps({**claims(), "iat": None}).encode()),
    "issue time as a list": lambda: GOOD.sign(claims(iat=[NOW])),
    "start as an object": lambda: GOOD.sign(claims(nbf={"at": NOW})),
    "no subject": lambda: GOOD.sign(claims(sub=None)),
    "empty subject": lambda: GOOD.sign(claims(sub="")),
    "subject as a number": lambda: GOOD.sign(claims(sub=7)),
    "subject with NUL": lambda: GOOD.sign(claims(sub="alice\0")),
    "subject of 256 characters": lambda: GOOD.sign(claims(sub="a" * 256)),
    "token of another type": lambda: GOOD.sign(claims(), typ="logout+jwt"),
    "type as a list": lambda: GOOD.sign(claims(), typ=["at+jwt"]),
    "oversized": lambda: GOOD.sign(claims(padding="x" * 16_384)),
    "payload is a list": lambda: signed(b"[]"),
    "payload is no JSON": lambda: signed(b"{"),
    "payload is no UTF-8": lambda: signed(b"\xff\xfe\xff"),
    "payload nested without end": lambda: signed(b'{"a":' * 2000 + b"1" + b"}" * 2000),
    "a claim twice": lambda: signed(json.dumps(claims()).replace("{", '{"sub":"x",', 1).encode()),
    "expiry without end": lambda: signed(json.dumps(claims(exp=float("inf"))).encode()),
    "a claim that is not JSON": lambda: signed(json.dumps(claims(x=float("nan"))).encode()),
    "expiry too large": lambda: signed(json.dumps({**claims(), "exp": 0})
                                       .replace('"exp": 0', '"exp": 1e400').encode()),
    "empty": lambda: "",
    "two segments": lambda: "a.b",
    "five segments, encrypted": lambda: GOOD.sign(claims()) + ".AA.AA",
    "a space inside": lambda: GOOD.sign(claims()).replace(".", ". ", 1),
    # Python's decoder skips them: the same token in another spelling.
    "characters that are no base64": lambda: spelled_otherwise(GOOD.sign(claims())),
    "padding": lambda: GOOD.sign(claims()) + "==",
    "not ASCII": lambda: "ä.ö.ü",
    "lone surrogate": lambda: "\ud800.a.b",
    "signature cut": lambda: GOOD.sign(claims())[:-8],
    "payload changed": lambda: swap_payload(GOOD.sign(claims()), claims(sub="somebody-else")),
}  # fmt: skip


def signed(payload: bytes, header: bytes = b'{"alg":"ES384","kid":"good"}') -> str:
    """Sign bytes that are no claims, or under a header that no library would write."""
    assert isinstance(GOOD.key, ec.EllipticCurvePrivateKey)
    content = f"{segment(header)}.{segment(payload)}"
    signature = ECAlgorithm(ECAlgorithm.SHA384).sign(content.encode(), GOOD.key)
    return f"{content}.{segment(signature)}"


def test_what_is_signed_by_hand_is_accepted_when_it_is_good() -> None:
    assert VERIFIER.verify(signed(json.dumps(claims()).encode()))


def spelled_otherwise(token: str) -> str:
    content, _, signature = token.rpartition(".")
    return f"{content}.!!!!{signature}"


def swap_payload(token: str, payload: object) -> str:
    header, _, signature = token.split(".")
    return f"{header}.{segment(payload)}.{signature}"


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_token_is_refused(attack: str, verify: Callable[[str], Any]) -> None:
    token = ATTACKS[attack]()
    with pytest.raises(Unauthenticated):
        verify(token)


@pytest.mark.parametrize("algorithm", ["ES384", "RS256"])
@pytest.mark.parametrize("form", [Encoding.PEM, Encoding.DER])
def test_the_public_key_as_hmac_secret_is_refused(algorithm: str, form: Encoding) -> None:
    signer = Signer("good", algorithm)
    secret = signer.key.public_key().public_bytes(form, PublicFormat.SubjectPublicKeyInfo)
    content = f"{segment({'alg': 'HS256', 'kid': 'good'})}.{segment(claims())}"
    signature = hmac.new(secret, content.encode(), hashlib.sha256).digest()
    verifier = make_verifier(keys=StaticKeys(key_set(signer)))
    assert verifier.verify(signer.sign(claims()))
    with pytest.raises(Unauthenticated, match="algorithm"):
        verifier.verify(f"{content}.{segment(signature)}")


def test_a_key_verifies_only_the_algorithm_it_declares() -> None:
    signer = Signer("k", "RS256")
    keys = StaticKeys({"keys": [signer.jwk(alg="PS256")]})
    verifier = make_verifier(keys=keys, algorithms=["RS256", "PS256"])
    with pytest.raises(Unauthenticated, match="unknown key"):
        verifier.verify(signer.sign(claims()))


def test_a_token_without_kid_needs_a_set_with_one_fitting_key() -> None:
    other = Signer("rsa", "RS256")
    one = make_verifier(keys=StaticKeys(key_set(GOOD, other)))
    assert one.verify(GOOD.sign(claims(), kid=None))
    two = make_verifier(keys=StaticKeys(key_set(GOOD, FOREIGN)))
    with pytest.raises(Unauthenticated):
        two.verify(GOOD.sign(claims(), kid=None))


def test_clocks_may_differ_by_the_leeway() -> None:
    assert VERIFIER.verify(GOOD.sign(claims(exp=int(time.time()) - 10)))
    strict = make_verifier(leeway=0)
    with pytest.raises(Unauthenticated, match="expired"):
        strict.verify(GOOD.sign(claims(exp=int(time.time()) - 10)))


@pytest.mark.parametrize(
    "changes",
    [
        {"algorithms": ["HS256"]},
        {"algorithms": ["ES384", "none"]},
        {"algorithms": "ES384"},
        {"audiences": [], "audience_prefixes": []},
        {"audiences": API},
        {"audience_prefixes": [""]},
    ],
)
def test_settings_that_accept_forged_or_foreign_tokens_are_refused(changes: Any) -> None:
    with pytest.raises(ConfigurationError):
        make_verifier(**changes)


@pytest.mark.parametrize(
    "member",
    [
        {"kty": "oct", "k": "c2VjcmV0", "kid": "k"},
        {"kty": "unheard-of", "kid": "k"},
        {"kty": "EC", "crv": "P-384", "kid": "k", "x": "AA", "y": "AA"},
        {"kty": "OKP", "crv": "X25519", "kid": "k", "x": "AA"},
        Signer("k").jwk(use="enc"),
        Signer("k").jwk(key_ops=["sign"]),
        Signer("k").jwk(alg="HS256"),
        Signer("k").jwk(kid=7),
        {**json.loads(json.dumps(Signer("k").jwk())), "alg": ["ES384"]},
        "text",
        None,
    ],
)
def test_unusable_keys_are_left_out_and_the_others_work(member: Any) -> None:
    keys = StaticKeys({"keys": [member, GOOD.jwk()]})
    assert make_verifier(keys=keys).verify(GOOD.sign(claims()))
    with pytest.raises(ConfigurationError):
        StaticKeys({"keys": [member]})


def test_a_short_rsa_key_is_left_out() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        short = Signer("k", "RS256", rsa.generate_private_key(public_exponent=65537, key_size=1024))
    with pytest.raises(ConfigurationError):
        StaticKeys(key_set(short))


def test_a_private_key_in_the_set_is_left_out() -> None:
    key = ec.generate_private_key(ec.SECP384R1())
    private = ECAlgorithm.to_jwk(key, as_dict=True)
    with pytest.raises(ConfigurationError):
        StaticKeys({"keys": [{**private, "kid": "k"}]})


@given(st.text(max_size=200) | st.from_regex(r"[\w-]{1,40}\.[\w-]{1,40}\.[\w-]{0,40}"))
def test_no_text_is_a_token_by_chance_and_none_breaks_the_verifier(text: str) -> None:
    with pytest.raises(Unauthenticated):
        VERIFIER.verify(text)


@given(st.data())
def test_no_changed_character_goes_unnoticed(data: st.DataObject) -> None:
    token = _TOKEN
    position = data.draw(st.integers(0, len(token) - 1))
    letter = data.draw(
        st.sampled_from("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0189-_.")
    )
    changed = token[:position] + letter + token[position + 1 :]
    if changed != token:
        with pytest.raises(Unauthenticated):
            VERIFIER.verify(changed)


_TOKEN = GOOD.sign(claims())
