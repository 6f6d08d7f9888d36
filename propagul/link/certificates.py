"""The three certificates of a room, byte for byte determined by their keys.

A room's authority, a member and an invite. Each holds a key and no name: subjects are three fixed words, serials are
hashes of keys, validity is 1970 to 9999 so that no clock matters, and Ed25519 signatures are deterministic. Two
holders of one secret therefore derive the same authority certificate without talking.
"""

from __future__ import annotations

import datetime as dt
import hashlib

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.oid import NameOID

from propagul.errors import IdentityError
from propagul.link.base import NodeId
from propagul.link.identity import node_id, public_bytes, verify

_FROM = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_FAULTS = (
    ValueError,
    TypeError,
    InvalidSignature,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.ExtensionNotFound,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
    CryptographyDeprecationWarning,  # where warnings are errors
)
"""What the library raises for a certificate that somebody else put together."""
_UNTIL = dt.datetime(9999, 12, 31, 23, 59, 59, tzinfo=dt.UTC)


def authority_certificate(key: Ed25519PrivateKey) -> str:
    """Return the self-signed certificate (PEM) of a room's authority."""
    return _certificate(_name("propagul room"), key.public_key(), _name("propagul room"), key, authority=True)


def member_certificate(node: NodeId, authority: Ed25519PrivateKey) -> str:
    """Return a member's certificate (PEM), signed by the room's authority.

    Raises:
        IdentityError: `node` is no node id.
    """
    public = Ed25519PublicKey.from_public_bytes(public_bytes(node))
    return _certificate(_name("propagul member"), public, _name("propagul room"), authority)


def invite_certificate(key: Ed25519PrivateKey) -> str:
    """Return the self-signed certificate (PEM) of an invite's key; it can sign no other."""
    return _certificate(_name("propagul invite"), key.public_key(), _name("propagul invite"), key)


def parse_certificate(text: str | bytes) -> x509.Certificate:
    """Read one certificate, PEM if text, DER if bytes.

    Raises:
        IdentityError: It is damaged.
    """
    try:
        if isinstance(text, str):
            return x509.load_pem_x509_certificate(text.encode())
        return x509.load_der_x509_certificate(text)
    except _FAULTS as error:
        raise IdentityError("a certificate is damaged") from error


def holder(certificate: x509.Certificate) -> NodeId:
    """Return the node whose key a certificate holds.

    Raises:
        IdentityError: The key is not Ed25519.
    """
    try:
        public = certificate.public_key()
    except _FAULTS as error:
        raise IdentityError("a certificate is damaged") from error
    if not isinstance(public, Ed25519PublicKey):
        raise IdentityError("a certificate of this protocol holds an Ed25519 key")
    return node_id(public.public_bytes_raw())


def issued_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    """Tell whether `authority`, being one, signed `certificate`."""
    try:
        limits = authority.extensions.get_extension_for_class(x509.BasicConstraints).value
        certificate.verify_directly_issued_by(authority)
    except _FAULTS:
        return False
    return limits.ca


def is_members(certificate: x509.Certificate) -> bool:
    """Tell whether a certificate says of itself that it can sign no other."""
    try:
        return not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except _FAULTS:
        return False


def made_by(certificate: x509.Certificate, authority: str) -> bool:
    """Tell whether the authority with this public key (spelt as a node's id) signed `certificate`."""
    return verify(NodeId(authority), certificate.signature, certificate.tbs_certificate_bytes)


def _certificate(
    subject: x509.Name,
    public: Ed25519PublicKey,
    issuer: x509.Name,
    signer: Ed25519PrivateKey,
    *,
    authority: bool = False,
) -> str:
    serial = int.from_bytes(hashlib.sha256(public.public_bytes_raw()).digest()[:15])
    builder = (
        x509.CertificateBuilder(subject_name=subject, issuer_name=issuer, public_key=public)
        .serial_number(1 if authority else serial | 1 << 120)  # RFC 5280 4.1.2.2: positive, at most 20 bytes
        .not_valid_before(_FROM)
        .not_valid_after(_UNTIL)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=0 if authority else None), critical=True)
        .add_extension(_usage(authority=authority), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
    return builder.sign(signer, None).public_bytes(Encoding.PEM).decode()


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        key_cert_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])
