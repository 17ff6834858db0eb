#!/bin/sh
# install-apparmor.sh DESTDIR: lets machines of the system's libvirt open the memory of
# moulds, where AppArmor is there and may be written. Below a DESTDIR only the rules are
# put: the file that takes them in belongs to libvirt and the person who runs the host.
set -eu
rules=${1:-}/etc/apparmor.d/local/enshu-qemu
if [ -n "${1:-}" ]; then
    mkdir -p "$(dirname "$rules")"
elif [ ! -w /etc/apparmor.d/local ]; then
    echo "AppArmor's rules were left alone; enshu doctor says whether that matters"
    exit 0
fi
install -m 0644 "$(dirname "$0")/apparmor" "$rules"
[ -z "${1:-}" ] || exit 0
local=/etc/apparmor.d/local/abstractions/libvirt-qemu
mkdir -p "$(dirname "$local")"
grep -qs '<local/enshu-qemu>' "$local" ||
    echo 'include if exists <local/enshu-qemu>' >> "$local"
