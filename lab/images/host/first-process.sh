#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# First process of a simulated host: makes the kernel's trees writable, then becomes systemd.
# The engine mounts /sys and the cgroup trees read-only because the host runs without
# --privileged; systemd and the nested Docker engine have to write there.
set -eu

mount -o remount,bind,rw /sys
for tree in /sys/fs/cgroup /sys/fs/cgroup/*; do
    if mountpoint -q "$tree"; then
        mount -o remount,bind,rw "$tree"
    fi
done

exec /sbin/init "$@"
