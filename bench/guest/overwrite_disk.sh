# SPDX-License-Identifier: BSD-2-Clause
# overwrite_disk.sh DISK START SIZE: writes random data at START (a byte offset), SIZE MiB of it; prints its SHA-256.
dd if=/dev/urandom of=/tmp/new bs=1M count="$3" 2>/dev/null &&
    dd if=/tmp/new of="$1" bs=64k seek=$(($2 / 65536)) oflag=direct 2>/dev/null && sync && sha256sum /tmp/new
