# What of the node can be reached from inside a container: a line for each canary that was found.
# It comes on standard input, so that no process has a canary's name among its arguments.
say() { echo "REACHED $1"; }

for found in $(find / -maxdepth 4 \( -path /proc -o -path /sys \) -prune -o -name 'otto-canary*' -print 2>/dev/null) \
  $(find /sys/fs/cgroup -maxdepth 3 -name 'otto-canary*' 2>/dev/null) \
  $(ls -d /proc/[0-9]*/root/etc/otto-canary* /proc/[0-9]*/root/x/otto-canary* 2>/dev/null); do
  say "${found##*/otto-canary-}"
done
cat /proc/[0-9]*/cmdline /a/[0-9]*/cmdline 2>/dev/null | tr '\0' '\n' | grep -q 'otto-canary-proces[s]' && say process
cat /proc/net/unix /proc/1/net/unix /a/1/net/unix 2>/dev/null | grep -q 'otto-canary-socke[t]' && say socket
for name in /sys/class/net/ottocanary0 /a/class/net/ottocanary0; do [ -e $name ] && say interface; done
[ "$(hostname)" = "$NODE" ] && say hostname
[ -S /a ] && say engine
[ -n "$(find / -maxdepth 4 \( -path /proc -o -path /sys \) -prune -o -name docker.sock -type s -print 2>/dev/null)" ] && say engine
for name in /proc/sys/vm/swappiness /a/sys/vm/swappiness; do
  value=$(cat $name 2>/dev/null) && (echo "$value" > $name) 2>/dev/null && say sysctl
done
grep -q ' 40970 ' /proc/sysvipc/shm 2>/dev/null && say shm
mknod /tmp/otto-fuse c 10 229 2>/dev/null && { (: < /tmp/otto-fuse) 2>&1 | grep -q 'not permitted' || say cgroup-device; rm -f /tmp/otto-fuse; }
[ $(( 0x$(awk '/CapEff/ {print $2}' /proc/self/status) & ~0xa80425fb )) -ne 0 ] && say capabilities
[ "$(awk '/^Seccomp:/ {print $2}' /proc/self/status)" = 0 ] && say seccomp
touch /a/otto-wrote /a/below/otto-wrote 2>/dev/null
echo DONE
