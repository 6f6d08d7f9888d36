from __future__ import annotations

import contextlib
import logging
import secrets
import ssl

import pytest

from propagul.errors import IdentityError
from propagul.link import Credentials, Identity, RoomAuthority
from propagul.link.certificates import holder, issued_by, parse_certificate

STRONG = "k3Jq9vXw2LmZp7RtYb5NcA"


def test_two_holders_of_one_secret_derive_the_same_certificate() -> None:
    first, second = (RoomAuthority.from_secret("room", STRONG) for _ in range(2))
    assert first.ca_pem == second.ca_pem
    node = Identity.generate().node
    assert first.certify(node) == second.certify(node)


def test_the_derivation_is_part_of_the_protocol() -> None:
    # A change of these values means that new and old nodes no longer form one room.
    assert (
        Credentials.from_authority(Identity.generate(), RoomAuthority.from_secret("room", STRONG)).room_tag
        == "11e25c91766900bd"
    )
    weak = RoomAuthority.from_secret("room", "twelve chars")
    assert Credentials.from_authority(Identity.generate(), weak).room_tag == "7138013b77561273"
    assert Credentials.from_authority(Identity.generate(), RoomAuthority.open("room")).room_tag == "be8b538195589308"


def test_another_room_or_secret_is_another_authority() -> None:
    authorities = [
        RoomAuthority.from_secret("room", STRONG),
        RoomAuthority.from_secret("room2", STRONG),
        RoomAuthority.from_secret("room", STRONG + "x"),
        RoomAuthority.from_secret("room", "twelve chars"),
        RoomAuthority.from_secret("room2", "twelve chars"),
        RoomAuthority.open("room"),
        RoomAuthority.open("room2"),
    ]
    assert len({authority.ca_pem for authority in authorities}) == len(authorities)


def test_text_and_its_bytes_are_one_secret() -> None:
    assert RoomAuthority.from_secret("r", STRONG).ca_pem == RoomAuthority.from_secret("r", STRONG.encode()).ca_pem


def test_a_composed_and_a_decomposed_letter_are_one_secret() -> None:
    composed, decomposed = "caf\u00e9" * 8, "cafe\u0301" * 8
    assert RoomAuthority.from_secret("r", composed).ca_pem == RoomAuthority.from_secret("r", decomposed).ca_pem


@pytest.mark.parametrize("secret", ["", "elevenchars", b"elevenchars"])
def test_a_secret_under_twelve_characters_is_refused_without_being_quoted(secret: str | bytes) -> None:
    with pytest.raises(IdentityError, match="at least 12") as caught:
        RoomAuthority.from_secret("room", secret)
    assert "eleven" not in str(caught.value)


@pytest.mark.parametrize(
    "secret",
    ["twelve chars", "0" * 64, "abab" * 16, "1234567890" * 3, secrets.token_hex(15), secrets.token_bytes(15)],
    ids=["words", "one character", "two characters", "digits", "120 bits in hexadecimal", "120 bits"],
)
def test_a_weak_secret_is_stretched_and_says_so(secret: str | bytes, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "propagul.link"):
        assert RoomAuthority.from_secret("room", secret).stretched
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert str(secret) not in caplog.text


@pytest.mark.parametrize(
    "secret",
    [STRONG, secrets.token_hex(17), secrets.token_urlsafe(32), bytes(range(16))],
    ids=["22 letters and digits", "136 bits in hexadecimal", "256 bits in base64", "16 bytes"],
)
def test_a_strong_secret_is_not_stretched(secret: str | bytes, caplog: pytest.LogCaptureFixture) -> None:
    assert not RoomAuthority.from_secret("room", secret).stretched
    assert caplog.records == []


@pytest.mark.parametrize("room", ["", "x" * 256])
def test_a_room_has_a_name_of_bounded_length(room: str) -> None:
    with pytest.raises(IdentityError, match="1 to 255 bytes"):
        RoomAuthority.from_secret(room, STRONG)


def test_certificates_hold_a_key_and_no_names() -> None:
    authority, identity = RoomAuthority.from_secret("room-name", STRONG), Identity.generate()
    first = parse_certificate(authority.certify(identity.node))
    assert holder(first) == identity.node
    assert first.subject.rfc4514_string() == "CN=propagul member"
    assert first.issuer.rfc4514_string() == "CN=propagul room"
    assert b"room-name" not in ssl.PEM_cert_to_DER_cert(authority.ca_pem)
    assert (first.not_valid_before_utc.year, first.not_valid_after_utc.year) == (1970, 9999)


def test_a_member_cannot_certify_others() -> None:
    authority, member = RoomAuthority.from_secret("room", STRONG), Identity.generate()
    forged = RoomAuthority("room", member.key, secured=True, stretched=False).certify(Identity.generate().node)
    assert not issued_by(parse_certificate(forged), parse_certificate(authority.certify(member.node)))
    assert not issued_by(parse_certificate(forged), parse_certificate(authority.ca_pem))


def test_a_grant_for_another_key_or_of_another_authority_is_refused() -> None:
    authority, other = RoomAuthority.from_secret("room", STRONG), RoomAuthority.open("room")
    identity = Identity.generate()
    certificate = authority.certify(identity.node)
    assert Credentials.from_grant(identity, certificate, authority.ca_pem).node == identity.node
    with pytest.raises(IdentityError, match="another node"):
        Credentials.from_grant(Identity.generate(), certificate, authority.ca_pem)
    with pytest.raises(IdentityError, match="not of this room"):
        Credentials.from_grant(identity, certificate, other.ca_pem)
    with pytest.raises(IdentityError, match="damaged"):
        Credentials.from_grant(identity, "nonsense", authority.ca_pem)


def test_contexts_speak_tls_1_3_only_and_require_certificates() -> None:
    credentials = Credentials.from_authority(Identity.generate(), RoomAuthority.open("room"))
    for context in (credentials.dialer_context(), credentials.acceptor_context()):
        assert context.minimum_version is context.maximum_version is ssl.TLSVersion.TLSv1_3
        assert context.verify_mode is ssl.CERT_REQUIRED
    assert credentials.dialer_context().num_tickets == 0
    assert credentials.acceptor_context() is credentials.acceptor_context()


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        (b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x6d"),  # a version that does not exist
        (b"\x30\x05\x06\x03\x2b\x65\x70\x03\x21", b"\x30\x05\x06\x03\x21\x65\x70\x03\x21"),  # a kind of key
        (b"\x06\x03\x55\x1d\x0e", b"\x06\x03\x55\x1d\x13"),  # an extension twice
    ],
    ids=["version", "key", "extension"],
)
def test_a_certificate_that_no_library_of_ours_understands_is_refused(good: bytes, bad: bytes) -> None:
    """Found by fuzzing: each of these has an exception of its own there."""
    authority = RoomAuthority.from_secret("room", STRONG)
    whole = ssl.PEM_cert_to_DER_cert(authority.ca_pem)
    assert whole.count(good) == 1
    with contextlib.suppress(IdentityError):
        shown = parse_certificate(whole.replace(good, bad))
        assert not issued_by(shown, shown)
        holder(shown)
