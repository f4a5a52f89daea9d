# SPDX-License-Identifier: GPL-3.0-or-later
"""`otto-run prune`: removes from the nodes what earlier applies brought and nothing needs now."""

from __future__ import annotations

from collections.abc import Sequence

from otto_run import lock, processes, render, telling
from otto_run.exits import Code
from otto_run.session import Session

PRUNE = "otto.cluster.prune"


def prune(
    here: Session,
    limit: Sequence[str],
    *,
    check: bool,
    keep: int | None,
    as_json: bool,
    accept: bool,
) -> Code:
    """keep: earlier sets of images that stay; None for what the file says. check: only show."""
    nodes = here.limited(limit)
    variables = {} if keep is None else {"otto_keep": keep}
    with lock.hold(here.paths.lock, "otto-run prune"):
        here.trust(nodes, accept=accept)
        processes.become_subreaper()
        outcome = here.play(PRUNE, limit=nodes, check=check, variables=variables)
    failures = here.failures(outcome)
    removed = {
        node: [render.clean(line, 300) for line in outcome.results[node].get("removed") or ()]
        for node in here.nodes
        if node in outcome.results
    }
    if as_json:
        document = {
            "cluster": here.cluster.name,
            "check": check,
            "removed": removed,
            "failures": [failure.to_json() for failure in failures],
        }
        print(render.as_json(document))
        return Code.FAILED if failures else Code.DONE
    for node, lines in removed.items():
        for line in lines:
            print(
                f"{node}: {'would remove' if check else 'removed'} {line.removeprefix('remove ')}"
            )
    count = sum(map(len, removed.values()))
    if count:
        print(f"{count} images {'would be' if check else ''} removed".replace("  ", " "))
    elif not failures:
        everything = here.cluster.keep_images < 0 and keep is None
        hint = " (images.keep is all; --keep 0 would leave only what runs)" if everything else ""
        print(f"Nothing to remove: no image that Otto brought is superseded{hint}.")
    telling.tell(failures)
    return Code.FAILED if failures else Code.DONE
