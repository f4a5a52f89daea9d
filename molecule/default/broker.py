# SPDX-License-Identifier: GPL-3.0-or-later
"""The scenario's MQTT broker on this machine: `broker.py start`, `broker.py stop`.

It is the broker that Otto embeds, run by itself, so that the scenario needs nothing installed.
The lab remembers it by pid and start time: no other process is ever ended.
"""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from lab import processes
from lab.plan import GATEWAY, STATE
from lab.shell import LabError, wait_for

NAME = "molecule-broker"
PORT = 18831  # as in otto.yaml


def start() -> None:
    """Start it where it does not run yet, and wait until it listens. Raises LabError."""
    if processes.alive(NAME):
        return
    config = STATE / f"{NAME}.yml"
    # JSON is YAML. Anonymous: it listens on the lab's own network only.
    config.write_text(
        json.dumps(
            {
                "listeners": {"default": {"type": "tcp", "bind": f"{GATEWAY}:{PORT}"}},
                "plugins": {
                    "amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}
                },
            }
        ),
        encoding="utf-8",
    )
    amqtt = str(Path(sys.executable).with_name("amqtt"))
    processes.start(NAME, [amqtt, "-c", str(config)])
    wait_for(f"the broker on {GATEWAY}:{PORT}", _missing, 20, every=0.1)


def _missing() -> str | None:
    if not processes.alive(NAME):
        raise LabError(f"the broker ended at once:\n{processes.last_words(NAME)}")
    try:
        socket.create_connection((GATEWAY, PORT), timeout=2).close()
    except OSError as error:
        return str(error)
    return None


def stop() -> None:
    """End it; one that does not run is no error."""
    processes.stop(NAME)
    for suffix in (".yml", ".log"):
        (STATE / f"{NAME}{suffix}").unlink(missing_ok=True)


if __name__ == "__main__":
    try:
        {"start": start, "stop": stop}[sys.argv[1]]()
    except LabError as problem:
        sys.exit(f"broker.py: {problem}")
