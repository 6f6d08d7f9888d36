"""Lineages, deeds and the ring that comes of them: values, without links."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from propagul.errors import IdentityError
from propagul.link import Credentials, Identity, RoomAuthority
from propagul.link.credentials import Standing
from propagul.link.deeds import (
    DEED_BYTES_MAX,
    Adopted,
    Certified,
    Ended,
    Revoked,
    Succession,
    pack_adopted,
    pack_certified,
    pack_ended,
    pack_revoked,
    pack_succession,
    read_deed,
)
from propagul.link.lineage import AUTHORITIES_MAX, Lineage
from propagul.link.messages import pack, unpack
from propagul.link.ring import trusted_tags

ROOM = "my-project"
FIRST, SECOND, THIRD, OTHER = (RoomAuthority.from_secret(ROOM, f"Zq8vT2mX5kRw9bNc4jLhYs-{n}") for n in range(4))
ONE = Lineage.of(FIRST.tag)
TWO = ONE.followed_by(FIRST, SECOND)
THREE = TWO.followed_by(SECOND, THIRD)
ME, YOU = Identity.from_seed(b"m" * 32), Identity.from_seed(b"y" * 32)

DEEDS = {
    "succession": pack_succession(TWO, SECOND, FIRST.ca_pem, 1_800_000_000),
    "certified": pack_certified(TWO, SECOND.certify(YOU.node)),
    "adopted": pack_adopted(TWO, SECOND.certify(YOU.node), YOU),
    "revoked": pack_revoked(TWO, SECOND, YOU.node),
    "ended": pack_ended(TWO, SECOND, FIRST.ca_pem),
}


def test_a_line_is_read_as_it_was_made() -> None:
    assert Lineage.read(THREE.packed) == THREE
    assert THREE.tags == (FIRST.tag, SECOND.tag, THIRD.tag)
    assert THREE.cut(SECOND.tag) == TWO
    assert THREE.until(FIRST.tag) == (FIRST.tag,)


def test_a_step_needs_both_keys() -> None:
    first, by_both = unpack(TWO.packed)
    assert isinstance(by_both, list)
    public, by_former, by_itself = by_both
    for forged in ([public, by_itself, by_itself], [public, by_former, by_former], [public, b"", b""], [public], 7):
        with pytest.raises(IdentityError):
            Lineage.read(pack([first, forged]))
    for nonsense in (b"", b"\xc1", pack([]), pack([1]), pack([b"short"]), pack([first, by_both, by_both])):
        with pytest.raises(IdentityError):
            Lineage.read(nonsense)


def test_a_secret_is_not_the_rooms_twice_and_a_line_ends_somewhere() -> None:
    with pytest.raises(IdentityError, match="was the room's before"):
        TWO.followed_by(SECOND, FIRST)
    with pytest.raises(IdentityError, match="was the room's before"):
        TWO.followed_by(FIRST, THIRD)
    full = Lineage((*(f"{n}" for n in range(AUTHORITIES_MAX - 1)), SECOND.tag), b"")
    with pytest.raises(IdentityError, match="found a new room"):
        full.followed_by(SECOND, THIRD)


def test_deeds_say_what_they_were_made_to_say() -> None:
    succession, certified, adopted, revoked, ended = (read_deed(packed) for packed in DEEDS.values())
    assert isinstance(succession, Succession)
    assert (succession.ca_pem, succession.former_pem, succession.until_s) == (
        SECOND.ca_pem,
        FIRST.ca_pem,
        1_800_000_000,
    )
    assert isinstance(certified, Certified)
    assert (certified.node, certified.certificate_pem) == (YOU.node, SECOND.certify(YOU.node))
    assert isinstance(adopted, Adopted)
    assert isinstance(revoked, Revoked)
    assert adopted.node == revoked.node == YOU.node
    assert isinstance(ended, Ended)
    assert (ended.tag, ended.ca_pem) == (FIRST.tag, FIRST.ca_pem)
    assert len({read_deed(packed).key for packed in DEEDS.values()}) == len(DEEDS)
    assert all(read_deed(packed).lineage == TWO for packed in DEEDS.values())


@pytest.mark.parametrize("packed", DEEDS.values(), ids=DEEDS)
@settings(deadline=None)
@given(data=st.data())
def test_a_deed_with_a_changed_byte_is_none_or_means_the_same(packed: bytes, data: st.DataObject) -> None:
    place, by = data.draw(st.integers(0, len(packed) - 1)), data.draw(st.integers(1, 255))
    changed = packed[:place] + bytes([packed[place] ^ by]) + packed[place + 1 :]
    try:
        deed = read_deed(changed)
    except IdentityError:
        return
    assert deed.key == read_deed(packed).key


@given(st.binary(max_size=200))
def test_noise_is_no_deed(noise: bytes) -> None:
    with pytest.raises(IdentityError):
        read_deed(noise)


def test_who_signs_for_another_authority_is_refused() -> None:
    for packed in (
        pack_revoked(TWO, FIRST, YOU.node),
        pack_ended(TWO, FIRST, FIRST.ca_pem),
        pack_ended(ONE, FIRST, FIRST.ca_pem),
        pack_ended(TWO, SECOND, SECOND.ca_pem),
        pack_ended(TWO, SECOND, THIRD.ca_pem),
        pack_certified(TWO, FIRST.certify(YOU.node)),
        pack_certified(TWO, SECOND.ca_pem),
        pack_adopted(TWO, SECOND.certify(YOU.node), ME),
        pack_succession(TWO, SECOND, OTHER.ca_pem, 1),
        pack_succession(ONE, FIRST, FIRST.ca_pem, 1),
        pack_succession(TWO, FIRST, FIRST.ca_pem, 1),
        DEEDS["ended"] + bytes(DEED_BYTES_MAX),
    ):
        with pytest.raises(IdentityError):
            read_deed(packed)


LINES = {"a": ("a",), "b": ("a", "b"), "c": ("a", "b", "c"), "x": ("a", "x"), "y": ("a", "x", "y")}


@pytest.mark.parametrize(
    ("ends", "own", "trusted"),
    [
        ({}, "a", "abcxy"),
        ({"a": "b"}, "b", "bc"),
        ({"b": "c"}, "c", "c"),
        ({"a": "c"}, "c", "bc"),
        ({"a": "bx"}, "b", "bc"),
        ({"a": "bx"}, "y", "xy"),
        ({"a": "bx"}, "a", "bcxy"),
        ({"a": "b", "b": "c"}, "b", "c"),
    ],
)
def test_what_grew_out_of_an_ended_authority_beside_its_heir_is_not_trusted(
    ends: dict[str, str], own: str, trusted: str
) -> None:
    assert trusted_tags(LINES, ends, own) == set(trusted)


def test_credentials_change_and_tell_of_it() -> None:
    credentials, told = Credentials.from_grant(ME, FIRST.certify(ME.node), FIRST.ca_pem), list[int]()
    credentials.listen(lambda: told.append(1))
    shown = SECOND.certify(YOU.node)
    with pytest.raises(IdentityError, match="not of this room"):
        credentials.member(shown)
    credentials.trust(SECOND.ca_pem)
    assert credentials.member(shown) == YOU.node
    assert credentials.ca_pems[0] == FIRST.ca_pem, "our own first"
    credentials.adopt(SECOND.certify(ME.node), SECOND.ca_pem)
    assert (credentials.choices, credentials.certificate_pem) == (2, FIRST.certify(ME.node))
    credentials.distrust(FIRST.tag)
    assert (credentials.choices, credentials.certificate_pem) == (1, SECOND.certify(ME.node))
    assert credentials.ca_pems == (SECOND.ca_pem,)
    with pytest.raises(IdentityError, match="the secret that the room had before"):
        credentials.member(FIRST.certify(YOU.node))
    credentials.trust(FIRST.ca_pem)
    assert credentials.standing(FIRST.certify(YOU.node)) == (Standing.FORMER, FIRST.tag), "what ended stays so"
    credentials.revoke(YOU.node)
    with pytest.raises(IdentityError, match="a revoked member"):
        credentials.member(shown)
    assert len(told) == 4
    with pytest.raises(IdentityError, match="another node's key"):
        credentials.adopt(THIRD.certify(YOU.node), THIRD.ca_pem)


def test_the_rooms_tag_stays_when_its_secret_changes() -> None:
    before = Credentials.from_authority(ME, FIRST)
    after = Credentials.from_authority(ME, SECOND, lineage=TWO)
    assert before.room_tag == after.room_tag
    assert Credentials.from_authority(ME, SECOND).room_tag != after.room_tag
    with pytest.raises(IdentityError, match="leads to another room"):
        Credentials.from_authority(ME, THIRD, lineage=TWO)


def test_an_authority_that_ended_is_held_no_more() -> None:
    credentials = Credentials.from_authority(ME, FIRST)
    assert credentials.authority is FIRST
    credentials.distrust(FIRST.tag)
    assert credentials.authority is None
    assert credentials.opened_with is FIRST
