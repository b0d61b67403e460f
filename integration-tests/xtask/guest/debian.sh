#!/bin/sh
# mmdebstrap's customize hook of the Debian guest: `debian.sh ROOT`, where ROOT is the unpacked system.
# What it sets up is what an administrator of a small guest would; what it masks only costs time here.
set -eu
root=$1

echo debian > "$root/etc/hostname"
echo '127.0.0.1 localhost debian' > "$root/etc/hosts"
echo '/dev/xvda / ext4 errors=remount-ro 0 1' > "$root/etc/fstab"
# A system that has been booted before: systemd then skips what it does once only.
echo 6e6f78656e0000000000000000000001 > "$root/etc/machine-id"
touch "$root/etc/.updated" "$root/var/.updated"
cat > "$root/etc/network/interfaces" <<'END'
auto lo
iface lo inet loopback

auto eth0
iface eth0 inet dhcp
END
echo 'root:noxen' | chroot "$root" chpasswd

# CPUs that appear are taken into use, as Debian's package xen-utils-guest has it.
# shellcheck disable=SC2016  # udev expands it
echo 'ACTION=="add", SUBSYSTEM=="cpu", RUN+="/bin/sh -c '\''[ ! -e /sys$devpath/online ] || echo 1 > /sys$devpath/online'\''"' \
    > "$root/etc/udev/rules.d/80-hotplug-cpu.rules"

# Of the devices that were there before udev, those that anything waits for; a PV domain has some hundred of others.
mkdir -p "$root/etc/systemd/system/systemd-udev-trigger.service.d"
cat > "$root/etc/systemd/system/systemd-udev-trigger.service.d/few.conf" <<'END'
[Service]
ExecStart=
ExecStart=-udevadm trigger --type=devices --action=add --subsystem-match=block --subsystem-match=net
ExecStart=-udevadm trigger --type=devices --action=add --sysname-match=hvc0
END

for unit in \
    apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer \
    systemd-tmpfiles-clean.timer getty@tty1.service getty-static.service \
    dev-hugepages.mount dev-mqueue.mount sys-kernel-debug.mount sys-kernel-tracing.mount sys-kernel-config.mount \
    sys-fs-fuse-connections.mount modprobe@configfs.service modprobe@drm.service modprobe@efi_pstore.service \
    modprobe@fuse.service modprobe@loop.service modprobe@dm_mod.service systemd-pstore.service systemd-random-seed.service systemd-update-utmp.service \
    systemd-update-utmp-runlevel.service systemd-binfmt.service systemd-hwdb-update.service \
    systemd-journal-catalog-update.service systemd-journal-flush.service systemd-machine-id-commit.service
do
    ln -sf /dev/null "$root/etc/systemd/system/$unit"
done
rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/*
