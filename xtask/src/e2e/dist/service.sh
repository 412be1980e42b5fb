# The installed service, under a real systemd.
set -eu

die() { echo "$*"; systemctl status --no-pager --full mqtap@vm0.service; exit 1; }
eventually() {
    i=0
    until eval "$1"; do
        i=$((i + 1))
        [ $i -lt 200 ] || die "not within 20 s: $1"
        sleep 0.1
    done
}

dpkg --install /mnt/mqtap.deb
getent group kvm > /dev/null || groupadd --system kvm
cp /usr/share/doc/mqtap/examples/vm0.conf /etc/mqtap/vm0.conf
systemctl daemon-reload
systemctl start mqtap@vm0.service || die "it does not start"
socket=/run/mqtap/vm0/net0.sock
eventually "[ -S $socket ]"
eventually "ip link show vm0 > /dev/null 2>&1"

echo "== what it may do"
process=/proc/$(systemctl show --property MainPID --value mqtap@vm0.service)
grep -E '^(Uid|Gid|Groups|Cap|NoNewPrivs|Seccomp):?' $process/status
! grep -q '^Uid:.*\b0\b' $process/status || die "it runs as root"
[ "$(grep -c '^Cap.*:.0000000000001000$' $process/status)" = 5 ] || die "it has more than CAP_NET_ADMIN"
grep -q '^NoNewPrivs:.1' $process/status
grep -q '^Seccomp:.2' $process/status

echo "== a VMM of the group kvm"
! setpriv --reuid nobody --regid nogroup --clear-groups test -w $socket || die "anybody can connect"
ip address add 10.77.0.1/24 dev vm0
ip link set vm0 up
tail -f /dev/null | setpriv --reuid nobody --regid kvm --clear-groups \
    /mnt/mqtap-driver guest --queue-pairs 4 --ip 10.77.0.2 --peer 10.77.0.1 --socket $socket &
eventually "ip -d link show vm0 | grep -q 'numqueues 4 numdisabled 0'"
eventually "ping -c 1 -W 1 10.77.0.2 > /dev/null"
ping -c 20 -i 0.01 10.77.0.2

echo "== stop"
systemctl stop mqtap@vm0.service
[ "$(systemctl show --property Result --value mqtap@vm0.service)" = success ] || die "it did not end well"
! ip link show vm0 2> /dev/null || die "its interface is left"
[ ! -e /run/mqtap/vm0 ] || die "its directory is left"
journalctl --no-pager --unit mqtap@vm0.service
! journalctl --no-pager --unit mqtap@vm0.service | grep -E ' (WARN|ERROR) ' || die "it complains"
