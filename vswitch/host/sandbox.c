/* SPDX-License-Identifier: BSD-2-Clause */
#include "sandbox.h"

#include "vhost_user.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MAX_FILES 256u
#define MAX_ADDRESS_SPACE (1ull << 30)
/* Of one vsock device: its link, two rings' kick and call, and what may come with one message. */
#define VSOCK_FILES (1u + 2u * VHOST_RINGS + VHOST_MAX_DESCRIPTORS)

/* A sanitizer's runtime reads files, makes system calls of its own and reserves terabytes of addresses. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

#if defined(__x86_64__)
#define ARCHITECTURE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCHITECTURE AUDIT_ARCH_AARCH64
#endif

static bool failed(const char *what)
{
    fprintf(stderr, "vswitch: %s: %s\n", what, strerror(errno));
    return false;
}

static bool limit(__rlimit_resource_t resource, rlim_t most)
{
    struct rlimit now;
    if (getrlimit(resource, &now) != 0) {
        return false;
    }
    rlim_t allowed = now.rlim_max < most ? now.rlim_max : most;
    return setrlimit(resource, &(struct rlimit){allowed, allowed}) == 0;
}

static bool limit_resources(uint32_t vsock_ports)
{
    /* A core file would hold guests' frames. RLIMIT_NPROC does not bind root; seccomp does. */
    return limit(RLIMIT_CORE, 0) && limit(RLIMIT_NPROC, 0) && limit(RLIMIT_DATA, MAX_ADDRESS_SPACE) &&
           limit(RLIMIT_NOFILE, MAX_FILES + vsock_ports * VSOCK_FILES) &&
           limit(RLIMIT_AS, MAX_ADDRESS_SPACE + vsock_ports * VHOST_MAX_MEMORY);
}

/* Allows `access` below a folder. */
static bool allow_below(int rules, const char *folder, uint64_t access)
{
    struct landlock_path_beneath_attr rule = {.allowed_access = access};
    rule.parent_fd = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (rule.parent_fd < 0) {
        return failed(folder);
    }
    long added = syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
    close(rule.parent_fd);
    return added == 0 || failed("landlock_add_rule");
}

static bool folder_of(char folder[PATH_MAX], const char *path)
{
    const char *slash = strrchr(path, '/');
    size_t length = slash ? (size_t)(slash - path) : 0;
    if (length >= PATH_MAX) {
        errno = ENAMETOOLONG;
        return failed(path);
    }
    memcpy(folder, path, length);
    memcpy(folder + length, "/", 2);
    return slash || memcpy(folder, ".", 2);
}

static bool restrict_files(const char *counters, const char *sockets)
{
    /* All of Landlock's first version: each kernel with Landlock has them. */
    const uint64_t removal = LANDLOCK_ACCESS_FS_REMOVE_FILE;
    const uint64_t writing = LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_MAKE_REG;
    struct landlock_ruleset_attr all = {.handled_access_fs = (LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1};
    char folder[PATH_MAX];
    long rules = syscall(SYS_landlock_create_ruleset, &all, sizeof(all.handled_access_fs), 0);
    if (rules < 0 && (errno == ENOSYS || errno == EOPNOTSUPP)) {
        fprintf(stderr, "vswitch: this kernel has no Landlock: access to files is not restricted\n");
        return true;
    }
    if (rules < 0) {
        return failed("landlock_create_ruleset");
    }
    bool allowed =
        allow_below((int)rules, sockets, removal) &&
        (!counters || (folder_of(folder, counters) && allow_below((int)rules, folder, writing | removal)));
    bool done = allowed &&
                (syscall(SYS_landlock_restrict_self, (int)rules, 0) == 0 || failed("landlock_restrict_self"));
    close((int)rules);
    return done;
}

#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define RETURN(action) BPF_STMT(BPF_RET | BPF_K, action)
#define ALLOW(name) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_##name, 0, 1), RETURN(SECCOMP_RET_ALLOW)
/* The low half of the third argument, which is `prot` of mmap and mprotect. */
#define ALLOW_WITHOUT_EXEC(name)                                                                             \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_##name, 0, 4), LOAD(args[2]),                                    \
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, PROT_EXEC, 1, 0), RETURN(SECCOMP_RET_ALLOW),                    \
        RETURN(SECCOMP_RET_KILL_PROCESS)

static bool restrict_calls(void)
{
#ifndef ARCHITECTURE
    fprintf(stderr, "vswitch: built for an unknown processor: system calls are not restricted\n");
    return true;
#else
    static struct sock_filter program[] = {
        LOAD(arch),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCHITECTURE, 1, 0),
        RETURN(SECCOMP_RET_KILL_PROCESS),
        LOAD(nr),
        /* Frames and clients. */
        ALLOW(sendmsg),
        ALLOW(recvfrom),
        ALLOW(recvmsg),
        ALLOW(epoll_pwait),
#ifdef SYS_epoll_wait
        ALLOW(epoll_wait),
#endif
        ALLOW(epoll_ctl),
        ALLOW(accept4),
        ALLOW(setsockopt),
        ALLOW(sendto),
        ALLOW(read),
        ALLOW(close),
        /* The counters, the capture and messages. */
        ALLOW(write),
        ALLOW(writev),
        ALLOW(openat),
#ifdef SYS_open
        ALLOW(open),
#endif
        ALLOW(fcntl),
        ALLOW(fstat),
        ALLOW(newfstatat),
        ALLOW(lseek),
#ifdef SYS_rename
        ALLOW(rename),
#endif
        ALLOW(renameat),
#ifdef SYS_unlink
        ALLOW(unlink),
#endif
        ALLOW(unlinkat),
        /* The C library: memory, time, ends. */
        ALLOW(brk),
        ALLOW(munmap),
        ALLOW(mremap),
        ALLOW(madvise),
        ALLOW(futex),
        ALLOW(clock_gettime),
        ALLOW(getrandom),
        ALLOW(rt_sigprocmask),
        ALLOW(rt_sigaction),
        ALLOW(rt_sigreturn),
        ALLOW(restart_syscall),
        ALLOW(getpid),
        ALLOW(gettid),
        ALLOW(tgkill),
        ALLOW(exit),
        ALLOW(exit_group),
        ALLOW_WITHOUT_EXEC(mmap),
        ALLOW_WITHOUT_EXEC(mprotect),
        RETURN(SECCOMP_RET_KILL_PROCESS),
    };
    const struct sock_fprog filter = {sizeof(program) / sizeof(program[0]), program};
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter, 0, 0) == 0) {
        return true;
    }
    if (errno == EINVAL || errno == ENOSYS) {
        fprintf(stderr, "vswitch: this kernel has no seccomp: system calls are not restricted\n");
        return true;
    }
    return failed("seccomp");
#endif
}

bool sandbox_enter(const char *counters, const char *sockets, uint32_t vsock_ports)
{
    if (SANITIZED) {
        fprintf(stderr, "vswitch: built with a sanitizer: no sandbox\n");
        return true;
    }
    if (!limit_resources(vsock_ports)) {
        return failed("resource limits");
    }
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
        return failed("no_new_privs");
    }
    return restrict_files(counters, sockets) && restrict_calls();
}
