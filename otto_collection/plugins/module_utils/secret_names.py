# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which names say that their value is a secret. Pure.

A name is read as words: `DB_PASSWORD`, `db-password`, `db.password` and `dbPassword` are the same
two. One word that means a secret is enough. Three things take that back: a last word that says the
value only points to the secret (`_FILE`, `_PATH`, `_DIR`) or describes it (`_LENGTH`, `_TTL`, ...),
and a key that is called public.
"""

from __future__ import annotations

import re
from functools import lru_cache

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
"""Of `apiKey`, `APIKey`, `API_KEY`; digits part words and say nothing."""

_WORDS = {
    *("PASS", "PW", "PWD", "PASSCODE", "PASSCODES", "PASSKEY", "PASSKEYS", "PASSIN", "PASSOUT"),
    *("KEY", "KEYS", "CRED", "CREDS", "SALT", "PEPPER", "BEARER", "HTPASSWD", "OTP", "TOTP"),
    *("DSN", "JWT", "HMAC", "PSK", "BASICAUTH", "DIGESTAUTH"),
}
_WITHIN = ("PASSW", "PASSPHRASE", "SECRET", "TOKEN", "CREDENTIAL", "WEBHOOK")
"""A word that holds one of these, such as `DBPASSWORD` or `APITOKENS`."""

_ENDINGS = ("PASS", "PWD", "KEY", "KEYS")
"""A word that ends so, such as `DBPASS` or `APIKEY`, but for these:"""
_NO_SECRET = {
    *("COMPASS", "BYPASS", "OVERPASS", "UNDERPASS", "ENCOMPASS", "SURPASS", "TRESPASS"),
    *("MONKEY", "DONKEY", "TURKEY", "HOTKEY", "VALKEY", "WHISKEY", "HOCKEY", "JOCKEY"),
    *("PUBKEY", "PUBLICKEY", "OLDPWD"),
}
_LAST = {"AUTH", "AUTHORIZATION", "COOKIE", "COOKIES", "SIGNATURE"}
"""Secrets as the last word alone: `REGISTRY_AUTH` is one, `AUTH_URL` and `COOKIE_DOMAIN` not."""

_POINTS = ("FILE", "FILES", "PATH", "DIR", "DIRECTORY")
_DESCRIBES = {
    *("ALG", "ALGO", "ALGORITHM", "ENABLED", "DISABLED", "EXPIRATION", "EXPIRES", "EXPIRY"),
    *("LENGTH", "LIFETIME", "TIMEOUT", "TTL", "TYPE"),
}
_ASKS = ("ASK", "ACCEPT")
"""First words of flags that take no value: `--ask-vault-pass`, `--accept-new-host-keys`."""
_PUBLIC = {"PUBLIC", "PUB", "PUBLISHABLE"}


@lru_cache(maxsize=4096)
def sounds_secret(name: str) -> bool:
    """`DB_PASSWORD`, `apiKey`, `SENTRY_DSN`; the path of a file (`DB_PASSWORD_FILE`) is none."""
    words = [word.upper() for word in _WORD.findall(name[:256])]
    if not words or words == ["PWD"]:  # the working directory
        return False
    if words[-1].endswith(_POINTS) or words[-1] in _DESCRIBES or words[0] in _ASKS:
        return False
    return words[-1] in _LAST or any(
        _is_secret(word, words[place - 1] if place else "") for place, word in enumerate(words)
    )


def _is_secret(word: str, before: str) -> bool:
    if (
        word in _NO_SECRET
        or word[:-1] in _NO_SECRET
        or (word in ("KEY", "KEYS") and before in _PUBLIC)
    ):
        return False
    return word in _WORDS or word.endswith(_ENDINGS) or any(part in word for part in _WITHIN)
