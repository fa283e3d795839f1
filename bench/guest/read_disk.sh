# SPDX-License-Identifier: BSD-2-Clause
# read_disk.sh FILE: reads the first disk over and over, from the device each time, until FILE is there.
rm -f "$1"
(
    until [ -e "$1" ]; do
        echo 3 >/proc/sys/vm/drop_caches
        dd if=/dev/sda of=/dev/null bs=1M 2>>"$1.said" || break
    done
) </dev/null >/dev/null 2>&1 &
