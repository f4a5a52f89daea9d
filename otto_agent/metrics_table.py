# SPDX-License-Identifier: GPL-3.0-or-later
"""Every metric: what it is, where it is read, when it is absent. docs/metrics.md is made of it.

Not read while the agent runs; a test holds it against what the readers give.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """source: a file below /proc, /sys or a cgroup, a system call, or Docker. absent: when, beyond
    "the kernel does not show it"."""

    name: str
    unit: str
    source: str
    text: str
    absent: str = ""


_STATVFS = "statvfs(2)"
_MOUNTS = "/proc/self/mountinfo"
_MEMINFO = "/proc/meminfo"
_FIRMWARE = "/sys/devices/platform/soc*/*firmware/get_throttled"
_TIMEX = "adjtimex(2)"
_NO_PI = "no Raspberry Pi"
_UNSET = "the clock is not synchronised, or the call is refused"
_NO_MEMORY = "the kernel counts no memory (Raspberry Pi without `cgroup_enable=memory`)"


def _disk(prefix: str, words: str, absent: str = "") -> tuple[Metric, ...]:
    made = "; ".join(filter(None, (absent, "the file system makes inodes as it goes")))
    return (
        Metric(f"{prefix}_total_bytes", "bytes", _STATVFS, f"size of {words}", absent),
        Metric(f"{prefix}_bytes", "bytes", _STATVFS, "used of it", absent),
        Metric(f"{prefix}_free_bytes", "bytes", _STATVFS, "free for ordinary users", absent),
        Metric(f"{prefix}_inodes_total", "count", _STATVFS, "its inodes", made),
        Metric(f"{prefix}_inodes_free", "count", _STATVFS, "free ones of them", made),
        Metric(f"{prefix}_read_only", "0 or 1", _MOUNTS, "it takes no writes", absent),
    )


def _bits(name: str, text: str, source: str = _FIRMWARE) -> tuple[Metric, Metric]:
    return (
        Metric(name, "0 or 1", source, f"{text}, now", _NO_PI),
        Metric(
            f"{name}_occurred",
            "0 or 1",
            _FIRMWARE,
            f"{text}, since the boot (or since the kernel last asked the firmware)",
            _NO_PI,
        ),
    )


HOST = (
    Metric("cpu_count", "count", "/proc/stat", "cores"),
    Metric("cpu_percent", "0 to 100", "/proc/stat", "busy, over all cores", "first reading"),
    Metric("load_1m", "processes", "/proc/loadavg", "load over a minute"),
    Metric("load_5m", "processes", "/proc/loadavg", "over five"),
    Metric("load_15m", "processes", "/proc/loadavg", "over fifteen"),
    Metric("memory_total_bytes", "bytes", _MEMINFO, "MemTotal"),
    Metric("memory_available_bytes", "bytes", _MEMINFO, "MemAvailable"),
    Metric("memory_bytes", "bytes", _MEMINFO, "used: MemTotal less MemAvailable"),
    Metric("swap_total_bytes", "bytes", _MEMINFO, "SwapTotal"),
    Metric("swap_bytes", "bytes", _MEMINFO, "used of it"),
    *_disk("disk", "the root disk"),
    *_disk("docker_disk", "the disk of Docker's data", "it is the root disk"),
    *_disk("state_disk", "the disk of the agent's state", "it is one of the others"),
    Metric(
        "network_received_bytes",
        "bytes since boot",
        "/proc/net/dev",
        "over the interfaces that lead outside",
    ),
    Metric("network_sent_bytes", "bytes since boot", "/proc/net/dev", "the same"),
    Metric(
        "temperature_celsius",
        "°C",
        "/sys/class/thermal, /sys/class/hwmon",
        "of the processor",
        "no sensor of the processor",
    ),
    Metric("uptime_seconds", "s", "/proc/uptime", "since boot"),
    Metric("boot_time_seconds", "s since the epoch", "/proc/stat", "by the node's clock"),
    *_bits(
        "undervoltage",
        "the supply is too weak",
        f"/sys/class/hwmon/*/in0_lcrit_alarm (rpi_volt), else {_FIRMWARE}",
    ),
    *_bits("frequency_capped", "the processor's frequency is capped"),
    *_bits("throttled", "the processor is throttled"),
    *_bits("temperature_limited", "the soft temperature limit holds it back"),
    Metric(
        "emmc_life_used_percent",
        "0 to 110 in tens",
        "/sys/class/block/mmcblk?/device/life_time",
        "of the writes that it was made for; 110 is beyond them",
        "no eMMC (SD cards do not tell)",
    ),
    Metric(
        "emmc_pre_eol",
        "1 normal, 2 warning, 3 urgent",
        "/sys/class/block/mmcblk?/device/pre_eol_info",
        "spare blocks that are used up",
        "no eMMC",
    ),
    Metric(
        "reboot_required",
        "0 or 1",
        "/run/reboot-required, /lib/modules",
        "a package asks for it, or a newer kernel of the same kind is installed",
        "neither can be told",
    ),
    Metric("clock_synchronised", "0 or 1", _TIMEX, "somebody sets the clock", "refused"),
    Metric("clock_offset_seconds", "s", _TIMEX, "what the kernel still corrects", _UNSET),
    Metric("clock_max_error_seconds", "s", _TIMEX, "as far as it may be off", _UNSET),
)

CONTAINER = (
    Metric("state", "text", "Docker", "as `docker ps` has it; not stored"),
    Metric("health", "text", "Docker", "of its healthcheck; not stored", "no healthcheck"),
    Metric("restarts", "count", "Docker", "by Docker's restart policy"),
    Metric(
        "cpu_percent",
        "100 is a full core",
        "cpuacct.usage / cpu.stat",
        "as `docker stats` has it",
        "first reading",
    ),
    Metric(
        "cpu_throttled_seconds",
        "s since start",
        "cpu.stat",
        "held back by its limit",
        "no limit of cpu",
    ),
    Metric(
        "memory_bytes",
        "bytes",
        "memory.usage_in_bytes / memory.current, memory.stat",
        "without cache that can be dropped, as `docker stats` has it",
        _NO_MEMORY,
    ),
    Metric(
        "memory_limit_bytes",
        "bytes",
        "memory.limit_in_bytes / memory.max",
        "its limit",
        "no limit; as above",
    ),
    Metric(
        "oom_kills",
        "count since start",
        "memory.oom_control / memory.events",
        "processes killed for want of memory",
        _NO_MEMORY,
    ),
    Metric("pids", "count", "pids.current", "processes and threads"),
    Metric("pids_limit", "count", "pids.max", "how many there may be", "no limit"),
    Metric(
        "disk_read_bytes",
        "bytes since start",
        "blkio.throttle.io_service_bytes / io.stat",
        "from all disks, not from the page cache",
    ),
    Metric("disk_written_bytes", "bytes since start", "the same", "to all disks"),
    Metric(
        "network_received_bytes",
        "bytes since start",
        "/proc/<pid>/net/dev",
        "by its own interfaces",
        "it shares the network of the host or of another container",
    ),
    Metric(
        "network_sent_bytes",
        "bytes since start",
        "/proc/<pid>/net/dev",
        "the same",
        "as above",
    ),
)
