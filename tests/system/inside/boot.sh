#!/bin/bash
# boot.sh PAYLOAD OUT: boots a real systemd as process 1 of its own namespaces, over an overlay of / that is gone afterwards.
# PAYLOAD is copied onto the new root, OUT is there at /out, and each "FROM:TO" of $BINDS at TO.
# It sees no network but its own loopback, may not set the clock, load modules or reboot, and leaves nothing behind.
set -eu
PAYLOAD=$1 OUT=$2
export W=${W:-$(mktemp -d)} CG=${CG:-token-monitor-e2e-$$}
case ${STAGE:-1} in
1)
  rc=0
  STAGE=2 timeout -k 5 "${LIMIT:-110}" unshare --mount --propagation private --pid --fork --kill-child=SIGKILL \
    --uts --ipc --net "$0" "$@" || rc=$?
  mkdir -p "$W/c"
  mount -t cgroup2 none "$W/c"
  find "$W/c/$CG" -depth -type d -exec rmdir {} + || true
  umount "$W/c"
  rm -r "$W"
  exit $rc
  ;;
2)
  ip link set lo up
  mount -t tmpfs -o size=512m tmpfs "$W"
  mkdir "$W"/{up,wk,root,cg}
  mount -t overlay overlay -o "lowerdir=/,upperdir=$W/up,workdir=$W/wk" "$W/root"
  mount -t cgroup2 none "$W/cg"
  mkdir "$W/cg/$CG"
  echo 0 >"$W/cg/$CG/cgroup.procs"
  STAGE=3 exec unshare --cgroup "$0" "$@"
  ;;
esac
R=$W/root
umount "$W/cg"
mount -t proc proc "$R/proc"
mount --bind "$R/proc/sys" "$R/proc/sys"
mount -o remount,bind,ro "$R/proc/sys"
mount -t sysfs sysfs "$R/sys" -o ro
mount -t cgroup2 cgroup2 "$R/sys/fs/cgroup"
mount -t tmpfs tmpfs "$R/dev" -o mode=755
for device in null:3 zero:5 full:7 random:8 urandom:9; do mknod -m 666 "$R/dev/${device%:*}" c 1 "${device#*:}"; done
mkdir "$R"/dev/{pts,shm,mqueue}
mount -t devpts devpts "$R/dev/pts" -o newinstance,ptmxmode=0666
ln -s pts/ptmx "$R/dev/ptmx"
ln -s /proc/self/fd "$R/dev/fd"
mount -t tmpfs tmpfs "$R/run" -o mode=755
# What is to be seen inside must be found before /tmp is covered.
for bind in ${BINDS:-}; do
  mkdir -p "$R${bind#*:}"
  mount --bind "${bind%%:*}" "$R${bind#*:}"
done
cp -a "$PAYLOAD/." "$R/"
mkdir -p "$R/out"
mount --bind "$OUT" "$R/out"
mount -t tmpfs tmpfs "$R/tmp" -o mode=1777
for unit in timesyncd modules-load sysctl random-seed repart firstboot pstore binfmt udevd udev-trigger update-utmp sysusers \
  machine-id-commit journal-flush journal-catalog-update; do
  ln -sf /dev/null "$R/etc/systemd/system/systemd-$unit.service"
done
for unit in proc-sys-fs-binfmt_misc.automount sys-fs-fuse-connections.mount sys-kernel-config.mount sys-kernel-debug.mount \
  sys-kernel-tracing.mount dev-hugepages.mount dev-mqueue.mount kmod-static-nodes.service systemd-udevd-kernel.socket \
  systemd-udevd-control.socket systemd-journald-audit.socket; do
  ln -sf /dev/null "$R/etc/systemd/system/$unit"
done
: >"$R/etc/fstab"
cd "$R"
mkdir .old
pivot_root . .old
# Shared mounts, else the memory file system of LoadCredential= does not reach the service.
exec setpriv --bounding-set=-sys_time,-sys_module,-sys_boot,-sys_rawio,-syslog,-wake_alarm /bin/bash -c 'umount -l /.old
  mount --make-rshared /
  exec env -i container=e2e PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 /lib/systemd/systemd --system --unit=e2e.target'
