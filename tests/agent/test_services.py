# SPDX-License-Identifier: GPL-3.0-or-later
"""What feeds the watchdog, and what makes the agent wait longer. Pure, but for the clock."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.otto.cluster.plugins.module_utils.reconcile import Report

from otto_agent.backoff import worth_telling
from otto_agent.config import Config
from otto_agent.pulse import IDLE, MARGIN, Pulse
from otto_agent.services import Services
from otto_agent.tell import Teller
from otto_agent.watch import Death


def report(**services: Any) -> Report:
    whole = {
        name: {
            "state": "running",
            "container_id": "c1",
            "verdict": "up_to_date",
            "changes": [],
            "error": None,
            **entry,
        }
        for name, entry in services.items()
    }
    return Report("c", "n", "r", False, services=whole)


FAILURE = {"service": "web", "message": "no", "cause": "because", "next": ""}


def test_what_the_plan_refuses_is_no_try() -> None:
    """A change that is known to fail, a policy: told once, and never `backoff`."""
    services = Services()
    refused = {"service": "web", "error": FAILURE, "operations": []}
    found = replace(report(web={"error": FAILURE}), plan={"services": [refused]})
    for known in (None, FAILURE, FAILURE):
        (web,) = services.account(found, services.held({"web"}, time.monotonic()), 0.0)
        assert (web.failure, web.known) == (FAILURE, known)
        assert (web.times, web.retry_in) == (0, None)
    (web,) = services.account(report(web={}), (), 0.0)
    assert web.failure is None


class Said:
    def __init__(self) -> None:
        self.reports: list[Any] = []
        self.events: list[str] = []

    def report(self, body: Any) -> None:
        self.reports.append(body)

    def event(self, kind: str, text: str, service: str = "") -> None:
        assert (kind, service) == ("failed", "")
        self.events.append(text)


def test_what_a_node_lacks_for_long_is_news_once() -> None:
    said = Said()
    teller = Teller(Config("c", "n"), said)
    missing = {"service": "", "message": "no volume", "cause": "it is another one", "next": ""}
    for errors in ((missing,), (missing,), (), (missing,), (missing,)):
        teller.round(replace(report(), errors=errors), [], "current", sweep=False)
    assert said.events == ["no volume (it is another one)"] * 2
    assert [len(body["errors"]) for body in said.reports] == [1, 0, 1]


def test_a_loop_without_a_sign_is_dead() -> None:
    pulse = Pulse()
    now = time.monotonic()
    assert pulse.alive(now) and not pulse.alive(now + IDLE + 1)
    pulse.beat()
    assert pulse.alive(now)


def test_a_request_vouches_for_itself_until_its_own_limit() -> None:
    """An hour of waiting for what may take an hour is no hang; a second more than that is."""
    pulse = Pulse()
    with pulse.waiting(3600):
        now = time.monotonic()
        assert pulse.busy
        assert pulse.alive(now + 3600)
        assert not pulse.alive(now + 3600 + MARGIN + 1)
    assert not pulse.busy
    assert pulse.alive(time.monotonic())


def test_one_request_that_hangs_is_seen_beside_others_that_do_not() -> None:
    pulse = Pulse()
    begun, over = threading.Event(), threading.Event()

    def hang() -> None:
        with pulse.waiting(1):
            begun.set()
            over.wait(10)

    thread = threading.Thread(target=hang)
    thread.start()
    try:
        assert begun.wait(10)
        with pulse.waiting(3600):
            assert not pulse.alive(time.monotonic() + 1 + MARGIN + 1)
    finally:
        over.set()
        thread.join()
    assert pulse.alive(time.monotonic())


@pytest.mark.parametrize(
    ("before", "times", "told"),
    [
        *((0, 1, False), (1, 2, False), (2, 3, True), (3, 4, False), (5, 6, True), (4, 7, True)),
        *((6, 11, False), (11, 12, True), (0, 100, True), (3, 3, False), (7, 1, False)),
    ],
)
def test_a_row_of_failures_is_told_when_it_has_doubled(before: int, times: int, told: bool) -> None:
    assert worth_telling(before, times) is told


def test_who_fails_is_let_alone_for_longer_each_time() -> None:
    services = Services()
    delays = []
    for _ in range(4):
        (web,) = services.account(report(web={"error": FAILURE}), (), 0.0)
        assert web.failure == FAILURE and web.tried
        delays.append(web.retry_in)
        assert services.held({"web"}, time.monotonic()) == {"web"}
        assert services.held({"other"}, time.monotonic()) == frozenset()
    assert delays == pytest.approx([1, 2, 4, 8], abs=0.5)
    (web,) = services.account(report(web={}), {"web"}, 0.0)
    assert (web.tried, web.failure, web.times) == (False, FAILURE, 4), "it still stands"
    services.begin_anew()
    assert services.held({"web"}, time.monotonic()) == frozenset(), "another target, another try"


def test_a_removed_container_is_no_crash() -> None:
    """However often somebody removes it: the next one is made after a second at the most."""
    services = Services()
    for _ in range(5):
        (web,) = services.account(report(web={"verdict": "create"}), (), 0.0)
        assert web.times == 1
        later = time.monotonic() + 1.1
        assert services.held({"web"}, later) == frozenset()


def test_only_what_ended_by_itself_counts() -> None:
    """A container that is no more, or ended while we replaced it, did not crash."""
    services = Services()
    now = time.monotonic()
    for container, at in (("c1", now), ("c1", now), ("gone", now)):
        services.died(Death("web", container, "1", at))
    services.died(Death("new", "c2", "1", now + 5))
    services.died(Death("unknown", "c3", "1", now))
    found = services.account(report(web={}, new={"verdict": "recreate"}), (), now + 1)
    times = {each.name: (each.times, each.death is not None) for each in found}
    assert times == {"web": (2, True), "new": (1, False)}
