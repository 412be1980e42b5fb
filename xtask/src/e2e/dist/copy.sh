# A copy of this system that may be changed, and vanishes: `copy.sh chroot|boot DIRECTORY`. Run it in fresh namespaces (mount, pid,
# net, ipc, uts, cgroup). DIRECTORY has the script to run in the copy, and all that it needs; the copy has it as /mnt.
set -eu
mode=$1 given=$2

changes=$given/changes root=$given/root
mkdir "$changes" "$root"
mount -t tmpfs none "$changes"
mkdir "$changes/upper" "$changes/work"
mount -t overlay none -o "lowerdir=/,upperdir=$changes/upper,workdir=$changes/work" "$root"
cd "$root"
mount -t proc none proc
# Read-only, by which systemd's programs know that devices are not theirs.
mount -t sysfs -o ro none sys
for directory in tmp run dev; do mount -t tmpfs none $directory; done
chmod 1777 tmp
mkdir dev/shm dev/net dev/pts
mount -t devpts -o newinstance,ptmxmode=0666 none dev/pts
ln -s pts/ptmx dev/ptmx
for device in null zero full random urandom tty; do touch dev/$device; mount --bind /dev/$device dev/$device; done
# Anybody's, as udev has it on any Debian.
mknod -m 666 dev/net/tun c 10 200
ln -s /proc/self/fd dev/fd
mount --bind "$given" mnt
ip link set lo up

case $mode in
chroot)
    exec chroot . sh /mnt/installed.sh
    ;;
boot)
    # As the host has its cgroups: version 2, or both.
    if grep -q ' /sys/fs/cgroup cgroup2 ' /proc/self/mounts; then
        mount -t cgroup2 none sys/fs/cgroup
    else
        mount -t tmpfs none sys/fs/cgroup
        mkdir sys/fs/cgroup/unified sys/fs/cgroup/systemd
        mount -t cgroup2 none sys/fs/cgroup/unified
        mount -t cgroup -o none,name=systemd none sys/fs/cgroup/systemd
    fi
    cat > etc/systemd/system/mqtap-test.service <<X
[Unit]
SuccessAction=poweroff-force
FailureAction=poweroff-force
[Service]
Type=oneshot
ExecStart=sh -c 'sh /mnt/service.sh > /mnt/report 2>&1 && touch /mnt/passed'
X
    exec env -i container=mqtap-test PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 \
        chroot . /lib/systemd/systemd --system --unit=mqtap-test.service --log-target=null --show-status=0
    ;;
esac
