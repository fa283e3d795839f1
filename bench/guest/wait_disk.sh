# SPDX-License-Identifier: BSD-2-Clause
# wait_disk.sh present|absent: waits until there is a block device sd?, or none. It looks often, because it is timed.
is_as_wanted() {
    if ls /sys/block | grep -q sd; then [ "$1" = present ]; else [ "$1" = absent ]; fi
}
tries=1500
until is_as_wanted "$1"; do
    tries=$((tries - 1))
    [ "$tries" -gt 0 ] || { echo "timed out: the disk is not $1"; exit 1; }
    usleep 20000
done
