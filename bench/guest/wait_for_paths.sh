# SPDX-License-Identifier: BSD-2-Clause
# wait_for_paths.sh GLOB SECONDS: prints the paths that match, once there is one.
tries=$(($2 * 5))
until ls $1 2>/dev/null; do
    tries=$((tries - 1))
    [ "$tries" -gt 0 ] || { echo "timed out: no $1 appeared"; exit 1; }
    sleep 0.2
done
