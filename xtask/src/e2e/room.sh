# A part of this system that may be changed and is seen by nobody else: `room.sh DIRECTORY`, in new mount and process namespaces.
# What is written to /etc and /var goes with it, /run and /dev are empty but for what everybody has.
set -eu
own=$1

mount -t tmpfs -o mode=755 none "$own"
for tree in etc var; do
    mkdir "$own/$tree" "$own/$tree.work"
    mount -t overlay none -o "lowerdir=/$tree,upperdir=$own/$tree,workdir=$own/$tree.work" "/$tree"
done
mkdir -p "$own/dev/net" "$own/dev/shm" "$own/dev/pts"
for device in null zero full random urandom tty; do
    touch "$own/dev/$device"
    mount --bind "/dev/$device" "$own/dev/$device"
done
# Anybody's, as udev has it on any Debian. There is no /dev/kvm: emulation is the same everywhere.
mknod -m 666 "$own/dev/net/tun" c 10 200
ln -s /proc/self/fd "$own/dev/fd"
# What is mounted below the old one, and would be covered, is looked for by some.
umount --lazy --recursive /dev 2> /dev/null || true
mount --rbind "$own/dev" /dev
mount -t devpts -o newinstance,ptmxmode=0666 none /dev/pts
ln -s pts/ptmx /dev/ptmx
mount -t tmpfs -o mode=1777 none /dev/shm
mount -t tmpfs -o mode=755 none /run

echo ready
# The first process inherits orphans, and with the signal ignored the kernel lets go of them when they end.
exec env --ignore-signal=CHLD sleep infinity
