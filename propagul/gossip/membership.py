"""Who can be reached: from what members say of their own links.

Every member says in one row with whom it is linked, and says so again only when that changes. From these rows each
member computes for itself whom a chain of links leads to, and a link counts when both of its ends name it. So nothing
is sent while nothing changes, however many members there are, and a partition shows at once on both sides: where a
direct probe (SWIM: Das, Gupta, Motivala 2002) or a heartbeat of everybody to everybody would cost each member a share
of the whole, here the neighbours watch each other, as in a link-state routing protocol (Rosen 1980).

A row is its owner's newest word (its stamp is what SWIM calls the incarnation), and who is out of reach is only
suspected until `presence_ttl_s` has passed: it refutes that by a link to anybody. A leaf is reached, and leads to
nobody: it passes no presence on, so what lies behind it is not heard of.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from propagul.link.base import NodeId

SHORT_ID: Final = 12
"""So many characters of an identity name a neighbour: 60 bits."""


def short(node: NodeId) -> str:
    """What a member's row calls its neighbour."""
    return node[:SHORT_ID]


def reachable(
    linked: Collection[NodeId], named: Mapping[NodeId, Collection[str]], leaves: Collection[NodeId] = ()
) -> set[NodeId]:
    """Whom the links lead to.

    Args:
        linked: Whom we are linked with.
        named: For each member the short names of those that it says it is linked with.
        leaves: Those of them that pass nothing on.
    """
    whose = {short(node): node for node in named}
    found, border = set(linked), list(linked)
    while border:
        node = border.pop()
        for name in () if node in leaves else named.get(node, ()):
            other = whose.get(name)
            if other is not None and other not in found and short(node) in named[other]:
                found.add(other)
                border.append(other)
    return found
