#!/bin/bash
# Open vSwitch's userspace datapath with DPDK, between a vhost-user port and a tap: ovs.sh SOCKET TAP CPU
set -eu
socket=$1 tap=$2 cpu=$3
rm -rf "${socket%/*}/ovs"
mkdir "${socket%/*}/ovs"
# The paths of Unix sockets are short.
cd "${socket%/*}/ovs"
export OVS_RUNDIR=. OVS_LOGDIR=.
ovsdb-tool create conf.db /usr/share/openvswitch/vswitch.ovsschema
# We become the switch, and the database goes when that goes.
setpriv --pdeathsig TERM ovsdb-server conf.db --remote=punix:db.sock --no-chdir --log-file=db.log -vconsole:off &
until [ -S db.sock ]; do sleep 0.02; done
vsctl() { ovs-vsctl --db=unix:db.sock --no-wait "$@"; }
vsctl init
mask=$(printf %x $((1 << cpu)))
vsctl set Open_vSwitch . other_config:dpdk-init=true other_config:pmd-cpu-mask="$mask" \
    other_config:dpdk-lcore-mask="$mask" other_config:vhost-sock-dir=. \
    other_config:per-port-memory=true other_config:dpdk-extra="--no-pci --in-memory -m 512 --no-telemetry"
vsctl add-br ovs0 -- set bridge ovs0 datapath_type=netdev fail_mode=secure
vsctl add-port ovs0 "$tap" -- set Interface "$tap" type=tap ofport_request=1
vsctl add-port ovs0 vhost0 -- set Interface vhost0 type=dpdkvhostuser ofport_request=2
{
    until [ -S vhost0 ] && ovs-ofctl add-flow unix:ovs0.mgmt in_port=1,actions=output:2 2> /dev/null; do sleep 0.05; done
    ovs-ofctl add-flow unix:ovs0.mgmt in_port=2,actions=output:1
    ln -s "$PWD/vhost0" "$socket"
} &
exec /usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk unix:db.sock --no-chdir --log-file=v.log -vconsole:off
