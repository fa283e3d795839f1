/* SPDX-License-Identifier: BSD-2-Clause */
#include "sockets.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define SEND_BUFFER (1 << 20)

bool socket_address(struct sockaddr_un *address, const char *directory, const char *name, const char *suffix)
{
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    int length = snprintf(address->sun_path, sizeof(address->sun_path), "%s/%s%s", directory, name, suffix);
    if (length < 0 || (size_t)length >= sizeof(address->sun_path)) {
        fprintf(stderr, "vswitch: %s/%s%s: a unix socket's path has at most %zu bytes\n", directory, name,
                suffix, sizeof(address->sun_path) - 1);
        return false;
    }
    return true;
}

/* A socket file outlives a process that was killed; only one that refuses connections may be replaced. */
static bool remove_stale(const struct sockaddr_un *address)
{
    struct stat status;
    if (lstat(address->sun_path, &status) != 0 || !S_ISSOCK(status.st_mode)) {
        return false;
    }
    int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (probe < 0) {
        return false;
    }
    bool stale =
        connect(probe, (const struct sockaddr *)address, sizeof(*address)) != 0 && errno == ECONNREFUSED;
    close(probe);
    return stale && unlink(address->sun_path) == 0;
}

int socket_listen(const struct sockaddr_un *address)
{
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (listener < 0) {
        fprintf(stderr, "vswitch: socket: %s\n", strerror(errno));
        return -1;
    }
    mode_t mask = umask(077);
    int bound = bind(listener, (const struct sockaddr *)address, sizeof(*address));
    if (bound != 0 && errno == EADDRINUSE && remove_stale(address)) {
        bound = bind(listener, (const struct sockaddr *)address, sizeof(*address));
    }
    umask(mask);
    if (bound != 0 || listen(listener, 8) != 0) {
        fprintf(stderr, "vswitch: %s: %s\n", address->sun_path, strerror(errno));
        close(listener);
        return -1;
    }
    return listener;
}

int socket_accept(int listener)
{
    int size = SEND_BUFFER;
    int link = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    /* The system may give less; then there are more system calls a byte, and nothing else changes. */
    if (link >= 0 && setsockopt(link, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)) != 0) {
        fprintf(stderr, "vswitch: SO_SNDBUF: %s\n", strerror(errno));
    }
    return link;
}
