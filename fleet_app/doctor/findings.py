"""What the doctor finds: one plain sentence each, and what to do about it.

A sentence is read at midnight by somebody who wants two boxes to see each other. It says what is so in words that need
no manual, and the remedy is one thing to do. Neither ever holds a secret, a token or a key.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Subject = Literal["node", "data", "address", "port", "firewall", "secret", "version", "identity", "clock", "exposure"]
"""What a finding is about."""

Verdict = Literal["ok", "note", "unknown", "blocked"]
"""`blocked` stands in the way. A `note` does not, and is worth knowing; `unknown` could not be told from here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        subject: What it is about.
        verdict: Whether it stands in the way.
        says: What is so, as one sentence without its full stop.
        remedy: The one thing to do: a command or a sentence; empty where there is nothing to do.
    """

    subject: Subject
    verdict: Verdict
    says: str
    remedy: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """Everything found out about one machine.

    Attributes:
        of: Whose: `this box`, or a peer's name and address.
        findings: In the order they were looked at; of a peer, the first that is blocked is the last.
    """

    of: str
    findings: tuple[Finding, ...]

    @property
    def is_healthy(self) -> bool:
        """Whether nothing stands in the way."""
        return all(finding.verdict != "blocked" for finding in self.findings)


def ok(subject: Subject, says: str) -> Finding:
    """Return a finding that all is well."""
    return Finding(subject=subject, verdict="ok", says=says)


def note(subject: Subject, says: str, remedy: str = "") -> Finding:
    """Return a finding that is worth knowing and stops nobody."""
    return Finding(subject=subject, verdict="note", says=says, remedy=remedy)


def unknown(subject: Subject, says: str, remedy: str = "") -> Finding:
    """Return a finding that nothing could be found out."""
    return Finding(subject=subject, verdict="unknown", says=says, remedy=remedy)


def blocked(subject: Subject, says: str, remedy: str) -> Finding:
    """Return a finding that something stands in the way."""
    return Finding(subject=subject, verdict="blocked", says=says, remedy=remedy)
