"""Which protocol version a link runs on, and what is said where there is none."""

from __future__ import annotations

import pytest

from propagul.errors import LinkError, PeerProtocolError
from propagul.link import Address, Purpose, TcpTransport
from propagul.link.messages import Hello, Versions, check_answer, pack, pack_hello, pack_ok, unpack_hello
from tests.link.world import linked, listening, reasons, run, standing, until

HERE = Address("127.0.0.1", 1)


def speaking(oldest: int, newest: int) -> TcpTransport:
    return TcpTransport(standing(), versions=(oldest, newest))


@pytest.mark.parametrize(
    ("ours", "theirs", "common"),
    [((1, 1), (1, 1), 1), ((1, 2), (1, 1), 1), ((1, 1), (1, 2), 1), ((2, 3), (1, 2), 2), ((1, 5), (3, 9), 5)],
)
def test_a_link_runs_on_the_highest_version_that_both_ends_speak(
    ours: tuple[int, int], theirs: tuple[int, int], common: int
) -> None:
    async def scenario() -> None:
        dialled, accepted = await linked(speaking(*ours), speaking(*theirs))
        assert (dialled.version, accepted.version) == (common, common)
        await dialled.aclose()

    run(scenario)


@pytest.mark.parametrize(
    ("ours", "theirs", "said", "counted"),
    [
        (
            (3, 4),
            (1, 2),
            "speaks protocol versions 1 to 2, this node protocol versions 3 to 4: update the node there",
            "speaks newer protocol versions only: update this node",
        ),
        (
            (1, 1),
            (2, 3),
            "speaks protocol versions 2 to 3, this node protocol version 1: update this node",
            "speaks older protocol versions only: update that machine",
        ),
    ],
)
def test_without_a_common_version_both_sides_say_who_is_to_be_updated(
    ours: tuple[int, int], theirs: tuple[int, int], said: str, counted: str
) -> None:
    async def scenario() -> None:
        acceptor = speaking(*theirs)
        async with listening(acceptor) as listener:
            with pytest.raises(LinkError) as refused:
                await speaking(*ours).dial(listener.address, Purpose.GOSSIP)
            assert str(refused.value) == f"{listener.address} {said}"
            await until(lambda: reasons(acceptor) == [counted])

    run(scenario)


def test_a_hello_says_what_it_was_given() -> None:
    for hello in (Hello("gossip"), Hello("tunnel", Versions(2, 7), b"instance", b"n" * 16)):
        assert unpack_hello(pack_hello(hello)) == hello


@pytest.mark.parametrize("more", [[], [1], [1, b"instance"], [1, b"", b"n" * 16], [1, b"", b"", {"later": [1]}, None]])
def test_what_a_hello_leaves_out_or_adds_is_harmless(more: list[object]) -> None:
    hello = unpack_hello(pack(["propagul", 1, "dance", *more]))
    assert (hello.purpose, hello.versions) == ("dance", Versions(1, 1))


def test_a_version_without_a_range_is_the_only_one() -> None:
    assert unpack_hello(pack(["propagul", 4, "gossip"])).versions == Versions(4, 4)


@pytest.mark.parametrize("range_", [[0, 0], [1, 2], [1, -1], [1, None], [1, True], [1, "1"], [-3, -5]])
def test_a_range_that_is_none_is_a_protocol_error(range_: list[object]) -> None:
    newest, oldest = range_
    with pytest.raises(PeerProtocolError):
        unpack_hello(pack(["propagul", newest, "gossip", oldest]))


def test_an_acceptor_that_chose_a_version_we_do_not_speak_is_not_believed() -> None:
    with pytest.raises(PeerProtocolError):
        check_answer(pack_ok(2), HERE, "gossip", Versions(3, 4))
    assert check_answer(pack(["ok", 3, b"instance", "later"]), HERE, "gossip", Versions(3, 4)).version == 3
    assert check_answer(pack(["ok", 3]), HERE, "gossip", Versions(3, 4)).instance == b""


def test_a_refusal_for_an_unknown_reason_opens_nothing_and_shows_no_word_of_the_peer() -> None:
    with pytest.raises(LinkError, match="a reason this version does not know") as refused:
        check_answer(pack(["refused", "<b>evil</b>", 9, 1, "more"]), HERE, "gossip")
    assert "evil" not in str(refused.value)
