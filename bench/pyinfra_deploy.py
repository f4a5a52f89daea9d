# SPDX-License-Identifier: GPL-3.0-or-later
"""What people write with pyinfra: one `docker.container` operation per container."""

import json
import os
from pathlib import Path

from pyinfra.operations import docker  # type: ignore[import-not-found]

_document = json.loads(Path(os.environ["BENCH_PYINFRA"]).read_text(encoding="utf-8"))

for arguments in _document["containers"]:
    docker.container(name=f"Run {arguments['container']}", **arguments)
