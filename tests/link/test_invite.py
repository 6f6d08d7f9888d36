from __future__ import annotations

import base64
import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from propagul.errors import IdentityError
from propagul.link import Address, Identity, Invite, invite_id
from propagul.link.certificates import holder, parse_certificate
from propagul.link.invite import ADDRESSES_MAX, _checksum
from propagul.link.messages import pack

ADDRESSES = (Address("192.168.1.2", 9002), Address("box1.local", 9002), Address("2001:db8::1", 1))


def an_invite() -> Invite:
    return Invite.new(addresses=ADDRESSES, room="my-project", issuer=Identity.generate().node)


def test_a_token_says_what_the_invite_says() -> None:
    invite = an_invite()
    assert Invite.decode(invite.encode()) == invite
    assert invite.encode().startswith("propagul1")
    assert len(invite.encode()) < 250


@pytest.mark.parametrize("width", [5, 20, 76])
def test_a_token_survives_wrapping_and_white_space(width: int) -> None:
    invite = an_invite()
    wrapped = "\r\n  ".join(textwrap.wrap(invite.encode(), width))
    assert Invite.decode(f"\n\t {wrapped} \n") == invite


def test_no_two_invites_are_alike() -> None:
    first, second = an_invite(), an_invite()
    assert first.code != second.code
    assert first.invite_id != second.invite_id


def test_both_ends_derive_the_same_key_certificate_and_id() -> None:
    invite = an_invite()
    again = Invite.decode(invite.encode())
    assert invite.certificate_pem == again.certificate_pem
    assert invite.key.node == again.key.node == holder(parse_certificate(invite.certificate_pem))
    assert invite.invite_id == again.invite_id == invite_id(invite.key.node)


@pytest.mark.parametrize("position", range(9, 200, 7))
def test_a_token_with_one_wrong_letter_is_damaged(position: int) -> None:
    token = an_invite().encode()
    position = min(position, len(token) - 2)
    wrong = token[:position] + ("A" if token[position] != "A" else "B") + token[position + 1 :]
    with pytest.raises(IdentityError, match="damaged: copy the whole of it"):
        Invite.decode(wrong)


def test_a_token_cut_short_is_damaged() -> None:
    token = an_invite().encode()
    for length in range(len("propagul1"), len(token)):
        with pytest.raises(IdentityError, match="damaged"):
            Invite.decode(token[:length])


@pytest.mark.parametrize(("text", "sentence"), [("", "no invite"), ("hello", "no invite"), ("propagul2abc", "newer")])
def test_what_is_no_invite_is_told_apart(text: str, sentence: str) -> None:
    with pytest.raises(IdentityError, match=sentence):
        Invite.decode(text)


@given(st.text(max_size=300))
def test_arbitrary_text_is_an_identity_error_that_does_not_quote_it(text: str) -> None:
    with pytest.raises(IdentityError) as caught:
        Invite.decode("propagul1" + text)
    assert len(str(caught.value)) < 120


@pytest.mark.parametrize(
    "body",
    [
        [],
        [[], "", bytes(32), bytes(16)],
        [[], "room", bytes(31), bytes(16)],
        [[], "room", bytes(32), bytes(15)],
        [[["host"]], "room", bytes(32), bytes(16)],
        [[["host", 0]], "room", bytes(32), bytes(16)],
        [[["host", 65536]], "room", bytes(32), bytes(16)],
        [[["h" * 256, 1]], "room", bytes(32), bytes(16)],
        "not a list",
    ],
)
def test_a_well_formed_token_with_senseless_content_is_refused(body: list[object]) -> None:
    raw = pack(body)
    token = "propagul1" + base64.urlsafe_b64encode(raw + _checksum(raw)).decode().rstrip("=")
    with pytest.raises(IdentityError, match="says nothing that this version understands"):
        Invite.decode(token)


def test_addresses_are_bounded() -> None:
    many = [Address(f"10.0.0.{number}", 1) for number in range(100)]
    assert len(Invite.new(addresses=many, room="r", issuer=Identity.generate().node).addresses) == ADDRESSES_MAX
