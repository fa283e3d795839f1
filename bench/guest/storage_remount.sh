# SPDX-License-Identifier: BSD-2-Clause
# storage_remount.sh off|on DISK OPTIONS: takes the files of storage_export.sh from all guests; mounts their file system anew,
# empties the sparse ones, and exports them again.
set -e
switch() {
    for each in /sys/kernel/config/nvmet/subsystems/*:bench-*/namespaces/*/enable; do
        echo "$1" >"$each"
    done
}
case $1 in
off) switch 0 ;;
on)
    umount /run/bench
    mount -t ext4 -o "$3" "$2" /run/bench
    for each in /run/bench/*.sparse; do
        size=$(stat -c %s "$each")
        : >"$each"
        truncate -s "$size" "$each"
    done
    sync
    switch 1
    ;;
esac
