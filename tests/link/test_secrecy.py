"""The room's secret, an invite's code and private keys appear in no text that this package makes."""

from __future__ import annotations

import base64
import logging
import traceback
from typing import TYPE_CHECKING

import pytest

from propagul.errors import PropagulError
from propagul.link import Credentials, Identity, Invite, Purpose, RoomAuthority, TcpTransport, join, serve_join
from tests.link.world import Gate, listening, run, until

if TYPE_CHECKING:
    from propagul.link import Link

CANARIES = ("canary-of-a-secret-0123456789", "canary-short")


@pytest.mark.parametrize("secret", CANARIES)
def test_no_secret_in_any_text(secret: str, caplog: pytest.LogCaptureFixture) -> None:
    texts: list[str] = []

    async def scenario() -> None:
        authority = RoomAuthority.from_secret("room", secret)
        identity = Identity.generate()
        credentials, gate = Credentials.from_authority(identity, authority), Gate()
        transport = TcpTransport(credentials, invites=gate)

        async def admit(link: Link) -> None:
            texts.append(repr(link))
            await serve_join(link, credentials, gate)

        async with listening(transport, {Purpose.JOIN: admit}) as listener:
            invite = Invite.new(addresses=[listener.address], room="room", issuer=credentials.node)
            gate.invites.append(invite)
            grant = await join(invite, Identity.generate())
            stranger = TcpTransport(Credentials.from_authority(Identity.generate(), RoomAuthority.open("room")))
            attempts = [stranger.dial(listener.address, Purpose.GOSSIP), join(invite, Identity.generate())]
            for attempt in attempts:
                try:
                    await attempt
                except PropagulError as error:
                    texts.extend([repr(error), *traceback.format_exception(error)])
            assert len(texts) > len(attempts)
            await until(lambda: bool(transport.refusals()))
        things = (authority, identity, credentials, transport, listener, invite, grant, gate, transport.refusals())
        for thing in things:
            texts.extend([repr(thing), str(thing), f"{thing}"])
        hidden = [
            secret,
            invite.encode().removeprefix("propagul1")[-20:],
            *forms(invite.code),
            *forms(identity_seed(identity)),
        ]
        texts.append(caplog.text)
        whole = "\n".join(texts)
        for canary in hidden:
            assert canary not in whole
        assert credentials.node in whole  # the search would find what is there

    with caplog.at_level(logging.DEBUG):
        run(scenario)


def identity_seed(identity: Identity) -> bytes:
    return identity.key.private_bytes_raw()


def forms(raw: bytes) -> list[str]:
    return [
        repr(raw)[2:-1],
        raw.hex(),
        base64.b64encode(raw).decode().rstrip("="),
        base64.b32encode(raw).decode().rstrip("="),
    ]


def test_an_error_about_a_secret_does_not_show_it() -> None:
    for attempt in (lambda: RoomAuthority.from_secret("room", "canary-tiny"), lambda: Invite.decode("canary-token")):
        with pytest.raises(PropagulError) as caught:
            attempt()
        assert "canary" not in "".join(str(argument) for argument in caught.value.args)
