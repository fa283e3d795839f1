/* SPDX-License-Identifier: BSD-2-Clause */

/* The listening sockets: one a port (DIRECTORY/NAME.sock), and one that answers with the counters
 * (DIRECTORY/control). */
#ifndef VSWITCH_HOST_SOCKETS_H
#define VSWITCH_HOST_SOCKETS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/un.h>

/* Fills in DIRECTORY/NAME SUFFIX. False, with a line on stderr, when a unix socket's address cannot hold it.
 */
bool socket_address(struct sockaddr_un *address, const char *directory, const char *name, const char *suffix);

/* A non-blocking listener, for this user only; replaces a stale socket. -1 after a line on
 * stderr. */
int socket_listen(const struct sockaddr_un *address);

/* Accepts one connection, non-blocking, with as large a send buffer as the system gives; -1 when there is
 * none. */
int socket_accept(int listener);

#endif
