#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Runs redis-server as its own user and reachable from outside the container;
# any other command runs as it stands.
set -eu

case "${1:-}" in
    -* | *.conf) set -- redis-server "$@" ;;
esac
if [ "${1:-}" != redis-server ]; then
    exec "$@"
fi

# Options go last: a configuration file has to be the first argument.
set -- "$@" --protected-mode no
if [ "$(id -u)" = 0 ]; then
    chown -R redis:redis /data
    exec setpriv --reuid=redis --regid=redis --clear-groups "$@"
fi
exec "$@"
