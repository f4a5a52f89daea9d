# Copyright (c) 2026 The Otto authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How far each key of a service reaches on the control machine. Pure.

What it may do on its node is another question, and the policy of that node's. A key that is not
here is refused in a file of a stranger.
"""

from __future__ import annotations

from collections.abc import Mapping

from .reach import FILE, VALUE, VARIABLE, Reach

_ON_THE_NODE = (
    *("annotations", "attach", "blkio_config", "cap_add", "cap_drop", "cgroup", "cgroup_parent"),
    *("command", "configs", "container_name", "cpu_period", "cpu_quota", "cpu_rt_period"),
    *("cpu_rt_runtime", "cpu_shares", "cpus", "cpuset", "depends_on", "deploy"),
    *("device_cgroup_rules", "devices", "dns", "dns_opt", "dns_search", "domainname"),
    *("entrypoint", "expose", "extra_hosts", "gpus", "group_add", "healthcheck", "hostname"),
    *("image", "init", "ipc", "labels", "links", "logging", "mac_address", "mem_limit"),
    *("mem_reservation", "mem_swappiness", "memswap_limit", "network_mode", "networks"),
    *("oom_kill_disable", "oom_score_adj", "pid", "pids_limit", "platform", "ports"),
    *("privileged", "pull_policy", "read_only", "restart", "runtime", "scale", "secrets"),
    *("security_opt", "shm_size", "stdin_open", "stop_grace_period", "stop_signal", "storage_opt"),
    *("sysctls", "tmpfs", "tty", "ulimits", "user", "userns_mode", "uts", "volumes_from"),
    "working_dir",
)
_OTTOS = ("name", "node", "profiles")

REACH: Mapping[str, Reach] = {
    **dict.fromkeys((*_ON_THE_NODE, *_OTTOS), VALUE),
    **dict.fromkeys(("environment", "post_start", "pre_stop"), VARIABLE),
    **dict.fromkeys(("env_file", "label_file", "extends"), FILE),
    "volumes": Reach(
        "of a stack: the file, or the folder that is mounted `:ro`, is read and carried",
        "beneath the folder of the file that names it",
    ),
}
