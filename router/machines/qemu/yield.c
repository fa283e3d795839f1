/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * A plugin for QEMU's emulator: an emulated core that waits for another one in a loop gives its thread's time
 * to the other's.
 *
 * QEMU runs each emulated core in a thread. A kernel that waits for its lock or for the other cores' answers
 * expects that they run meanwhile; with fewer real cores than emulated ones the host has put them aside, and
 * the one that waits uses up their time. The loops' addresses come as arguments `at=FIRST-END`. Each time
 * that one of their blocks is executed is counted, and a core that goes round and round calls sched_yield().
 *
 * The declarations are those of QEMU's plugin interface that are used here, in the forms of the version that
 * API names. From version 7 on, callbacks take their user's data and no plugin's identity.
 */

#define _GNU_SOURCE
#include <sched.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define EXPORT __attribute__((visibility("default")))
#define MAX_LOOPS 64
#define ROUNDS 30u     /* before it yields: a lock is mostly free after a few */
#define GAP_NS 3000u   /* between two rounds; after a longer one the core has left the loop meanwhile */
#define INSTRUCTION 4u /* bytes */

struct qemu_plugin_tb;
enum { NO_REGISTERS = 0 };

#if API >= 7
typedef void (*translated)(struct qemu_plugin_tb *block, void *data);
void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t id, translated callback, void *data);
#else
typedef void (*translated)(uint64_t id, struct qemu_plugin_tb *block);
void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t id, translated callback);
#endif
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *block,
                                          void (*callback)(unsigned int core, void *data), int flags,
                                          void *data);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *block);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *block);
EXPORT int qemu_plugin_install(uint64_t id, const void *info, int argc, char **argv);

EXPORT int qemu_plugin_version = API;

static struct {
    uint64_t first, end;
} loops[MAX_LOOPS];
static unsigned int count;

static uint64_t now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

/* At the start of a block of a loop, before the core looks whether its wait is over. */
static void waits(unsigned int core, void *data)
{
    static _Thread_local uint64_t last;
    static _Thread_local unsigned int rounds;
    (void)core;
    (void)data;
    uint64_t time = now();
    rounds = time - last < GAP_NS ? rounds + 1 : 0;
    if (rounds >= ROUNDS) {
        sched_yield();
        time = now();
    }
    last = time;
}

static void watch(struct qemu_plugin_tb *block)
{
    uint64_t first = qemu_plugin_tb_vaddr(block);
    uint64_t end = first + INSTRUCTION * qemu_plugin_tb_n_insns(block);
    for (unsigned int i = 0; i < count; i++) {
        if (first < loops[i].end && loops[i].first < end) {
            qemu_plugin_register_vcpu_tb_exec_cb(block, waits, NO_REGISTERS, NULL);
            return;
        }
    }
}

#if API >= 7
static void on_translated(struct qemu_plugin_tb *block, void *data)
{
    (void)data;
    watch(block);
}
#else
static void on_translated(uint64_t id, struct qemu_plugin_tb *block)
{
    (void)id;
    watch(block);
}
#endif

int qemu_plugin_install(uint64_t id, const void *info, int argc, char **argv)
{
    (void)info;
    for (int i = 0; i < argc; i++) {
        char *end;
        if (strncmp(argv[i], "at=", 3) != 0 || count == MAX_LOOPS) {
            return -1;
        }
        loops[count].first = strtoull(argv[i] + 3, &end, 0);
        if (*end != '-') {
            return -1;
        }
        loops[count].end = strtoull(end + 1, NULL, 0);
        count++;
    }
#if API >= 7
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translated, NULL);
#else
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translated);
#endif
    return 0;
}
