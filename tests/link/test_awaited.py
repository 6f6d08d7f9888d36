"""Tunnels that were asked for: who may bring them, once, and to whom they go."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest

from propagul.errors import IdentityError, LinkError
from propagul.link import Identity, Purpose, ReverseTransport, encode_frame
from propagul.link.awaited import WAITING_MAX, AwaitedTunnels
from propagul.link.messages import NONCE_BYTES, Hello, pack_hello
from tests.link.test_hand_over import Caller
from tests.link.world import echo, listening, member, reasons, run, standing, tls_as_dialer, until

if TYPE_CHECKING:
    from propagul.link import ByteLink

UNAWAITED = "dialled for a tunnel that nobody here waits for"


def test_a_tunnel_that_is_brought_goes_to_who_waits_for_it_although_none_is_served_here() -> None:
    async def scenario() -> None:
        asker, asked = member(), member()
        assert isinstance(asker, ReverseTransport)
        async with listening(asker, {Purpose.GOSSIP: echo}) as listener:
            with asker.awaited.expect(asked.node) as awaited:
                brought = await asked.dial_back(listener.address, awaited.nonce, expect=asker.node)
                link = await awaited.arrival()
            assert (link.peer, link.purpose, brought.dialed) == (asked.node, Purpose.TUNNEL, True)
            far, near = Caller(), Caller()
            answering, asking = brought.hand_over(far), link.hand_over(near)
            asking.write(b"request")
            await until(lambda: far.heard == b"request")
            answering.write(b"answer")
            await until(lambda: near.heard == b"answer")
            asking.close()
            await asyncio.wait_for(far.lost.wait(), 20)

    run(scenario)


@pytest.mark.parametrize("fault", ["unknown", "used", "expired", "another member", "given up"])
def test_a_nonce_that_is_not_good_any_more_opens_nothing_and_is_counted(
    fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if fault == "expired":
        monkeypatch.setattr("propagul.link.awaited.WAIT_S", 0.0)

    async def scenario() -> None:
        asker, asked, other = member(), member(), member()
        async with listening(asker) as listener:
            with asker.awaited.expect(asked.node) as awaited:
                nonce = b"n" * NONCE_BYTES if fault == "unknown" else awaited.nonce
                if fault == "used":
                    await (await asked.dial_back(listener.address, nonce, expect=asker.node)).aclose()
                    await (await awaited.arrival()).aclose()
                if fault != "given up":
                    dialler = other if fault == "another member" else asked
                    with pytest.raises(LinkError, match="waits for no such tunnel"):
                        await dialler.dial_back(listener.address, nonce, expect=asker.node)
            if fault == "given up":
                with pytest.raises(LinkError, match="waits for no such tunnel"):
                    await asked.dial_back(listener.address, nonce, expect=asker.node)
            await until(lambda: reasons(asker) == [UNAWAITED])

    run(scenario)


def test_anothers_try_does_not_use_a_nonce_up() -> None:
    async def scenario() -> None:
        asker, asked, other = member(), member(), member()
        async with listening(asker) as listener:
            with asker.awaited.expect(asked.node) as awaited:
                with pytest.raises(LinkError):
                    await other.dial_back(listener.address, awaited.nonce, expect=asker.node)
                brought = await asked.dial_back(listener.address, awaited.nonce, expect=asker.node)
                await (await awaited.arrival()).aclose()
            await brought.aclose()

    run(scenario)


def test_a_nonce_is_for_tunnels_only() -> None:
    async def scenario() -> None:
        asker, asked = member(), standing()
        async with listening(asker) as listener:
            with asker.awaited.expect(asked.node) as awaited:
                reader, writer = await tls_as_dialer(listener.address, asked.dialer_context())
                writer.write(encode_frame(pack_hello(Hello("gossip", nonce=awaited.nonce))))
                await until(lambda: reasons(asker) == [UNAWAITED])
                await reader.read()
                writer.transport.abort()

    run(scenario)


def test_only_the_node_that_asked_is_dialled_back() -> None:
    async def scenario() -> None:
        asked, wrong = member(), member()
        async with listening(wrong) as listener:
            with pytest.raises(IdentityError, match="expected was"):
                await asked.dial_back(listener.address, b"n" * NONCE_BYTES, expect=Identity.generate().node)

    run(scenario)


class Arrived:
    """A link that notes whether it was closed."""

    def __init__(self) -> None:
        self.aborted = False

    def abort(self) -> None:
        self.aborted = True


def arrived() -> tuple[Arrived, ByteLink]:
    link = Arrived()
    return link, link  # type: ignore[return-value] # all that is asked of it is to close


def test_what_arrives_when_nobody_waits_any_more_is_closed() -> None:
    async def scenario() -> None:
        tunnels = AwaitedTunnels()
        too_late, link = arrived()
        with tunnels.expect(Identity.generate().node) as given_up:
            pass
        given_up.deliver(link)
        assert too_late.aborted
        untaken, link = arrived()
        with tunnels.expect(Identity.generate().node) as awaited:
            awaited.deliver(link)
        assert untaken.aborted
        taken, link = arrived()
        with tunnels.expect(Identity.generate().node) as awaited:
            awaited.deliver(link)
            await awaited.arrival()
        assert not taken.aborted

    run(scenario)


def test_who_could_not_dial_says_so_to_who_waits() -> None:
    async def scenario() -> None:
        with AwaitedTunnels().expect(Identity.generate().node) as awaited:
            awaited.fail(LinkError("it could not"))
            with pytest.raises(LinkError, match="it could not"):
                await awaited.arrival()

    run(scenario)


def test_calls_that_wait_are_bounded_and_leave_nothing_behind() -> None:
    async def scenario() -> None:
        tunnels, node = AwaitedTunnels(), Identity.generate().node
        with contextlib.ExitStack() as stack:
            nonces = {stack.enter_context(tunnels.expect(node)).nonce for _ in range(WAITING_MAX)}
            assert len(nonces) == WAITING_MAX
            with pytest.raises(LinkError, match="waited for already"):
                stack.enter_context(tunnels.expect(node))
        assert not tunnels._waiting

    run(scenario)
