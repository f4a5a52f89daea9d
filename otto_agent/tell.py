# SPDX-License-Identifier: GPL-3.0-or-later
"""What people are told of a round of the heal loop: the report, and an event for what is news."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from ansible_collections.otto.cluster.plugins.module_utils.errors import OttoError
from ansible_collections.otto.cluster.plugins.module_utils.reconcile import Report

from otto_agent import messages
from otto_agent.backoff import worth_telling
from otto_agent.config import Config
from otto_agent.services import Standing

log = logging.getLogger(__name__)

OFTEN = 3  # times in a row from which on something happens again and again

_DONE = {
    "create": "it had no container; one was created",
    "start": "its container was down; it was started",
    "update": "its container was changed back",
    "recreate": "its container was replaced",
    "remove": "a container that no service of the target has was removed",
}


class Voice(Protocol):
    """Where it is said."""

    def report(self, body: Mapping[str, Any]) -> None: ...

    def event(self, kind: str, text: str, service: str = "") -> None: ...


class Teller:
    """Knows what was said last, so that only news is an event and only another state a report."""

    def __init__(self, config: Config, voice: Voice) -> None:
        self._config = config
        self._voice = voice
        self._said: Mapping[str, Any] | None = None
        self._about_target = ""
        self._about_disk = ""
        self._about_node: frozenset[str] = frozenset()
        self._docker_gone = False

    # ---- a round that could work

    def round(
        self, report: Report, standings: Iterable[Standing], source: str, sweep: bool
    ) -> None:
        """source: the file that the target came from. sweep: say it even if nothing is new."""
        services: dict[str, Any] = {}
        errors = [dict(error) for error in report.errors]
        for standing in standings:
            self._say(standing)
            services[standing.name] = _shown(standing)
            if not standing.tried and standing.failure is not None:
                errors.append(dict(standing.failure))
        about_node = {
            "{} ({})".format(error["message"], error["cause"]): None
            for error in report.errors
            if not error["service"]
        }
        for text in about_node:
            if text not in self._about_node:
                log.error("%s", text)
                self._voice.event(messages.FAILED, text)
        self._about_node = frozenset(about_node)
        body = {**report.to_json(), "services": services, "errors": errors, "target": source}
        tried = any(error["service"] for error in report.errors)
        self._publish(body, sweep or report.changed or tried)

    def _say(self, standing: Standing) -> None:
        """What was done for one service; nothing where nothing was. The same failure again stands
        in the report, and is no event."""
        name, failure, times = standing.name, standing.failure, standing.times
        again = worth_telling(standing.before, times)
        if standing.death is not None and times < OFTEN:
            self._voice.event(messages.DIED, _death(standing), name)
        if failure is not None and failure != standing.known:
            text = "{}: {} ({})".format(name, failure["message"], failure["cause"])
            if standing.retry_in is not None:
                text += f"; next try in {standing.retry_in:.0f} s"
            log.error("%s", text)
            self._voice.event(messages.FAILED, text, name)
        elif standing.tried and failure is None and standing.entry["verdict"] != "up_to_date":
            text = f"{name}: {_DONE.get(standing.entry['verdict'], standing.entry['verdict'])}"
            if standing.entry["changes"]:
                text += " ({})".format("; ".join(standing.entry["changes"]))
            log.warning("%s", text)
            if times < OFTEN:
                self._voice.event(messages.HEALED, text, name)
        if again:
            text = _row(standing)
            log.warning("%s", text)
            self._voice.event(messages.BACKOFF, text, name)

    # ---- there is nothing to work with, or not as there should be

    def new_target(self, revision: str, former: str | None) -> None:
        if former is not None:
            self._voice.event(messages.TARGET, f"target {revision} replaces {former}")

    def source(self, problem: str) -> None:
        """problem: why the last good target serves; "" where target.json does."""
        if problem and problem != self._about_target:
            text = f"target.json does not serve, the last good target does: {problem}"
            log.error("%s", text)
            self._voice.event(messages.TARGET_BROKEN, text)
        self._about_target = problem

    def unreadable(self, error: OttoError, sweep: bool) -> None:
        text = f"{error.message} ({error.cause})"
        if text != self._about_target:
            log.error("%s; nothing is touched", text)
            self._voice.event(messages.TARGET_BROKEN, text)
        self._about_target = text
        self._without_target("broken", text, sweep)

    def no_target(self, taken: bool, sweep: bool) -> None:
        """taken: there was one before."""
        if self._said is None or self._said.get("target") != "none":
            log.info("no target; nothing is touched")
            if taken:
                self._voice.event(
                    messages.TARGET,
                    "the target was taken away; nothing is touched until the next apply brings one",
                )
        self._about_target = ""
        self._without_target("none", "", sweep)

    def _without_target(self, why: str, cause: str, sweep: bool) -> None:
        body = messages.no_target(self._config.cluster, self._config.node, why, cause)
        self._publish(body, sweep)

    def disk(self, problem: str) -> None:
        """problem: why the state directory cannot be written; "" where it can."""
        if problem and problem != self._about_disk:
            text = f"{problem}; the containers are looked after as before, without a record of it"
            log.error("%s", text)
            self._voice.event(messages.NODE, text)
        elif self._about_disk and not problem:
            text = f"{self._config.state_dir} can be written again"
            log.info("%s", text)
            self._voice.event(messages.NODE, text)
        self._about_disk = problem

    # ---- Docker silent, Docker back

    def silent(self, revision: str, source: str, error: OttoError, sweep: bool) -> None:
        text = f"{error.message} ({error.cause})"
        first = not self._docker_gone
        if first:
            log.error("%s; trying again until it is back", text)
            self._voice.event(messages.DOCKER_GONE, text)
        self._docker_gone = True
        if first or sweep:
            config = self._config
            body = messages.unreachable(
                self._said, config.cluster, config.node, error.message, error.cause, error.next
            )
            self._publish({**body, "revision": revision, "target": source}, True)

    def answered(self) -> None:
        if self._docker_gone:
            self._docker_gone = False
            log.info("Docker is back")
            self._voice.event(messages.DOCKER_BACK, "Docker answers again")

    # ---- a fault of ours

    def unforeseen(self, error: Exception) -> None:
        """Nothing is known of any service then, and the report does not go on as if it were."""
        config = self._config
        message = "The agent failed in an unforeseen way, and looks again in some seconds"
        cause = f"{type(error).__name__}: {error}"
        body = messages.unreachable(
            self._said, config.cluster, config.node, message, cause, "journalctl -u otto-agent"
        )
        news = self._said is None or _essence(body) != _essence(self._said)
        if news:
            self._voice.event(messages.NODE, f"{message} ({cause})")
        self._publish(body, False)

    # ---- saying it

    def _publish(self, body: Mapping[str, Any], anyway: bool) -> None:
        """Where it is no news, a reader of the last report believes nothing that is not so."""
        if anyway or self._said is None or _essence(body) != _essence(self._said):
            self._said = body
            self._voice.report(body)


def _shown(standing: Standing) -> dict[str, Any]:
    """A service's part of the report."""
    entry = {**standing.entry, "error": standing.failure}
    if standing.retry_in is not None:
        entry["retry_in"] = round(standing.retry_in, 1)
    if standing.times >= OFTEN:
        entry["backoff"] = standing.times
    return entry


def _death(standing: Standing) -> str:
    assert standing.death is not None
    text = f"{standing.name} ended with exit code {standing.death.exit_code}"
    mended = standing.entry["verdict"] == "up_to_date"
    if mended and standing.entry["state"] in ("running", "restarting"):
        text += "; Docker starts it again"
    return text


def _row(standing: Standing) -> str:
    """Why a service is in backoff, and until when."""
    name, times = standing.name, standing.times
    if standing.failure is not None:
        text = "{} failed {} times in a row ({})".format(name, times, standing.failure["cause"])
    elif standing.death is not None:
        text = f"{name} ended {times} times in a row, last with exit code "
        text += standing.death.exit_code
    else:
        text = f"{name} had to be mended {times} times in a row"
    if standing.retry_in is not None:
        return f"{text}; next try in {standing.retry_in:.0f} s"
    if standing.death is not None and standing.entry["verdict"] == "up_to_date":
        return f"{text}; Docker starts it again within a minute"
    return text


def _essence(body: Mapping[str, Any]) -> tuple[Any, ...]:
    return (
        body.get("target"),
        body.get("revision"),
        sorted(
            (
                name,
                entry["state"],
                entry["health"],
                entry.get("container_id"),
                "backoff" in entry,
            )
            for name, entry in body["services"].items()
        )
        if all(entry["state"] is not None for entry in body["services"].values())
        else None,
        [(error["service"], error["message"], error["cause"]) for error in body["errors"]],
    )
