#!/bin/sh
# The only program of domain 0: starts Xen's tools, runs the bench's guests one after another, powers off.
# Everything is on the console; `XEN-` lines are for whoever reads it.
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /run
mkdir -p /run/xen /run/xenstored /run/lock
while read -r module; do insmod "/modules/$module"; done < /modules/order
mkdir -p /proc/xen
mount -t xenfs xenfs /proc/xen
export PATH=/usr/lib/xen-4.17/bin:/bin
echo "XEN-DOM0 up"
xenstored --pid-file /run/xenstored.pid
xen-init-dom0
xenconsoled --pid-file=/run/xenconsoled.pid
xl dmesg
# What toolctl/tests/pages/xl-list.txt is a recording of.
cat > /etc/xen/listed.cfg <<END
name = "listed"
kernel = "/guest/vmlinux"
memory = 192
vcpus = 3
END
xl create -p /etc/xen/listed.cfg
echo "XEN-LIST"
xl list
echo "XEN-LIST-END"
xl destroy listed
read -r sizes < /guest/vcpus
read -r rows < /guest/rows
for vcpus in $sizes; do
    cat > /etc/xen/guest.cfg <<END
name = "guest$vcpus"
kernel = "/guest/vmlinux"
ramdisk = "/guest/initramfs"
memory = 512
vcpus = $vcpus
tsc_mode = "native"
extra = "console=hvc0 quiet noxen.quietinit noxen.cmd=costs $rows"
END
    echo "XEN-GUEST $vcpus"
    xl create -c /etc/xen/guest.cfg
done
echo "XEN-OVER"
poweroff -f
