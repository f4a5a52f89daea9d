# Plants the canaries on a lab host.
set -e
grep -q ' /srv ' /proc/mounts || { mount --bind /srv /srv; mount --make-shared /srv; }
mkdir -p /srv/allowed/deep /srv/readable/over /srv/other
for path in /etc/otto-canary-etc /root/otto-canary-root /srv/other/otto-canary-other; do echo canary > $path; done
mkdir -p /srv/above/below
grep -q ' /srv/above/below ' /proc/mounts || mount -t tmpfs tmpfs /srv/above/below
ln -sfn /etc /srv/link
ln -sfn /etc /srv/allowed/link
[ -e /dev/otto-canary-device ] || mknod /dev/otto-canary-device c 1 3
mkdir -p /sys/fs/cgroup/pids/otto-canary-cgroup 2>/dev/null || true
[ -d /dev/mqueue ] && touch /dev/mqueue/otto-canary-queue 2>/dev/null || true
ip link show ottocanary0 > /dev/null 2>&1 || ip link add ottocanary0 type bridge
ip link show ottocanbr0 > /dev/null 2>&1 || ip link add ottocanbr0 type bridge
docker volume inspect vault > /dev/null 2>&1 || docker volume create vault > /dev/null
touch "$(docker volume inspect -f '{{.Mountpoint}}' vault)/otto-canary-vault"
docker network inspect theirs > /dev/null 2>&1 || docker network create theirs > /dev/null
docker rm -f box > /dev/null 2>&1 || true
docker run -d --name box --network theirs -v /etc:/x -v /var/run/docker.sock:/var/run/docker.sock busybox:latest \
  sleep 100000 > /dev/null
cat > /run/otto-plant.py <<'END'
import ctypes, os, socket, time
libc = ctypes.CDLL(None, use_errno=True)
libc.shmget(0x0770, 40970, 0o1600)
s = socket.socket(socket.AF_UNIX)
s.bind("\0otto-canary-socket")
s.listen(1)
time.sleep(100000)
END
kill "$(cat /run/otto-plant.pid 2>/dev/null)" 2>/dev/null || true
setsid python3 /run/otto-plant.py otto-canary-process > /dev/null 2>&1 < /dev/null &
echo $! > /run/otto-plant.pid
