# What docs/systemd.md says, under a real systemd. Its blocks are files below /mnt.
set -eu

die() { echo "$*"; systemctl status --no-pager --full 'mqtap@*.service' 'vm?-net.*'; exit 1; }
eventually() {
    i=0
    until eval "$1"; do
        i=$((i + 1))
        [ $i -lt 200 ] || die "not within 20 s: $1"
        sleep 0.1
    done
}

# A VMM of the group kvm that connects to SOCKET finds INTERFACE behind it, and answers as 10.NUMBER.0.2.
guest_answers() { # SOCKET INTERFACE NUMBER
    tail -f /dev/null | setpriv --reuid nobody --regid kvm --clear-groups \
        /mnt/mqtap-driver guest --queue-pairs 4 --ip 10.$3.0.2 --peer 10.$3.0.1 --socket $1 &
    eventually "ip link show $2 > /dev/null 2>&1"
    ip address add 10.$3.0.1/24 dev $2
    ip link set $2 up
    eventually "ip -d link show $2 | grep -q 'numqueues 4 numdisabled 0'"
    eventually "ping -c 1 -W 1 10.$3.0.2 > /dev/null"
    ping -c 20 -i 0.01 10.$3.0.2
}
main_process() { echo /proc/$(systemctl show --property MainPID --value $1); }

dpkg --install /mnt/mqtap.deb
getent group kvm > /dev/null || groupadd --system kvm

echo "== a service for each"
sh -eux /mnt/service || die "it does not start"
socket=/run/mqtap/vm0/net0.sock
eventually "[ -S $socket ]"
eventually "ip link show vm0 > /dev/null 2>&1"
process=$(main_process mqtap@vm0.service)
grep -E '^(Uid|Gid|Groups|Cap|NoNewPrivs|Seccomp):?' $process/status
! grep -q '^Uid:.*\b0\b' $process/status || die "it runs as root"
[ "$(grep -c '^Cap.*:.0000000000001000$' $process/status)" = 5 ] || die "it has more than CAP_NET_ADMIN"
grep -q '^NoNewPrivs:.1' $process/status
grep -q '^Seccomp:.2' $process/status
! setpriv --reuid nobody --regid nogroup --clear-groups test -w $socket || die "anybody can connect"
guest_answers $socket vm0 77
mqtap queues vm0
systemctl kill --signal USR1 mqtap@vm0.service
eventually "journalctl --unit mqtap@vm0.service | grep -q 'vm0: 4 queue pairs (8 virtqueues), 4 attached'"

echo "== the socket first"
install -m 644 /mnt/vm1-net.socket /mnt/vm1-net.service /etc/systemd/system/
systemd-analyze verify vm1-net.socket vm1-net.service
sh -eux /mnt/socket || die "systemd does not listen"
! ip link show vm1 2> /dev/null || die "somebody serves before anybody connects"
guest_answers /run/vm1-net.sock vm1 78
mqtap queues vm1
systemctl stop vm1-net.service
! ip link show vm1 2> /dev/null || die "vm1 is left"
guest_answers /run/vm1-net.sock vm1 78

echo "== without any capability"
sh -eux /mnt/transient || die "it does not start"
eventually "[ -S /run/mqtap/vm2/net0.sock ]"
process=$(main_process vm2-net.service)
readlink $process/exe
tr '\0' ' ' < $process/cmdline
grep -E '^(Uid|Cap)' $process/status
! grep -q '^Uid:.*\b0\b' $process/status || die "it runs as root"
[ "$(grep -Ec '^Cap(Inh|Prm|Eff|Amb):.0000000000000000$' $process/status)" = 4 ] || die "it has a capability"
guest_answers /run/mqtap/vm2/net0.sock vm2 79

echo "== who is told"
[ "$(sh -eu /mnt/told)" = "3 left:left:right" ] || die "not what the page says"

echo "== stop"
units='mqtap@vm0.service vm1-net.service vm2-net.service'
systemctl stop vm1-net.socket $units
for unit in $units; do
    journalctl --no-pager --unit $unit
    ! journalctl --no-pager --unit $unit | grep -E ' (WARN|ERROR) ' || die "$unit complains"
done
for unit in mqtap@vm0.service vm1-net.service; do
    [ "$(systemctl show --property Result --value $unit)" = success ] || die "$unit did not end well"
done
for vm in vm0 vm1 vm2; do
    ! ip link show $vm 2> /dev/null || die "the interface $vm is left"
    [ ! -e /run/mqtap/$vm ] || die "the directory of $vm is left"
done
