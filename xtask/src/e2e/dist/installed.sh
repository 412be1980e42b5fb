# The package on a system that may be changed: installed, looked at, used, removed.
set -eu
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 MANWIDTH=80
package=/mnt/mqtap.deb

die() { echo "$*" >&2; exit 1; }
step() { echo "== $*"; }

pages='mqtap mqtap-serve mqtap-exec mqtap-netdev mqtap-findings mqtap-json'

step install
find /usr /etc ! -type d | sort > /tmp/before
# Documentation and pages are left out of many a small system.
rm -f /etc/dpkg/dpkg.cfg.d/*
apt-get install -y --no-install-recommends "$package"
dpkg --status mqtap | grep -q '^Status: install ok installed' || die "not installed"
dpkg --verify mqtap
test -d /etc/mqtap
mqtap --version

step man pages
for page in $pages $(mqtap --help | sed -n 's/^  \([a-z][a-z-]*\) .*/mqtap-\1/p' | grep -v mqtap-help); do
    file=$(man -w "$page") || die "no page for $page"
    man --warnings "$page" > /tmp/page 2> /tmp/warnings
    test ! -s /tmp/warnings || die "$file: $(cat /tmp/warnings)"
    for section in NAME SYNOPSIS DESCRIPTION; do
        case "$file $section" in
            */man7/*SYNOPSIS) ;;
            *) grep -q "^$section" /tmp/page || die "$file has no $section" ;;
        esac
    done
    case $file in
        */man1/*) ! grep -nE '.{81}' /tmp/page || die "$file is wider than a terminal" ;;
    esac
done
man mqtap | head -n 4

step completions
bash -euc '
    source /usr/share/bash-completion/completions/mqtap
    complete -p mqtap
    COMP_WORDS=(mqtap ex); COMP_CWORD=1
    _mqtap mqtap ex mqtap
    [ "${COMPREPLY[*]}" = exec ]
    COMP_WORDS=(mqtap exec --drop); COMP_CWORD=2
    _mqtap mqtap --drop exec
    [ "${COMPREPLY[*]}" = --drop-caps ]' || die "bash completions do not work"
test -s /usr/share/zsh/vendor-completions/_mqtap
test -s /usr/share/fish/vendor_completions.d/mqtap.fish

step systemd unit
cp /usr/share/doc/mqtap/examples/vm0.conf /etc/mqtap/vm0.conf
systemd-analyze verify mqtap@vm0.service > /tmp/verify 2>&1 || die "$(cat /tmp/verify)"
test ! -s /tmp/verify || die "$(cat /tmp/verify)"

step vhost-user description
binary=$(sed -n 's/.*"binary": "\(.*\)".*/\1/p' /usr/share/qemu/vhost-user/50-mqtap.json)
"$binary" --print-capabilities | grep -q '"type":"net"' || die "$binary does not print its capabilities"
MQTAP_NETDEV=tap,id=x,ifname=conv0,queues=2 "$binary" --socket-path=/run/conventions.sock 2>/tmp/serve.log &
daemon=$!
i=0
until [ -S /run/conventions.sock ] && ip link show conv0 >/dev/null 2>&1; do
    i=$((i + 1))
    [ $i -lt 200 ] && kill -0 $daemon 2>/dev/null || die "$binary does not serve: $(cat /tmp/serve.log)"
    sleep 0.1
done
kill -TERM $daemon
wait $daemon

step remove
rm /etc/mqtap/vm0.conf
apt-get purge -y mqtap
find /usr /etc ! -type d | sort > /tmp/after
# The caches of other packages apart.
diff /tmp/before /tmp/after > /tmp/left || grep -v -e '^[<>] /etc/dpkg/dpkg.cfg.d/' -e '^[0-9]' /tmp/left > /tmp/really || true
test ! -s /tmp/really || die "left behind: $(cat /tmp/really)"
echo "everything is gone"
