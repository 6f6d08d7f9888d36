"""The key ring: what one node knows of its room's authorities and members. A value; deeds make it.

`ring_of` is a pure function of a set of deeds, whatever their order, and of what the node was opened with:

- an authority is trusted unless it, or one that came after it in its line, ended;
- if one before it ended, it must stand in one line with the authority that ended that one: what else grew out of an
  ended authority, perhaps later and with a stolen secret, counts for nothing;
- where two lines ended the same authority, a node stays with the line of the newest one that it said it adopted;
- a revocation counts while its signer is trusted.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Self

from propagul.link.certificates import holder, parse_certificate
from propagul.link.deeds import Adopted, Certified, Ended, Revoked, Succession

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from propagul.link.base import NodeId
    from propagul.link.deeds import Deed
    from propagul.link.lineage import Lineage

    Lines = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRing:
    """Whom a node trusts and what it can show. Immutable: changes make another one.

    Attributes:
        lineage: The line of authorities from the room's first one known to our newest.
        trusted: Certificates (PEM) of the authorities trusted now, by tag.
        certificates: Our own (PEM), by the authority that made them, oldest first.
        ended: Authorities trusted no more, by tag: their certificate (PEM).
        proofs: The deeds that ended them, by tag; shown to who still comes with a certificate of theirs.
        revoked: Who is shut out.
        certified: Which nodes are known to have a certificate of which authority.
    """

    lineage: Lineage
    trusted: Mapping[str, str]
    certificates: Mapping[str, str]
    ended: Mapping[str, str] = field(default_factory=dict)
    proofs: Mapping[str, bytes] = field(default_factory=dict)
    revoked: frozenset[NodeId] = frozenset()
    certified: frozenset[tuple[NodeId, str]] = frozenset()

    @property
    def shown(self) -> tuple[str, ...]:
        """Tags of the authorities whose certificate we can show, the one to try first first."""
        return tuple(tag for tag in self.certificates if tag in self.trusted) or tuple(self.certificates)

    @property
    def newest(self) -> str:
        """The tag of the newest authority that we have a certificate of."""
        return self.shown[-1]

    @property
    def ca_pems(self) -> tuple[str, ...]:
        """Certificates of the trusted authorities, that of the one we show first."""
        first = self.shown[0]
        return tuple(self.trusted[tag] for tag in sorted(self.trusted, key=lambda tag: (tag != first, tag)))

    def vouches_for(self, node: NodeId, tag: str) -> bool:
        """Whether a node that once proved itself by a certificate of that authority is a member now."""
        if node in self.revoked:
            return False
        return tag in self.trusted or any((node, other) in self.certified for other in self.trusted)

    def trust(self, ca_pem: str) -> Self:
        """The ring with one more authority."""
        tag = tag_of(ca_pem)
        return self if tag in self.ended else replace(self, trusted={**self.trusted, tag: ca_pem})

    def adopt(self, certificate_pem: str, ca_pem: str) -> Self:
        """The ring with one more certificate of ours, newer than the others, and its authority."""
        certificates = {**self.certificates, tag_of(ca_pem): certificate_pem}
        return replace(self.trust(ca_pem), certificates=certificates)

    def distrust(self, tag: str, proof: bytes = b"") -> Self:
        """The ring without an authority."""
        trusted = {other: pem for other, pem in self.trusted.items() if other != tag}
        ended = {**self.ended, **({tag: self.trusted[tag]} if tag in self.trusted else {})}
        return replace(self, trusted=trusted, ended=ended, proofs={**self.proofs, tag: proof})

    def revoke(self, node: NodeId) -> Self:
        """The ring without a member."""
        return replace(self, revoked=self.revoked | {node})


def tag_of(ca_pem: str) -> str:
    """The tag of an authority by its certificate.

    Raises:
        IdentityError: It is damaged.
    """
    return holder(parse_certificate(ca_pem))


def ring_of(base: KeyRing, deeds: Iterable[Deed], node: NodeId) -> KeyRing:
    """The ring of a node that was opened with `base` and has these deeds.

    An authority whose certificate is in none of them is not trusted: it cannot be checked against.
    """
    known = list(deeds)
    lines = _lines(base, known)
    pems = _pems(base, known)
    ours = _ours(base, known, node, lines)
    ends = _ends(known)
    trusted = trusted_tags(lines, ends, _own(base, known, node, lines))
    proofs = {deed.tag: deed.packed for deed in known if isinstance(deed, Ended) and deed.tag not in trusted}
    former = {*lines} - trusted
    return KeyRing(
        lineage=_longest(base, known, [tag for tag in ours if tag in trusted]),
        trusted={tag: pems[tag] for tag in sorted(trusted) if tag in pems},
        certificates=dict(sorted(ours.items(), key=lambda item: (len(lines[item[0]]), item[0]))),
        ended={tag: pems[tag] for tag in sorted(former) if tag in pems},
        proofs=proofs,
        revoked=frozenset(deed.node for deed in known if isinstance(deed, Revoked) and deed.lineage.tag in trusted),
        certified=frozenset((deed.node, deed.lineage.tag) for deed in known if isinstance(deed, Certified)),
    )


def trusted_tags(lines: Lines, ends: Mapping[str, Collection[str]], own: str) -> set[str]:
    """Which authorities are trusted.

    Args:
        lines: The line of every authority known.
        ends: For each that ended, who says so.
        own: Our newest one.
    """
    heirs_of: dict[str, set[str]] = defaultdict(set)
    for ended, heirs in ends.items():
        for former in lines[ended]:  # what came before it has ended with it
            heirs_of[former].update(heirs)
    return {tag for tag in lines if tag not in heirs_of and _has_survived(tag, lines, heirs_of, own)}


def _has_survived(tag: str, lines: Lines, heirs_of: Mapping[str, set[str]], own: str) -> bool:
    """Whether for each authority before it that ended, it is of the line that ended it."""
    for former in lines[tag]:
        heirs = heirs_of.get(former, set())
        ours = [heir for heir in heirs if _is_one_line(heir, own, lines)] or heirs
        if heirs and not any(_is_one_line(heir, tag, lines) for heir in ours):
            return False
    return True


def _is_one_line(one: str, other: str, lines: Lines) -> bool:
    return one in lines[other] or other in lines[one]


def _lines(base: KeyRing, deeds: list[Deed]) -> dict[str, tuple[str, ...]]:
    """The line of every authority; where two are known, the longer one, which knows more of what was before."""
    lines: dict[str, tuple[str, ...]] = {tag: (tag,) for tag in base.trusted}
    for lineage in [base.lineage, *(deed.lineage for deed in deeds)]:
        for tag in lineage.tags:
            line = lineage.until(tag)
            lines[tag] = max(lines.get(tag, ()), line, key=lambda candidate: (len(candidate), candidate))
    return lines


def _pems(base: KeyRing, deeds: list[Deed]) -> dict[str, str]:
    pems = {**base.trusted, **base.ended}
    for deed in deeds:
        if isinstance(deed, Succession):
            pems[deed.lineage.tag], pems[deed.lineage.tags[-2]] = deed.ca_pem, deed.former_pem
        elif isinstance(deed, Ended):
            pems[deed.tag] = deed.ca_pem
    return pems


def _ours(base: KeyRing, deeds: list[Deed], node: NodeId, lines: Lines) -> dict[str, str]:
    """Our certificates by authority."""
    found = {d.lineage.tag: d.certificate_pem for d in deeds if isinstance(d, Certified) and d.node == node}
    return {tag: pem for tag, pem in {**found, **base.certificates}.items() if tag in lines}


def _own(base: KeyRing, deeds: list[Deed], node: NodeId, lines: Lines) -> str:
    """Our newest authority by our own word, which nobody else can give."""
    adopted = {deed.lineage.tag for deed in deeds if isinstance(deed, Adopted) and deed.node == node}
    return max(adopted | {base.newest}, key=lambda tag: (len(lines[tag]), tag))


def _ends(deeds: list[Deed]) -> dict[str, set[str]]:
    ends: dict[str, set[str]] = defaultdict(set)
    for deed in deeds:
        if isinstance(deed, Ended):
            ends[deed.tag].add(deed.lineage.tag)
    return ends


def _longest(base: KeyRing, deeds: list[Deed], ours: list[str]) -> Lineage:
    """The longest line that ends with an authority of ours."""
    candidates = [deed.lineage for deed in deeds if deed.lineage.tag in ours]
    return max([base.lineage, *candidates], key=lambda lineage: (len(lineage.tags), lineage.tags))
