# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which environment variables hold a secret, as far as their name tells. Pure."""

from __future__ import annotations

import re

_SECRET = re.compile(
    r"PASSW(OR)?D|PASSPHRASE|SECRET|TOKEN|CREDENTIAL|(^|_)PASS($|_)|_PWD($|_)"
    r"|((^|_)|API|ACCESS|AUTH|MASTER|PRIV|PRIVATE|SSH|SIGN|SIGNING|ENCRYPTION)KEYS?($|_)"
)


def sounds_secret(name: str) -> bool:
    """`DB_PASSWORD`, `API_KEY`, ...; the path of a file (`DB_PASSWORD_FILE`) is none."""
    upper = name.upper()
    return not upper.endswith("_FILE") and _SECRET.search(upper) is not None
