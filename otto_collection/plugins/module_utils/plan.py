# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is to be done: a target and an observed node give a plan. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .model import Change
from .operations import Operation, PullImage, Remove, Rename


@dataclass(frozen=True)
class Trouble:
    """Why something cannot be done: what, why, and the next command to type. service: "" = node."""

    message: str
    cause: str = ""
    next: str = ""
    service: str = ""

    def to_json(self) -> dict[str, str]:
        return {
            "service": self.service,
            "message": self.message,
            "cause": self.cause,
            "next": self.next,
        }


@dataclass(frozen=True)
class ServicePlan:
    """What one service needs.

    verdict: up_to_date | create | update | recreate | start | remove.
    pulls: to be done first; afterwards observe again and plan this service again
    (`services={name}`, with `blocked={name: why}` if a pull failed), then carry out `operations`.
    operations: in order. resumed: those that an interrupted run has carried out already; they are
    only there to be undone with the rest.
    after: services whose plans are to be carried out before this one's (depends_on).
    error: why the service cannot be brought to its target; operations are still to be done
    (they put back what serves).
    """

    service: str
    verdict: str
    changes: tuple[Change, ...] = ()
    operations: tuple[Operation, ...] = ()
    pulls: tuple[PullImage, ...] = ()
    resumed: tuple[Operation, ...] = ()
    after: tuple[str, ...] = ()
    error: Trouble | None = None

    def undo(self, index: int) -> tuple[Operation, ...]:
        """What to carry out when `operations[index]` has failed, in order.

        Empty when nothing is to be undone: a created or started container stays as it is (it is
        what the file asks for), and a failure while tidying up takes back no good replacement.
        An undo that fails in its turn is reported, and the next ones are still carried out.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class Plan:
    """before: networks and volumes to make. services: independent of each other but for `after`.
    after: networks to remove, whatever became of the services. troubles: those of the node itself.
    """

    before: tuple[Operation, ...] = ()
    services: tuple[ServicePlan, ...] = ()
    after: tuple[Operation, ...] = ()
    troubles: tuple[Trouble, ...] = ()

    @property
    def empty(self) -> bool:
        """Nothing to do. A pull of what lies there already does not count."""
        raise NotImplementedError

    def lines(self) -> tuple[str, ...]:
        """The plan as a person reads it; empty for an empty plan."""
        raise NotImplementedError

    def to_json(self) -> dict[str, Any]:
        raise NotImplementedError
