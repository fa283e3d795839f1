# SPDX-License-Identifier: BSD-2-Clause
# storage_export.sh DISK ADDRESS BYTES PORT:GUEST…: ext4 on a disk of this guest, and on it two files for each guest, one sparse
# and one written, which nvmet exports at the guest's port as namespaces 1 and 2, buffered.
disk=$1 address=$2 bytes=$3
shift 3
set -e
modprobe ext4
mkfs.ext4 -q -F -b 4096 -E lazy_itable_init=0,lazy_journal_init=0 "$disk"
mkdir -p /run/bench
mount -t ext4 "$disk" /run/bench
cd /sys/kernel/config/nvmet
for each; do
    port=${each%:*} guest=${each#*:}
    truncate -s "$bytes" "/run/bench/$guest.sparse"
    dd if=/dev/zero of="/run/bench/$guest.full" bs=1M count=$((bytes >> 20)) 2>/dev/null
    subsystem=subsystems/nqn.2025-01.org.router:bench-$guest
    mkdir "$subsystem" "ports/$port"
    echo 1 >"$subsystem/attr_allow_any_host"
    number=1
    for kind in sparse full; do
        space=$subsystem/namespaces/$number
        mkdir "$space"
        echo "/run/bench/$guest.$kind" >"$space/device_path"
        echo 1 >"$space/buffered_io"
        echo 1 >"$space/enable"
        number=$((number + 1))
    done
    echo tcp >"ports/$port/addr_trtype"
    echo ipv4 >"ports/$port/addr_adrfam"
    echo "$address" >"ports/$port/addr_traddr"
    echo "$port" >"ports/$port/addr_trsvcid"
    ln -s "/sys/kernel/config/nvmet/$subsystem" "ports/$port/subsystems/"
done
sync
