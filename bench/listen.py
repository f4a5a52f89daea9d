# SPDX-License-Identifier: GPL-3.0-or-later
"""The listener of an otto.yaml and nothing else, to be killed: `python -m bench.listen FILE`."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from ansible_collections.otto.cluster.plugins.module_utils.errors import OttoError

from otto_run.listener import Listener
from otto_run.session import Session
from otto_run.vault import Vault


def started(here: Session) -> Listener:
    while True:
        listener = Listener(here.access, here.cluster.name, here.nodes, here.paths.store)
        try:
            listener.start()
        except OttoError as error:
            print(error, file=sys.stderr, flush=True)
            time.sleep(1.0)  # the broker is away: it is killed, too
        else:
            return listener


def main() -> None:
    listener = started(Session.open(Path(sys.argv[1]), Vault(None), 0))
    while True:
        listener.check()
        time.sleep(0.2)


if __name__ == "__main__":
    main()
