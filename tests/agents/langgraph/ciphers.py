"""A cipher as LangGraph's encrypted serde takes one."""

from __future__ import annotations

import os

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from langgraph.checkpoint.serde.base import CipherProtocol


class Aes(CipherProtocol):
    """AES-GCM under a key of its own; no two encryptions of one text are alike."""

    def __init__(self, key: bytes | None = None) -> None:
        self._aes = AESGCM(key or AESGCM.generate_key(128))

    def encrypt(self, plaintext: bytes) -> tuple[str, bytes]:
        nonce = os.urandom(12)
        return "aes-gcm", nonce + self._aes.encrypt(nonce, plaintext, None)

    def decrypt(self, ciphername: str, ciphertext: bytes) -> bytes:
        assert ciphername == "aes-gcm"
        return self._aes.decrypt(ciphertext[:12], ciphertext[12:], None)
