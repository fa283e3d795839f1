# SPDX-License-Identifier: BSD-2-Clause
# storage_attach.sh ADDRESS PORT GUEST PART: attaches the files that storage_export.sh exports, makes ext4 on them and on the disk PART,
# and mounts them at /mnt/sparse, /mnt/full and /mnt/part. Prints a line for each: KIND DEVICE.
address=$1 port=$2 guest=$3 part=$4
set -e
exec 3<>/dev/nvme-fabrics
echo "transport=tcp,traddr=$address,trsvcid=$port,nqn=nqn.2025-01.org.router:bench-$guest" >&3
read -r answer <&3
controller=${answer#instance=}
controller=nvme${controller%%,*}
sparse=/dev/${controller}n1 full=/dev/${controller}n2
modprobe ext4
for kind in sparse full part; do
    eval "device=\$$kind"
    tries=100
    until [ -b "$device" ]; do
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || { echo "timed out: there is no $device"; exit 1; }
        sleep 0.2
    done
    device=$(readlink -f "$device")
    # Discarding would make holes in the file that was written in full. Small file systems have blocks of 1 KiB otherwise.
    mkfs.ext4 -q -F -b 4096 -E nodiscard,lazy_itable_init=0,lazy_journal_init=0 "$device"
    mkdir -p "/mnt/$kind"
    mount -t ext4 "$device" "/mnt/$kind"
    echo "$kind ${device#/dev/}"
done
