from __future__ import annotations

import contextlib
import os
import threading
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from propagul._system import lend
from propagul.errors import IdentityError
from propagul.link import Identity, node_id, public_bytes, verify

if TYPE_CHECKING:
    from pathlib import Path


@given(st.binary(min_size=32, max_size=32))
def test_a_node_id_is_its_public_key(public: bytes) -> None:
    node = node_id(public)
    assert len(node) == 52
    assert node == node.lower()
    assert public_bytes(node) == public


@given(st.text(max_size=60))
def test_any_text_is_a_node_id_or_refused(text: str) -> None:
    with contextlib.suppress(IdentityError):
        assert node_id(public_bytes(text)) == text


def test_one_key_has_one_id_only() -> None:
    node = Identity.generate().node
    alphabet = "abcdefghijklmnopqrstuvwxyz234567"
    with pytest.raises(IdentityError):
        public_bytes(node[:-1] + alphabet[alphabet.index(node[-1]) + 1])
    with pytest.raises(IdentityError):
        public_bytes(node.upper())


def test_only_the_signer_of_exactly_this_message_verifies() -> None:
    ours, other = Identity.generate(), Identity.generate()
    signature = ours.sign(b"message")
    assert verify(ours.node, signature, b"message")
    assert not verify(ours.node, signature, b"messagf")
    assert not verify(other.node, signature, b"message")
    assert not verify(ours.node, b"", b"message")


def test_an_identity_survives_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "new" / "identity.pem"
    first = Identity.load_or_create(path)
    assert Identity.load_or_create(path).node == first.node
    assert [entry.name for entry in path.parent.iterdir()] == ["identity.pem"]


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX")
def test_the_key_file_is_private_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        Identity.load_or_create(tmp_path / "key")
    finally:
        os.umask(before)
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX")
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_key_file_that_others_can_read_is_refused_with_the_remedy(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "key"
    Identity.load_or_create(path)
    path.chmod(mode)
    with pytest.raises(IdentityError, match="chmod 600"):
        Identity.load_or_create(path)


@pytest.mark.parametrize(
    "content", [b"", b"nonsense", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]
)
def test_a_damaged_key_file_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(IdentityError, match="no private key"):
        Identity.load_or_create(path)
    assert path.read_bytes() == content


def test_a_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(IdentityError, match="file"):
        Identity.load_or_create(tmp_path / "file" / "key")


def test_those_who_start_together_agree_on_one_identity(tmp_path: Path) -> None:
    path, start, nodes = tmp_path / "key", threading.Barrier(8), list[str]()

    def begin() -> None:
        start.wait()
        nodes.append(Identity.load_or_create(path).node)

    threads = [threading.Thread(target=begin) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(nodes) == 8
    assert len(set(nodes)) == 1


@pytest.mark.parametrize("anonymous", [True, False])
def test_lent_key_material_is_gone_afterwards(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, anonymous: bool
) -> None:
    if not anonymous:
        monkeypatch.delattr(os, "memfd_create", raising=False)
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with lend(b"key") as name, open(name, "rb") as file:  # noqa: PTH123 - the way OpenSSL opens it
        assert file.read() == b"key"
        assert os.fstat(file.fileno()).st_mode & 0o077 == 0 or anonymous
    assert not os.path.exists(name) or anonymous  # noqa: PTH110
    assert list(tmp_path.iterdir()) == []
