# SPDX-License-Identifier: GPL-3.0-or-later
"""What the kernel says of its clock: adjtimex(2), which only reads when no mode is set.

Python has no call for it. A unit of systemd with ProtectClock= refuses it, whoever asks.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

from otto_agent.metrics_files import Values

_UNSYNCHRONISED = 0x0040
_NANOSECONDS = 0x2000


class _Timex(ctypes.Structure):
    """The beginning of `struct timex`; `long` has the C library's own size on every board."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("frequency", ctypes.c_long),
        ("max_error", ctypes.c_long),
        ("estimated_error", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_char * 256),
    )


@dataclass(frozen=True)
class Clock:
    """offset: seconds that the kernel still has to correct. max_error: seconds."""

    synchronised: bool
    offset: float
    max_error: float

    def values(self) -> Values:
        values: Values = {"clock_synchronised": int(self.synchronised)}
        if self.synchronised:
            # Of a clock that nobody sets, the kernel knows neither.
            values["clock_offset_seconds"] = self.offset
            values["clock_max_error_seconds"] = self.max_error
        return values


def kernel_clock() -> Clock | None:
    """None where the call is not allowed."""
    now = _Timex()
    if ctypes.CDLL(None).adjtimex(ctypes.byref(now)) < 0:
        return None
    unit = 1e-9 if now.status & _NANOSECONDS else 1e-6
    return Clock(
        synchronised=not now.status & _UNSYNCHRONISED,
        offset=round(now.offset * unit, 9),
        max_error=round(now.max_error * 1e-6, 6),
    )
