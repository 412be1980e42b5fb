#!/bin/busybox sh
# First process of the test guest. It loads the drivers and then obeys a virtio port: one request a line,
#   ID SECONDS COMMAND
# answered by the command's output and the line "@@ID STATUS@@".
/bin/busybox --install -s /bin
export PATH=/usr/bin:/usr/sbin:/bin:/sbin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
# What the image has there (a checkout below /tmp) is not to be covered.
[ -n "$(ls /tmp)" ] || mount -t tmpfs tmpfs /tmp
mkdir -p /dev/shm && mount -t tmpfs tmpfs /dev/shm
hostname guest
# Addresses are usable at once: nobody else is on this wire.
for scope in all default; do echo 0 > /proc/sys/net/ipv6/conf/$scope/accept_dad; done
while read -r module; do insmod "/modules/$module.ko"; done < /modules/order
ip link set lo up

# The port appears, and gets its name, some time after its driver.
until [ "$agent" ]; do
    for port in /sys/class/virtio-ports/*; do
        [ "$(cat "$port/name" 2> /dev/null)" = agent ] && agent=/dev/${port##*/}
    done
    [ "$agent" ] || sleep 0.1
done
# A port can be opened once only.
exec 3<> "$agent"
exec <&3 >&3
echo '@@ready@@'
while IFS=' ' read -r id seconds command; do
    [ -n "$command" ] || continue
    timeout "$seconds" sh -c "$command" < /dev/null > /tmp/.answer 2>&1
    status=$?
    cat /tmp/.answer
    printf '\n@@%s %s@@\n' "$id" "$status"
done
