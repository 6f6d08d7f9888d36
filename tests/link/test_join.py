from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from typing import TYPE_CHECKING, Any, cast

import pytest

from propagul.errors import ClosedError, IdentityError, LinkError, PeerProtocolError
from propagul.link import Address, Credentials, Identity, Invite, Purpose, TcpTransport, join, public_bytes, serve_join
from propagul.link.certificates import member_certificate
from propagul.link.credentials import tls_context
from propagul.link.handshake import ask, open_stream
from propagul.link.messages import pack
from tests.link.world import ROOM, Gate, echo, heard, listening, member, run, standing, stranger, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from propagul.link import Link


@contextlib.asynccontextmanager
async def issuing(
    gate: Gate, credentials: Credentials | None = None, *, timeout_s: float = 20.0
) -> AsyncIterator[tuple[TcpTransport, Credentials, Address]]:
    """A member that serves joiners, gossip and tunnels."""
    credentials = credentials or standing()
    transport = TcpTransport(credentials, invites=gate, handshake_timeout_s=timeout_s)

    async def admit(link: Link) -> None:
        await serve_join(link, credentials, gate)

    accept = {Purpose.JOIN: admit, Purpose.GOSSIP: echo, Purpose.TUNNEL: echo}
    async with listening(transport, accept) as listener:
        yield transport, credentials, listener.address


def invite_to(credentials: Credentials, *addresses: Address) -> Invite:
    return Invite.decode(Invite.new(addresses=addresses, room=ROOM, issuer=credentials.node).encode())


def joiner_context(invite: Invite) -> ssl.SSLContext:
    return tls_context(ssl.PROTOCOL_TLS_SERVER, invite.key, invite.certificate_pem, ())


def test_a_joiner_becomes_a_member_without_the_secret() -> None:
    async def scenario() -> None:
        gate, identity = Gate(), Identity.generate()
        async with issuing(gate) as (_, issuer, address):
            gate.invites.append(invite := invite_to(issuer, address))
            grant = await join(invite, identity)
            assert (grant.room, grant.issuer, grant.address) == (ROOM, issuer.node, address)
            assert gate.used == {invite.invite_id: identity.node}
            assert gate.hosts == ["127.0.0.1"]
            ours = Credentials.from_grant(identity, grant.certificate_pem, grant.ca_pem)
            assert ours.authority is None
            assert ours.room_tag == issuer.room_tag
            link = await TcpTransport(ours).dial(address, Purpose.GOSSIP, expect=issuer.node)
            await link.send(b"a member now")
            assert await link.receive() == b"a member now"
            await link.aclose()
            async with listening(TcpTransport(ours)) as listener:
                back = await TcpTransport(standing()).dial(listener.address, Purpose.GOSSIP)
                assert back.peer == identity.node
                await back.aclose()

    run(scenario)


def test_an_invite_used_twice_is_refused_to_the_second_and_repeated_to_the_first() -> None:
    async def scenario() -> None:
        gate, identity = Gate(), Identity.generate()
        async with issuing(gate) as (_, issuer, address):
            gate.invites.append(invite := invite_to(issuer, address))
            first = await join(invite, identity)
            with pytest.raises(IdentityError, match="refused the invite: the invite was used by another machine"):
                await join(invite, Identity.generate())
            assert await join(invite, identity) == first

    run(scenario)


def test_an_expired_invite_is_refused_with_the_reason() -> None:
    async def scenario() -> None:
        gate = Gate()
        async with issuing(gate) as (_, issuer, address):
            gate.invites.append(invite := invite_to(issuer, address))
            gate.expired.add(invite.invite_id)
            with pytest.raises(IdentityError, match="refused the invite: the invite is expired"):
                await join(invite, Identity.generate())
            assert gate.used == {}

    run(scenario)


def test_a_withdrawn_invite_opens_nothing_from_one_connection_to_the_next() -> None:
    async def scenario() -> None:
        gate = Gate()
        async with issuing(gate) as (transport, issuer, address):
            gate.invites.append(invite := invite_to(issuer, address))
            await join(invite, Identity.generate())
            gate.invites.clear()
            with pytest.raises(IdentityError, match="does not take this invite: it is expired, used or revoked"):
                await join(invite, Identity.generate())
            await until(lambda: bool(transport.refusals()))
            assert [entry.reason for entry in transport.refusals()] == ["another room or another secret"]

    run(scenario)


def test_a_machine_that_did_not_make_the_invite_is_found_out_and_believed_in_nothing() -> None:
    """The impostor is a full member that stole the invite's certificate; only the pinned key gives it away."""

    async def scenario() -> None:
        gate, issuer = Gate(), standing()
        async with issuing(gate) as (_, impostor, address):
            assert impostor.node != issuer.node
            gate.invites.append(invite := invite_to(issuer, address))
            with pytest.raises(IdentityError, match=f"the machine at {address} is not the one that made this invite"):
                await join(invite, Identity.generate())

    run(scenario)


@pytest.mark.parametrize("forged", [b"", pack(["nonsense"]), pack([b"x", b"y"]), pack([b"", b""]), None])
def test_an_answer_that_was_forged_or_heard_before_is_not_believed(forged: bytes | None) -> None:
    """None: the issuer's own answer to this very joiner, invite and all, repeated to another nonce."""

    async def scenario() -> None:
        gate, issuer, identity, said = Gate(), standing(), Identity.generate(), list[bytes]()

        async def listen_in(link: Link) -> None:
            await serve_join(cast("Link", Recorder(link, said)), issuer, gate)

        async def replay(link: Link) -> None:
            await link.receive()
            await link.send(said[0] if forged is None else forged)

        transport = TcpTransport(issuer, invites=gate)
        async with listening(transport, {Purpose.JOIN: listen_in}) as honest:
            gate.invites.append(invite := invite_to(issuer, honest.address))
            await join(invite, identity)
        async with listening(transport, {Purpose.JOIN: replay}) as listener:
            here = Invite(addresses=(listener.address,), room=ROOM, issuer=issuer.node, code=invite.code)
            with pytest.raises(IdentityError, match="not the one that made this invite"):
                await join(here, identity)

    run(scenario)


class Recorder:
    """A link that keeps what is sent on it."""

    def __init__(self, link: Link, said: list[bytes]) -> None:
        self._link, self._said = link, said

    def __getattr__(self, name: str) -> Any:
        return getattr(self._link, name)

    async def send(self, frame: bytes) -> None:
        self._said.append(frame)
        await self._link.send(frame)


@pytest.mark.parametrize("purpose", [Purpose.GOSSIP, Purpose.TUNNEL])
def test_an_invite_opens_neither_gossip_nor_a_tunnel(purpose: Purpose) -> None:
    async def scenario() -> None:
        gate = Gate()
        async with issuing(gate) as (transport, issuer, address):
            gate.invites.append(invite := invite_to(issuer, address))
            stream = await open_stream(address, joiner_context(invite), 20)
            with pytest.raises(LinkError, match="an invite opens links for join and for nothing else"):
                await ask(stream, address, purpose, 20)
            await until(lambda: bool(transport.refusals()))
            assert "invite" in transport.refusals()[0].reason

    run(scenario)


def test_a_member_cannot_join_again_with_its_certificate() -> None:
    async def scenario() -> None:
        async with issuing(Gate()) as (_, _issuer, address):
            with pytest.raises(LinkError, match="only an invite does"):
                await member().dial(address, Purpose.JOIN)

    run(scenario)


def test_the_key_of_an_invite_certifies_nobody() -> None:
    """Its holder makes itself an authority of that name and key, and shows a member's certificate of it."""

    async def scenario() -> None:
        gate, identity = Gate(), Identity.generate()
        async with issuing(gate) as (transport, issuer, address):
            gate.invites.append(invite := invite_to(issuer, address))
            forged = member_certificate(identity.node, invite.key.key)
            context = tls_context(ssl.PROTOCOL_TLS_SERVER, identity, forged, ())
            with pytest.raises(IdentityError):
                await open_stream(address, context, 20)
            await until(lambda: bool(transport.refusals()))

    run(scenario)


def test_a_joiner_must_hold_the_key_it_joins_with() -> None:
    async def scenario() -> None:
        gate, victim = Gate(), Identity.generate()
        async with issuing(gate) as (_, issuer, address):
            gate.invites.append(invite := invite_to(issuer, address))
            stream = await open_stream(address, joiner_context(invite), 20)
            await ask(stream, address, Purpose.JOIN, 20)
            await stream.send(pack([bytes(32), victim.node, Identity.generate().sign(b"")]))
            with pytest.raises(ClosedError):
                await stream.receive()
            await stream.aclose()
            assert gate.hosts == []

    run(scenario)


@pytest.mark.parametrize("request_frame", [b"", pack([]), pack([b"", "x", b""]), pack([bytes(32), "x" * 52, b""])])
def test_a_malformed_request_ends_the_link(request_frame: bytes) -> None:
    async def scenario() -> None:
        gate, errors = Gate(), list[Exception]()
        credentials = standing()

        async def admit(link: Link) -> None:
            try:
                await serve_join(link, credentials, gate)
            except PeerProtocolError as error:
                errors.append(error)

        gate.invites.append(invite := invite_to(credentials))
        async with listening(TcpTransport(credentials, invites=gate), {Purpose.JOIN: admit}) as listener:
            stream = await open_stream(listener.address, joiner_context(invite), 20)
            await ask(stream, listener.address, Purpose.JOIN, 20)
            await stream.send(request_frame)
            with pytest.raises(ClosedError):
                await stream.receive()
            await stream.aclose()
        assert len(errors) == 1

    run(scenario)


def test_a_member_without_the_secret_invites_nobody_and_says_so() -> None:
    async def scenario() -> None:
        holder, identity, gate = standing(), Identity.generate(), Gate()
        assert holder.authority is not None
        granted = Credentials.from_grant(identity, holder.authority.certify(identity.node), holder.ca_pems[0])
        async with issuing(gate, granted) as (_, issuer, address):
            gate.invites.append(invite := invite_to(issuer, address))
            with pytest.raises(IdentityError, match="does not hold the secret"):
                await join(invite, Identity.generate())

    run(scenario)


def test_unreachable_addresses_are_listed_and_the_next_is_tried() -> None:
    async def scenario() -> None:
        gate = Gate()
        with socket.create_server(("127.0.0.1", 0)) as closed:
            dead = Address("127.0.0.1", closed.getsockname()[1])
        async with issuing(gate) as (_, issuer, address):
            gate.invites.append(invite := invite_to(issuer, dead, address))
            assert (await join(invite, Identity.generate())).address == address
        with pytest.raises(LinkError, match=f"nobody listens at {dead}; nobody listens at {address}"):
            await join(invite, Identity.generate())

    run(scenario)


def test_an_open_invite_tells_strangers_nothing() -> None:
    async def scenario() -> None:
        gate = Gate()
        async with issuing(gate, timeout_s=0.3) as (_, issuer, address):
            gate.invites.append(invite := invite_to(issuer, address))
            async with stranger(address) as (reader, _writer):
                spoken = await heard(reader)
            assert spoken[5:6] == b"\x01"
            for secret in (public_bytes(issuer.node), public_bytes(invite.key.node), invite.code):
                assert secret not in spoken

    run(scenario)


def test_the_issuer_shows_a_joiner_no_certificate_before_it_answers() -> None:
    async def scenario() -> None:
        gate = Gate()
        async with issuing(gate) as (_, issuer, address):
            gate.invites.append(invite := invite_to(issuer, address))
            stream = await open_stream(address, joiner_context(invite), 20)
            assert stream.peer_certificate() is None
            stream.abort()
            await asyncio.sleep(0)

    run(scenario)
