"""Who mints."""

from __future__ import annotations

import secrets

from propagul.crdt import Origin


def fresh_origin() -> Origin:
    """An origin nobody has: 64 bits from the system, fresh at every open, so that no backup can reuse a dot."""
    return Origin(secrets.randbits(64) or 1)
