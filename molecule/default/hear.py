# SPDX-License-Identifier: GPL-3.0-or-later
"""Listens to the agents of the named nodes: `hear.py rpi-97 rpi-98`.

Ends with 0 when every node's retained status says online and one message of metrics with values
of its host has come from each; with 1 and what is missing when a minute has passed.
"""

from __future__ import annotations

import json
import sys
import threading
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

BROKER = ("10.77.0.1", 18831)  # as in otto.yaml
CLUSTER = "molecule"
SECONDS = 60.0


class Ears:
    """Collects what has to be heard; `done` is set when all of it was."""

    def __init__(self, nodes: list[str]) -> None:
        self.missing = {f"{node}/{kind}" for node in nodes for kind in ("status", "metrics")}
        self.heard: dict[str, Any] = {}
        self.done = threading.Event()

    def take(self, topic: str, payload: bytes, retained: bool) -> None:
        node, kind = topic.split("/")[-2:]
        document = json.loads(payload)
        if kind == "status" and (document.get("state") != "online" or not retained):
            # A birth that was heard live is heard again, retained, by whoever comes later.
            return
        if kind == "metrics" and not document.get("host"):
            return
        self.heard[f"{node}/{kind}"] = document
        self.missing.discard(f"{node}/{kind}")
        if not self.missing:
            self.done.set()


def main() -> int:
    ears = Ears(sys.argv[1:])
    problems: list[str] = []

    def on_connect(client: mqtt.Client, *_: object) -> None:
        client.subscribe([(f"otto/v1/{CLUSTER}/+/{kind}", 1) for kind in ("status", "metrics")])

    def on_message(client: mqtt.Client, _: object, message: mqtt.MQTTMessage) -> None:
        # An exception here would end paho's thread without a word.
        try:
            ears.take(message.topic, bytes(message.payload), message.retain)
        except (ValueError, AttributeError) as error:
            problems.append(f"{message.topic}: {error!r}: {message.payload[:200]!r}")
        status_live = message.topic.endswith("/status") and not message.retain
        if status_live:
            client.subscribe(message.topic, 1)  # the broker answers with what it retains

    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="otto-molecule-hear")
    client.on_connect = on_connect
    client.on_message = on_message
    client.connect(*BROKER, keepalive=10)
    client.loop_start()
    heard = ears.done.wait(SECONDS)
    client.disconnect()
    client.loop_stop()
    print(json.dumps(ears.heard, indent=1, sort_keys=True))
    if problems or not heard:
        print("\n".join([*problems, f"not heard: {sorted(ears.missing)}"]), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
