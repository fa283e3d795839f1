/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * What this process gives up once its sockets and files are open. A guest that takes it over through a frame
 * has no files, no new sockets, no programs and no more memory than the switch itself uses.
 */
#ifndef VSWITCH_HOST_SANDBOX_H
#define VSWITCH_HOST_SANDBOX_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Gives up new privileges, and everything but: the system calls that the main loop makes (seccomp), writing
 * `counters` and its `.new` file and removing sockets in `sockets` (Landlock), 256 file descriptors, 1 GiB of
 * address space. Another system call kills the process. Each of `vsock_ports` adds its descriptors and the
 * address space of its guest's memory.
 *
 * counters: a file's path, or NULL. sockets: a folder. A kernel without seccomp or Landlock is reported on
 * stderr, and the rest is given up all the same. False after it has said on stderr what failed.
 */
bool sandbox_enter(const char *counters, const char *sockets, uint32_t vsock_ports);

#endif
