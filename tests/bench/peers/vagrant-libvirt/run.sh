#!/bin/bash
# vagrant-libvirt bringing up the same guest image, on the libvirt that a core embeds: in its
# namespaces, on a network without a way out. Prints one JSON object.
#
#   run.sh NEST STATE IMAGE DIR MEMORY_MIB DRIVER COUNT...
#
# NEST: the program enshu-nest; STATE: the core's state folder; IMAGE: a folder with kernel,
# initrd, manifest.json and root.qcow2, a debian-12; DIR: an empty folder that QEMU's user may
# pass through; DRIVER: qemu or kvm. Needs vagrant, vagrant-libvirt, dnsmasq-base, e2fsprogs,
# openssh-client, qemu-utils, libvirt-clients and jq; without them it says {"installed": false}.
#
# The box is the image's own disk with what Vagrant asks for: a user with its public key, SSH
# host keys, and a lease for the first interface. Kernel, initrd, processor, memory and disk
# cache are those of a machine of enshu. A run is `vagrant up` of COUNT guests until it
# returns, which is when their SSH servers take a command. The box is uploaded by a first one
# that is not counted.
set -eu
nest=$1 state=$2 image=$3 dir=$4 memory=$5 driver=$6
shift 6
export PATH=$PATH:/usr/sbin:/sbin
for tool in vagrant dnsmasq debugfs ssh-keygen qemu-img virsh jq; do
    command -v "$tool" >/dev/null || missing="${missing:-}${missing:+ }$tool"
done
version=$(dpkg-query -W -f '${Version}' vagrant-libvirt 2>/dev/null || true)
[ -n "$version" ] || missing="vagrant-libvirt ${missing:-}"
if [ -n "${missing:-}" ]; then
    printf '{"installed": false, "missing": "%s"}\n' "$missing"
    exit 0
fi
here=$(cd "$(dirname "$0")" && pwd)
export HOME=$dir/home VAGRANT_HOME=$dir/home/.vagrant.d VAGRANT_CWD=$dir/project VAGRANT_CHECKPOINT_DISABLE=1
export VAGRANT_NO_COLOR=1 VAGRANT_DEFAULT_PROVIDER=libvirt
export PEER_URI="qemu:///system?socket=$state/sock/libvirt-sock" PEER_MEMORY=$memory PEER_DRIVER=$driver
export PEER_POOL=$dir/pool PEER_KERNEL=$image/kernel PEER_INITRD=$image/initrd
PEER_CMDLINE=$(jq -r .cmdline "$image/manifest.json")
export PEER_CMDLINE
mkdir -p "$HOME" "$VAGRANT_HOME" "$VAGRANT_CWD" "$PEER_POOL" "$dir/box"
chmod 0711 "$dir" "$PEER_POOL"
cp "$here/Vagrantfile" "$VAGRANT_CWD/"
log=$dir/vagrant.log

inside() { "$nest" exec --state "$state" -- "$@"; }

# ------------------------------------------------------------------ the box
# The disk is one ext4 file system, so that debugfs writes into it without mounting it.
disk=$dir/box/root.raw
put() { # FILE PATH MODE [UID]
    printf 'rm %s\nwrite %s %s\nsif %s mode 0100%s\nsif %s uid %s\nsif %s gid %s\n' \
        "$2" "$1" "$2" "$2" "$3" "$2" "${4:-0}" "$2" "${4:-0}"
}
folder() { # PATH UID
    printf 'mkdir %s\nsif %s mode 040700\nsif %s uid %s\nsif %s gid %s\n' "$1" "$1" "$1" "$2" "$1" "$2"
}
add_line() { # PATH LINE: the file with a line more, in the box's folder
    local name
    name=$dir/box/$(basename "$1")
    debugfs -R "cat $1" "$disk" 2>/dev/null >"$name"
    echo "$2" >>"$name"
    echo "$name"
}

make_box() {
    local keys network
    keys=$(dirname "$(dpkg -L vagrant | grep '/keys/vagrant.pub$')")
    qemu-img convert -O raw "$image/root.qcow2" "$disk"
    ssh-keygen -q -t ed25519 -N '' -f "$dir/box/host_key"
    network=$dir/box/network
    printf '[Match]\nName=eth0\n[Network]\nDHCP=ipv4\nLinkLocalAddressing=no\n[DHCPv4]\nClientIdentifier=mac\n' >"$network"
    echo 'vagrant ALL=(ALL) NOPASSWD: ALL' >"$dir/box/sudoers"
    {
        put "$(add_line /etc/passwd 'vagrant:x:1000:1000::/home/vagrant:/bin/bash')" /etc/passwd 644
        put "$(add_line /etc/group 'vagrant:x:1000:')" /etc/group 644
        put "$(add_line /etc/shadow 'vagrant:*:19000:0:99999:7:::')" /etc/shadow 640
        put "$dir/box/sudoers" /etc/sudoers.d/vagrant 440
        folder /home/vagrant 1000
        folder /home/vagrant/.ssh 1000
        put "$keys/vagrant.pub" /home/vagrant/.ssh/authorized_keys 600 1000
        put "$dir/box/host_key" /etc/ssh/ssh_host_ed25519_key 600
        put "$dir/box/host_key.pub" /etc/ssh/ssh_host_ed25519_key.pub 644
        put "$network" /etc/systemd/network/10-eth0.network 644
        echo 'symlink /etc/systemd/system/multi-user.target.wants/systemd-networkd.service /lib/systemd/system/systemd-networkd.service'
        echo 'rm /etc/systemd/system/enshu-agent.service'
        echo 'symlink /etc/systemd/system/enshu-agent.service /dev/null'
    } >"$dir/box/commands"
    debugfs -w -f "$dir/box/commands" "$disk" >>"$log" 2>&1
    qemu-img convert -O qcow2 "$disk" "$dir/box/box.img"
    rm "$disk"
    printf '{"provider": "libvirt", "format": "qcow2", "virtual_size": 8}' >"$dir/box/metadata.json"
    tar -C "$dir/box" -czf "$dir/peer.box" metadata.json box.img
    rm -r "$dir/box"
    inside vagrant box add --name enshu-peer "$dir/peer.box" >>"$log" 2>&1
}

# ------------------------------------------------------------------ the runs
seconds() { # COUNT
    local began ended
    export PEER_COUNT=$1
    set -e
    began=$(date +%s%N)
    inside vagrant up --no-color >>"$log" 2>&1
    ended=$(date +%s%N)
    inside vagrant destroy -f >>"$log" 2>&1
    echo "$(((ended - began) / 1000000))"
}

clean() {
    status=$?
    trap - EXIT
    if [ $status != 0 ]; then
        echo "the peer failed; the end of its log:" >&2
        tail -n 20 "$log" >&2
        PEER_COUNT=${most:-1} inside vagrant destroy -f >/dev/null 2>&1 || true
    fi
    for what in net-destroy net-undefine; do virsh -q -c "$PEER_URI" $what enshu-peer; done >/dev/null 2>&1
    for what in pool-destroy pool-undefine; do virsh -q -c "$PEER_URI" $what default; done >/dev/null 2>&1
    exit $status
}
trap clean EXIT

make_box
seconds 1 >/dev/null
runs=
for count in "$@"; do
    most=$count
    ms=$(seconds "$count")
    runs="$runs${runs:+, }{\"count\": $count, \"up_ms\": $ms}"
done
printf '{"installed": true, "version": "%s", "runs": [%s]}\n' "$version" "$runs"
