#!/bin/sh
# A Debian system in namespaces of its own, with its systemd as process 1: `container.sh IMAGE FILES LOGS GROUP`.
#
#   IMAGE  its ext4 file system, which is only read      FILES  a tree that is laid over it
#   LOGS   what it sees as /var/log/xen                  GROUP  a directory of cgroup2, made for it
#
# Whatever is mounted goes with the namespaces; whoever kills this process kills the system.
set -eu
if [ "${INSIDE:-}" = "" ]; then
    echo $$ > "$4/cgroup.procs"
    INSIDE=1 exec unshare --mount --pid --fork --cgroup --uts --ipc --net --kill-child sh "$0" "$@"
fi
mount --make-rprivate /
mount -t tmpfs tmpfs /mnt
cd /mnt
mkdir lower data work root
mount -o loop,ro "$1" lower
mount -t overlay -o lowerdir=lower,upperdir=data,workdir=work overlay root
cp -a "$2"/. root
mkdir -p root/var/log/xen
mount --bind "$3" root/var/log/xen
cd root
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs dev
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
for node in null zero full random urandom tty; do
    touch "dev/$node"
    mount --bind "/dev/$node" "dev/$node"
done
touch "$3/console" dev/console
mount --bind "$3/console" dev/console
mount -t tmpfs -o mode=755 tmpfs run
mkdir run/old
pivot_root . run/old
umount -l /run/old
exec env -i container=noxen PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --unit=multi-user.target
