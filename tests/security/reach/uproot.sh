# Takes them away again.
kill "$(cat /run/otto-plant.pid)" 2>/dev/null
ipcrm -M 0x770 2>/dev/null
docker rm -f box > /dev/null 2>&1
docker volume rm vault > /dev/null 2>&1
docker network rm theirs > /dev/null 2>&1
ip link del ottocanary0 2>/dev/null
ip link del ottocanbr0 2>/dev/null
rmdir /sys/fs/cgroup/pids/otto-canary-cgroup 2>/dev/null
umount /srv/above/below 2>/dev/null
rm -rf /srv/above /etc/otto-canary-etc /root/otto-canary-root /srv/other /srv/allowed /srv/readable /srv/link /dev/otto-canary-device \
  /dev/mqueue/otto-canary-queue /run/otto-plant.py /run/otto-plant.pid /tmp/otto-reach
umount /srv 2>/dev/null
true
