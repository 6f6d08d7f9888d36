"""The key ring of a store: rows of the namespace `room`, what they mean here, and what this store owes to them.

Rows are deeds (`propagul.link.deeds`): each proves itself, so what is admitted depends on the row and on what the store
was opened with, never on what came before. They are only added. `tend` writes what is owed: a member publishes its
certificate and says which one it uses; a holder of the newest secret certifies who is a member, signs again whom an
older one revoked, and ends the older one when everybody has followed or time is up.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, TypeVar

from propagul.crdt import REGISTER, Block, Op
from propagul.crdt.payload import Evicted
from propagul.crdt.row import Row
from propagul.errors import IdentityError
from propagul.link.certificates import holder, parse_certificate
from propagul.link.credentials import Standing
from propagul.link.deeds import (
    Adopted,
    Certified,
    Succession,
    pack_adopted,
    pack_certified,
    pack_ended,
    pack_revoked,
    pack_succession,
    read_deed,
)
from propagul.link.ring import ring_of
from propagul.store._instant import rows_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from propagul.crdt import Change
    from propagul.link import Credentials, NodeId, RoomAuthority
    from propagul.link.deeds import Deed
    from propagul.link.lineage import Lineage
    from propagul.link.ring import KeyRing
    from propagul.store._namespace import Namespace

OVERLAP_S: Final = 24 * 3600
"""How long the former secret stays good at most, if nobody says."""

_D = TypeVar("_D", Adopted, Certified, Succession)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotation:
    """A change of the room's secret that is under way.

    Attributes:
        until_s: When the former secret ends at the latest, seconds since the epoch.
        followed: Members that use their new certificate.
        missing: Members that are known and have not said so yet.
        is_ours: Whether this store holds the new secret, so that it can finish.
    """

    until_s: int
    followed: tuple[NodeId, ...]
    missing: tuple[NodeId, ...]
    is_ours: bool


class Ring:
    """The deeds of a room as one store has them. From any thread.

    Args:
        space: Where they stand.
        credentials: What they change.
        time_ns: Wall clock, nanoseconds since the epoch.

    Attributes:
        on_news: Called, with the store's lock held, when deeds came from elsewhere: somebody should call `tend` soon.
        on_write: Called when deeds were written here.
        sees_all: Whether every member announces itself here; nobody does to a leaf, so it never knows who is missing.

    Raises:
        IdentityError: The store was opened with a secret that is the room's no more.
    """

    def __init__(self, space: Namespace, credentials: Credentials, time_ns: Callable[[], int]) -> None:
        self._space, self._credentials, self._time_ns = space, credentials, time_ns
        self._base = credentials.ring
        self._deeds: dict[bytes, Deed] = {}
        self._keys: set[tuple[str, str]] = set()
        self._heard: Mapping[NodeId, bytes] = {}
        self._lock = threading.RLock()
        self._unread = True
        self.on_news: Callable[[], None] = lambda: None
        self.on_write: Callable[[], None] = lambda: None
        self.sees_all = True
        anchors = frozenset({*self._base.lineage.tags, *self._base.trusted})
        space.traffic.admit = functools.partial(admitted, anchors=anchors)
        space.listen(self._note)
        self.settle()
        self._check_secret()

    # --- what is known -------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Have the credentials be what the deeds say."""
        with self._lock:
            if self._unread:
                self._unread = False
                self._read_all()
            known = list(self._deeds.values())
            self._credentials.settle(ring_of(self._base, known, self._credentials.node))

    @property
    def rotation(self) -> Rotation | None:
        """The change of the secret that is under way, if one is."""
        with self._lock:
            line, trusted = self._newest_line(), self._credentials.ring.trusted
            if not any(tag in trusted for tag in line.tags[:-1]):
                return None
            members = sorted(self._members())
            followed = tuple(node for node in members if self._has_followed(node, line.tag))
            held = self._credentials.authority
            return Rotation(
                until_s=min((s.until_s for s in self._all(Succession) if s.lineage.tag == line.tag), default=0),
                followed=followed,
                missing=tuple(node for node in members if node not in followed),
                is_ours=held is not None and held.tag == line.tag,
            )

    # --- what is done --------------------------------------------------------------------------------------------

    def tend(self, heard: Mapping[NodeId, bytes]) -> None:
        """Settle, and write what this store owes.

        Args:
            heard: The certificate (DER) that each member present announces, empty if it announces none.

        Raises:
            StoreError: The log refused it.
        """
        with self._lock:
            self._heard = heard
            self.settle()
            self._write(self._owed())
            rotation = self.rotation
            if rotation is not None and rotation.is_ours:
                late = self._time_ns() >= rotation.until_s * 10**9
                if late or (self.sees_all and not rotation.missing):
                    self.finish()

    def revoke(self, node: NodeId) -> None:
        """Shut a node out.

        Raises:
            IdentityError: The secret is not held here, or it is this node itself.
        """
        with self._lock:
            authority = self._holder("shut a member out")
            if node == self._credentials.node:
                raise IdentityError("a store cannot shut itself out: stop it, or change the secret elsewhere")
            self._write([pack_revoked(self._line(authority), authority, node)])

    def begin(self, successor: RoomAuthority, overlap_s: int) -> None:
        """Begin to change the secret; where that has begun with the same one already, hold it from now on.

        Raises:
            IdentityError: The present secret is not held here, another change is under way, or it was used before.
        """
        with self._lock:
            former, ring = self._holder("change the secret"), self._credentials.ring
            if successor.tag == former.tag:
                raise IdentityError("this is the room's secret already")
            if successor.tag not in ring.trusted:
                if self.rotation is not None:
                    raise IdentityError("the secret is being changed already: finish that first")
                line, until = self._line(former).followed_by(former, successor), ring.trusted[former.tag]
                packed = pack_succession(line, successor, until, self._time_ns() // 10**9 + overlap_s)
                certificate = pack_certified(line, successor.certify(self._credentials.node))
                self._write([packed, certificate])
            line = self._newest_line()
            own = {**self._base.certificates, successor.tag: successor.certify(self._credentials.node)}
            trusted = {**self._base.trusted, successor.tag: successor.ca_pem}
            self._base = replace(self._base, lineage=line, certificates=own, trusted=trusted)
            self._credentials.hold(successor)
            self.tend(self._heard)

    def finish(self) -> None:
        """End the former secrets now, whoever has not followed.

        Raises:
            IdentityError: The new secret is not held here, or none is being changed.
        """
        with self._lock:
            authority, ring = self._holder("finish changing the secret"), self._credentials.ring
            line = self._line(authority)
            former = [tag for tag in line.tags[:-1] if tag in ring.trusted]
            if not former or authority.tag != self._newest_line().tag:
                raise IdentityError("no change of the secret is under way that this store could finish")
            ends = [pack_ended(line, authority, ring.trusted[tag]) for tag in former]
            self._write([*self._owed(), *ends])

    # --- inside --------------------------------------------------------------------------------------------------

    def _holder(self, what: str) -> RoomAuthority:
        authority = self._credentials.authority
        if authority is None:
            raise IdentityError(f"only a store that holds the room's secret can {what}; this one does not")
        if not authority.secured:
            raise IdentityError(f"a room without a secret keeps nobody out: give it one to {what}")
        return authority

    def _check_secret(self) -> None:
        opened = self._credentials.opened_with
        if opened is not None and opened.tag in self._credentials.ring.ended:
            raise IdentityError("the secret of this room was changed: open the store with the new one")

    def _owed(self) -> list[bytes]:
        ring, authority = self._credentials.ring, self._credentials.authority
        if self._credentials.node in ring.revoked:
            return []
        owed = list(self._own_deeds(ring))
        if authority is not None and authority.secured and authority.tag == self._newest_line().tag:
            owed += self._holders_deeds(ring, authority)
        return owed

    def _own_deeds(self, ring: KeyRing) -> Iterator[bytes]:
        """Our certificates, in a store that will be the same member tomorrow, and which one we use."""
        line, node = ring.lineage, self._credentials.node
        is_durable = self._space.journal is not None
        for tag in (tag for tag in line.tags if is_durable and tag in ring.trusted and tag in ring.certificates):
            if self._lacks(f"certificates/{node}/{tag}"):
                yield pack_certified(line.cut(tag), ring.certificates[tag])
        if len(line.tags) > 1 and line.tag in ring.certificates and self._lacks(f"adopted/{node}/{line.tag}"):
            yield pack_adopted(line, ring.certificates[line.tag], self._credentials.identity)

    def _holders_deeds(self, ring: KeyRing, authority: RoomAuthority) -> Iterator[bytes]:
        """What whoever holds the newest secret writes: certificates, revocations, and the succession itself."""
        line = self._line(authority)
        former = ring.trusted.get(line.tags[-2]) if len(line.tags) > 1 else None
        if former is not None and self._lacks(f"authorities/{line.tag}"):
            yield pack_succession(line, authority, former, self._time_ns() // 10**9 + OVERLAP_S)
        for node in sorted(self._members() if former is not None else ()):
            if self._lacks(f"certificates/{node}/{line.tag}"):
                yield pack_certified(line, authority.certify(node))
        for node in sorted(ring.revoked):
            if self._lacks(f"revoked/{node}/{line.tag}"):
                yield pack_revoked(line, authority, node)

    def _members(self) -> set[NodeId]:
        """Who has proven to be a member: by a deed, a certificate it announces, or a link. The revoked left out."""
        ring = self._credentials.ring
        known = {deed.node for deed in self._all(Certified) if deed.lineage.tag in ring.trusted}
        known |= {node for node in self._heard if self._announced(node)}
        known.update(self._credentials.linked())
        return known - ring.revoked - {self._credentials.node}

    def _announced(self, node: NodeId) -> str:
        """The authority of the certificate that a member announces; empty if that proves nothing."""
        try:
            standing, tag = self._credentials.standing(self._heard.get(node, b""))
            return tag if standing is Standing.MEMBER and holder(parse_certificate(self._heard[node])) == node else ""
        except IdentityError:
            return ""

    def _has_followed(self, node: NodeId, tag: str) -> bool:
        adopted = any(deed.node == node and deed.lineage.tag == tag for deed in self._all(Adopted))
        return adopted or self._announced(node) == tag

    def _newest_line(self) -> Lineage:
        """The longest line of an authority that is trusted."""
        ring = self._credentials.ring
        lines = [deed.lineage for deed in self._all(Succession) if deed.lineage.tag in ring.trusted]
        return max([ring.lineage, *lines], key=lambda line: (len(line.tags), line.tags))

    def _line(self, authority: RoomAuthority) -> Lineage:
        return self._credentials.ring.lineage.cut(authority.tag)

    def _all(self, kind: type[_D]) -> list[_D]:
        return [deed for deed in list(self._deeds.values()) if isinstance(deed, kind)]

    def _lacks(self, key: str) -> bool:
        """Whether no deed stands there whose line begins where ours does: a shorter one is not admitted everywhere."""
        return (key, self._credentials.ring.lineage.tags[0]) not in self._keys

    def _write(self, packed: Collection[bytes]) -> None:
        """Write deeds as one batch and have them be effective."""
        if packed:
            ops = [Op(read_deed(deed).key, REGISTER, deed) for deed in packed]
            self._space.write([lambda _: ops])
            self.settle()
            self.on_write()

    def _note(self, change: Change, local: bool) -> None:  # noqa: FBT001 - a listener's signature
        for sibling in change.after.siblings:
            self._take(sibling.payload)
        if not local:
            self.on_news()

    def _read_all(self) -> None:
        hold = self._space.hold()
        for _, row in rows_of(self._space.blocks()):
            for sibling in row.siblings:
                payload = sibling.payload
                self._take(payload.read() if isinstance(payload, Evicted) else payload)
        del hold  # until here, what only the disk holds could be read

    def _take(self, payload: object) -> None:
        if isinstance(payload, Evicted):
            self._unread = True
        elif type(payload) is bytes:
            with contextlib.suppress(IdentityError):  # what this version cannot read is for another one
                deed = read_deed(payload)
                self._deeds[payload] = deed
                self._keys.add((deed.key, deed.lineage.tags[0]))


def admitted(block: Block, *, anchors: frozenset[str]) -> Block:
    """The rows of a block that are deeds of our room, removal records left out; the block itself if those are all."""
    plain = [row for row in block.plain if row[2] == REGISTER and _is_deed(row[0], row[1], anchors)]
    other = [
        (key, Row(kept, row.context))
        for key, row in block.other
        if (kept := tuple(s for s in row.siblings if s.kind == REGISTER and _is_deed(key, s.payload, anchors)))
    ]
    is_whole = len(plain) == len(block.plain) and [row.siblings for _, row in other] == [
        row.siblings for _, row in block.other
    ]
    return block if is_whole else Block(plain, other)


def _is_deed(key: str, payload: object, anchors: frozenset[str]) -> bool:
    if type(payload) is not bytes:
        return False
    try:
        deed = read_deed(payload)
    except IdentityError:
        return False
    return deed.key == key and not anchors.isdisjoint(deed.lineage.tags)
