# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the packages in a bundle consist of, as they were released.

pip notes what it has installed, and whoever may write the one may write the other; so for the
versions that Otto was tested with it is held here, too. A package of a known version with another
content is refused. One of another version is taken as pip noted it, and told when it is sent: a
fleet is not to wait for Otto when a hole in urllib3 is mended.

Not the digests of wheels, because what is installed is at hand and the wheel is not, and because a
bundle takes the Python files alone, which are the same in each wheel of a version. The line of
another version is printed by `test_every_version_that_otto_is_tested_with_is_pinned`; before it
goes in here, compare it with the wheel of the index (`pip download --no-deps`).
"""

from __future__ import annotations

PINS = {
    ("docker", "7.2.0"): "0165ea01c576dd1af42a3f035cfd635f29111528dda4750d597d7811497d63ef",
    ("requests", "2.32.5"): "ecfdca1f4938bc28902d61399d1fa5ed5e78abe048ba40de406772ce817ea48c",
    ("urllib3", "2.6.3"): "d45a1b4924a9300c4e62eeb5e3d3835ede23d4a14a74777f315e6226137aed7f",
    ("idna", "3.20"): "e8e9e08273ab6294637d748649bec123f08ebb9e4183cba819b3c5e3210b3086",
    ("certifi", "2026.10.18"): "a9cbf67942d158711c9bf212882158f395edaf7a64e5e54e11705f2dd9a98ce3",
    ("paho-mqtt", "2.2.0"): "dca650de5250c284e738a53e7dbf0d610a47c4b90140599ec6fe306285fcae86",
    ("pyyaml", "6.0.3"): "4157f400fb845272d739fbb406c088f73cee89fe159d5c709daaf93076885763",
}
"""(distribution, version) -> `bundle.pin` of its files."""
