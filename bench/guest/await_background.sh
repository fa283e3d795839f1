# SPDX-License-Identifier: BSD-2-Clause
# await_background.sh NAME SECONDS: waits for a command of background.sh; prints its output and has its exit code.
tries=$(($2 * 5))
until [ -e "$1.code" ]; do
    tries=$((tries - 1))
    [ "$tries" -gt 0 ] || { echo "timed out: the program does not end"; exit 1; }
    sleep 0.2
done
cat "$1.out"
exit "$(cat "$1.code")"
