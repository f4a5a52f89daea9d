# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Otto's own certificate authority, for the broker's TLS: `<state>/<cluster>/pki/`.

The dates are for machines with wrong clocks. A Raspberry Pi has no clock of its own and may start
in 1970, or be ten years off, and would refuse a broker whose certificate does not hold yet, or no
longer. So certificates begin in 1970, live for decades, and are made anew when LEAST_LEFT is left,
which is more than a clock is believed to be wrong. What ends a stolen key is not its date but
`otto-run rotate --ca`: then nobody trusts it. A certificate that has expired is refused.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import ipaddress
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.otto.cluster.plugins.module_utils.errors import OttoError, typed
from ansible_collections.otto.cluster.plugins.plugin_utils.credentials import write_private

BEGIN = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
YEAR = datetime.timedelta(days=365.25)
CA_LIFE = 50 * YEAR
LIFE = 25 * YEAR
LEAST_LEFT = 12 * YEAR
_LOCAL = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, as files in PEM."""

    certificate: Path
    key: Path

    @property
    def there(self) -> bool:
        return self.certificate.is_file() and self.key.is_file()


class Pki:
    """The CA of one cluster and the certificate of its broker."""

    def __init__(self, directory: Path) -> None:
        """directory: the cluster's state; it has to be there."""
        self._directory = directory / "pki"
        self.ca = Pair(self._directory / "ca.crt", self._directory / "ca.key")
        self._coming = Pair(self._directory / "next-ca.crt", self._directory / "next-ca.key")
        self._former = self._directory / "former-ca.crt"

    def trusted(self) -> str:
        """PEM of the CAs that clients are to trust; the CA is made where there is none."""
        with self._alone():
            if not self.ca.there:
                _make_ca(self.ca)
            files = (self.ca.certificate, self._coming.certificate, self._former)
            return "".join(f.read_text(encoding="ascii") for f in files if f.is_file())

    def broker(self, host: str) -> Pair:
        """The broker's certificate for `host` and this machine's own names; made where there is
        none, or another host's, or another CA's, or one near its end."""
        pair = Pair(self._directory / "broker.crt", self._directory / "broker.key")
        with self._alone():
            if not self.ca.there:
                _make_ca(self.ca)
            if not (pair.there and _fits(pair.certificate, self.ca.certificate, host)):
                _make_broker(pair, self.ca, host)
        return pair

    # ---- another CA, in three steps; each may be cut off and done again

    def prepare(self) -> None:
        """Make the CA that is to come. From now on clients are to trust it too."""
        with self._alone():
            if not self.ca.there:
                _make_ca(self.ca)  # new as it is
            # A former one: the change has gone further already.
            elif not self._coming.there and not self._former.is_file():
                _make_ca(self._coming)

    def switch(self) -> None:
        """Sign with the new CA. From now on the broker shows a certificate of it."""
        with self._alone():
            if self._coming.there:
                if self._coming.certificate.read_bytes() != self.ca.certificate.read_bytes():
                    write_private(self._former, self.ca.certificate.read_bytes())
                write_private(self.ca.key, self._coming.key.read_bytes())
                write_private(self.ca.certificate, self._coming.certificate.read_bytes())
                self._coming.certificate.unlink()
                self._coming.key.unlink()

    def settle(self) -> None:
        """Trust the former CA no longer."""
        with self._alone():
            self._former.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        try:
            self._directory.mkdir(mode=0o700, exist_ok=True)
            descriptor = os.open(
                self._directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
            )
        except OSError as error:
            raise OttoError(
                f"Cannot write to {self._directory}",
                cause=error.strerror or str(error),
                next=typed("ls -ld {}", self._directory.parent),
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        except (OSError, ValueError) as error:
            raise OttoError(
                f"Otto's certificates in {self._directory} cannot be read",
                cause=str(error),
                next=typed(
                    "restore {} from a backup; or remove it, then: otto-run apply", self._directory
                ),
            ) from error
        finally:
            os.close(descriptor)


# cryptography takes 0.1 s to load, and most calls only read what is there.


def _make_ca(pair: Pair) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    # Two CAs of one name and two keys would confuse OpenSSL's search for the issuer.
    serial = x509.random_serial_number()
    name = _name(f"Otto {serial:x}"[:40])
    usage = _usage(key_cert_sign=True, crl_sign=True)
    certificate = (
        _builder(name, name, key, serial, CA_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False
        )
    )
    _write(pair, key, key, certificate)


def _make_broker(pair: Pair, ca: Pair, host: str) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    signer: Any = load_pem_private_key(ca.key.read_bytes(), password=None)
    issuer = x509.load_pem_x509_certificate(ca.certificate.read_bytes())
    key = ec.generate_private_key(ec.SECP256R1())
    names = [_alternative(name) for name in dict.fromkeys((host, *_LOCAL))]
    certificate = (
        _builder(issuer.subject, _name("Otto's broker"), key, x509.random_serial_number(), LIFE)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(digital_signature=True), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.SERVER_AUTH]), critical=False
        )
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
    )
    _write(pair, key, signer, certificate)


def _fits(certificate: Path, ca: Path, host: str) -> bool:
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature

    found = x509.load_pem_x509_certificate(certificate.read_bytes())
    issuer = x509.load_pem_x509_certificate(ca.read_bytes())
    try:
        found.verify_directly_issued_by(issuer)
    except (ValueError, InvalidSignature):
        return False
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    left = found.not_valid_after_utc - datetime.datetime.now(datetime.UTC)
    return _alternative(host) in list(names) and left > LEAST_LEFT


def _builder(issuer: Any, subject: Any, key: Any, serial: int, life: datetime.timedelta) -> Any:
    from cryptography import x509

    return (
        x509.CertificateBuilder()
        .issuer_name(issuer)
        .subject_name(subject)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(BEGIN)
        .not_valid_after(datetime.datetime.now(datetime.UTC) + life)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _write(pair: Pair, key: Any, signer: Any, builder: Any) -> None:
    from cryptography.hazmat.primitives import hashes, serialization

    certificate = builder.sign(signer, hashes.SHA256())
    # The key first: a certificate that is there has its key beside it.
    write_private(
        pair.key,
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )
    write_private(pair.certificate, certificate.public_bytes(serialization.Encoding.PEM))


def _name(text: str) -> Any:
    from cryptography import x509

    return x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, text)])


def _usage(**granted: bool) -> Any:
    from cryptography import x509

    every = (
        "digital_signature", "content_commitment", "key_encipherment", "data_encipherment",
        "key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
    )  # fmt: skip
    return x509.KeyUsage(**{name: granted.get(name, False) for name in every})


def _alternative(name: str) -> Any:
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
