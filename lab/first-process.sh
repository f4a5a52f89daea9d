#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# First process of a simulated host: make the kernel's trees writable, then become systemd.
# The engine mounts /sys and the cgroup trees read-only because the host runs without
# --privileged; systemd and the nested Docker engine have to write there.
set -eu

mount -o remount,bind,rw /sys
for tree in /sys/fs/cgroup /sys/fs/cgroup/*; do
    mountpoint -q "$tree" && mount -o remount,bind,rw "$tree"
done

# A bind mount is private to its namespace by default; nested containers with shared
# volumes expect what a real machine has: a shared root.
mount --make-rshared /

# Makes only the keys that are missing, so a host keeps its identity over restarts.
ssh-keygen -A >/dev/null

exec /sbin/init "$@"
