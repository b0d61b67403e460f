#!/bin/sh
# The first program of a test guest.
#
# On the kernel command line (which must come last, for it takes the rest of the line):
#   noxen.cmd=COMMAND...   run COMMAND with sh, print its output between marker lines, power off
# or anywhere:
#   root=/dev/xvda         goes on with /sbin/init of the ext4 file system there
#   noxen.autologin        a root shell on the console without asking
#   noxen.quietinit        no modules, no network: for boot measurements
echo "NOXEN-INIT up"

mount -t proc -o nosuid,nodev,noexec proc /proc
mount -t sysfs -o nosuid,nodev,noexec sysfs /sys
mount -t devtmpfs -o nosuid devtmpfs /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts -o ptmxmode=666,mode=620,gid=5 devpts /dev/pts
mount -t tmpfs -o nosuid,nodev tmpfs /dev/shm
mount -t tmpfs -o nosuid,nodev,mode=755 tmpfs /run
export PATH=/sbin:/usr/sbin:/bin:/usr/bin HOME=/root TERM=${TERM:-vt100}
hostname -F /etc/hostname
read -r line < /proc/cmdline

case " $line " in
*" noxen.quietinit "*) ;;
*)
    ip link set lo up 2>/dev/null
    for device in /sys/bus/xen/devices/*; do
        case ${device##*/} in
        vbd-*) blk=xen-blkfront ;;
        vif-*) net=xen-netfront ;;
        esac
    done
    for module in $blk $net; do modprobe "$module"; done
    if [ -d /sys/hypervisor ] && modprobe xenfs 2>/dev/null; then
        mount -t xenfs xenfs /proc/xen 2>/dev/null
    fi
    ;;
esac

root=
for word in $line; do
    case $word in
    root=/dev/*) root=${word#root=} ;;
    noxen.cmd=*) break ;;
    esac
done
if [ -n "$root" ]; then
    # Built into the cloud kernel, which is the one that boots from disks here.
    modprobe ext4 2>/dev/null
    tries=0
    while [ ! -b "$root" ] && [ $tries -lt 600 ]; do
        tries=$((tries + 1))
        sleep 0.1
    done
    if mount -t ext4 "$root" /mnt; then
        for dir in proc sys dev run; do mount -o move /$dir /mnt/$dir; done
        exec switch_root /mnt /sbin/init
    fi
    echo "NOXEN-INIT cannot mount $root"
fi

case $line in
*noxen.cmd=*)
    command=${line#*noxen.cmd=}
    # A quoted value arrives with its quotes.
    case $command in
    \"*\") command=${command#\"} command=${command%\"} ;;
    \'*\') command=${command#\'} command=${command%\'} ;;
    esac
    echo "NOXEN-CMD begin"
    sh -c "$command"
    echo "NOXEN-CMD end status=$?"
    exec poweroff -f
    ;;
esac

# The console's own name: getty wants a terminal, and /dev/console cannot be one's controlling terminal.
tty=console
[ -r /sys/class/tty/console/active ] && read -r consoles < /sys/class/tty/console/active
for name in $consoles; do tty=$name; done
getty="/sbin/getty -L 115200 $tty vt100"
case " $line " in
*" noxen.autologin "*) getty="/sbin/getty -n -l /bin/sh -L 115200 $tty vt100" ;;
esac
cat > /etc/inittab <<END
$tty::respawn:$getty
::ctrlaltdel:/sbin/reboot
::shutdown:/bin/umount -a -r
END
exec /sbin/init
