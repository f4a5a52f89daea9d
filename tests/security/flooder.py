# SPDX-License-Identifier: GPL-3.0-or-later
"""A node that says all it can, in a process of its own: python -m tests.security.flooder."""

from __future__ import annotations

import contextlib
import itertools
import json
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ansible_collections.otto.cluster.plugins.module_utils import tls

from tests.security import attacker


def payload(kind: str, seq: int, boot: str = "b", **more: Any) -> bytes:
    body = {"v": 1, "boot": boot, "seq": seq, "time": time.time(), **more}
    if kind == "event":
        return json.dumps({"kind": "died", "service": "web", "text": "ended", **body}).encode()
    return json.dumps({"interval": 10, "host": {"load_1m": 1}, "containers": {}, **body}).encode()


def lies() -> Iterator[tuple[str, bytes]]:
    """All that fills something: long events, large metrics, new lives, holes, reports, rubbish."""
    many = {f"c{n}": {f"n{i}": 1 for i in range(20)} for n in range(100)}
    services = {f"s{n}": {"state": "x" * 30, "image": "y" * 300} for n in range(100)}
    for n in itertools.count(1):
        yield "event", payload("event", n, text="x" * 600)
        yield "event", payload("event", 2 * n, boot="holes", text="y" * 600)
        yield "event", payload("event", 1, boot=f"life{n}", text="z" * 600)
        yield "metrics", payload("metrics", n, boot=f"other{n % 7}")
        if n % 20 == 0:
            yield "metrics", payload("metrics", n, boot="large", containers=many)
            report = {"v": 1, "boot": "b", "time": 0, "services": services, "errors": []}
            yield "report", json.dumps(report).encode()
            yield "event", b"[" * 10_000


def main(
    host: str, port: str, ca: str, user: str, password: str, name: str, node: str, seconds: str
) -> None:
    """node: the topic up to it. Prints how many messages it has sent."""
    plain = socket.create_connection((host, int(port)), 10)
    connection = tls.context(Path(ca).read_text()).wrap_socket(plain, server_hostname=host)
    connection.sendall(attacker.connect(name, user, password))
    assert connection.recv(4) == b"\x20\x02\x00\x00"
    connection.settimeout(5)
    end = time.monotonic() + float(seconds)
    sent = 0
    with contextlib.suppress(OSError):
        for kind, body in lies():
            if time.monotonic() > end:
                break
            connection.sendall(attacker.publish(f"{node}/{kind}", body))
            sent += 1
    print(sent)


if __name__ == "__main__":
    main(*sys.argv[1:])
