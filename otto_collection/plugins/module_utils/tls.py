# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""TLS as a client of the broker: whom it trusts, and what a failed handshake means.

The same words for the agent's log, `otto-run doctor` and `otto-run up`.
"""

from __future__ import annotations

import contextlib
import ssl
import time
from collections.abc import Iterator
from typing import NamedTuple

SYSTEM = "system"
"""In the place of a CA: whom this system trusts anyhow."""


class Trouble(NamedTuple):
    """One line each."""

    cause: str
    next: str


def context(ca: str) -> ssl.SSLContext:
    """Trusts `ca` (PEM, or SYSTEM) and nobody else, and checks the broker's name. Raises
    ssl.SSLError when there is no certificate in it."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca == SYSTEM:
        made.load_default_certs()
    else:
        made.load_verify_locations(cadata=ca)
    return made


@contextlib.contextmanager
def greeting(ca: str) -> Iterator[None]:
    """Around a connect: who hangs up at the first words of TLS, as Mosquitto does, speaks none."""
    try:
        yield
    except (ConnectionResetError, BrokenPipeError) as error:
        if not ca:
            raise
        raise ssl.SSLEOFError(str(error)) from error


def holds_back(sock: object) -> bool:
    """Whether TLS has read more than it has handed over: no select sees that."""
    return isinstance(sock, ssl.SSLSocket) and sock.pending() > 0


# verify_code of OpenSSL (x509_vfy.h) -> what it means and what to type; {where} is host:port.
_VERIFY = {
    9: Trouble("its certificate is not valid yet{clock}", "timedatectl   (is the clock right?)"),
    10: Trouble(
        "its certificate has expired{clock}",
        "timedatectl   (is the clock right?), then renew it: otto-run rotate --ca, or at a broker"
        " of your own",
    ),
    62: Trouble(
        "its certificate is for another name",
        "write a name of the certificate under mqtt.host, or restart `otto-run up` to have one"
        " made for this name",
    ),
}
_VERIFY[64] = _VERIFY[62]  # an address instead of a name
_STRANGER = Trouble(
    "its certificate is of a CA that is not trusted here",
    "otto-run apply   (brings the CA of this control machine); a broker of your own:"
    " mqtt.tls: {{ca: FILE}}",
)
_PLAIN = Trouble(
    "it speaks no TLS there",
    "write the broker's TLS port under mqtt.port, or mqtt.tls: off if it has none",
)
# What OpenSSL says when the other side answers something else than TLS; 3.x changed the word.
_NOT_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "UNEXPECTED_EOF_WHILE_READING")


def trouble(error: BaseException) -> Trouble | None:
    """What a failed handshake means; None for an error that is none of TLS."""
    if isinstance(error, ssl.SSLCertVerificationError):
        found = _VERIFY.get(error.verify_code, _STRANGER)
        now = time.strftime("%Y-%m-%d", time.gmtime())
        return Trouble(
            found.cause.format(clock=f" (the clock here says {now})"), found.next.format()
        )
    if isinstance(error, ssl.SSLEOFError) or (
        isinstance(error, ssl.SSLError) and error.reason in _NOT_TLS
    ):
        return _PLAIN
    if isinstance(error, ssl.SSLError):
        return Trouble(f"TLS failed: {error.reason or error}", "otto-run doctor")
    return None


def line(error: BaseException) -> str:
    """The error in one line, with what to type where that is known."""
    found = trouble(error)
    return f"{found.cause}; next: {found.next}" if found else str(error)
