/* SPDX-License-Identifier: BSD-2-Clause */

/* Enters the host switch's sandbox and does what the first argument says; the status is 0 if that succeeded.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../../vswitch/host/sandbox.h"

/* 0, or the error number of opening a file. */
static int try_open(const char *path, int flags)
{
    return open(path, flags, 0600) >= 0 ? 0 : errno;
}

static int attempt(const char *what, const char *path)
{
    if (strcmp(what, "socket") == 0) {
        return socket(AF_INET, SOCK_STREAM, 0) < 0;
    }
    if (strcmp(what, "execute") == 0) {
        return execl("/bin/true", "true", (char *)NULL) < 0;
    }
    if (strcmp(what, "fork") == 0) {
        return fork() < 0;
    }
    if (strcmp(what, "trace") == 0) {
        return ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0;
    }
    if (strcmp(what, "kill") == 0) {
        return setpgid(0, 0) < 0;
    }
    if (strcmp(what, "code") == 0) {
        return mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED;
    }
    if (strcmp(what, "memory") == 0) {
        void *much =
            mmap(NULL, (size_t)2 << 30, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        return much == MAP_FAILED && errno == ENOMEM ? 3 : 0;
    }
    if (strcmp(what, "read") == 0) {
        return try_open(path, O_RDONLY);
    }
    if (strcmp(what, "write") == 0) {
        return try_open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC);
    }
    if (strcmp(what, "remove") == 0) {
        return unlink(path) == 0 ? 0 : errno;
    }
    return strcmp(what, "nothing") != 0;
}

int main(int argc, char **argv)
{
    if (argc != 5 || !sandbox_enter(argv[1], argv[2], 0)) {
        return 100;
    }
    return attempt(argv[3], argv[4]);
}
