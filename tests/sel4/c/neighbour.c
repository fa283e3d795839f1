/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * A guest kernel that takes as much time from the others as it can, each time in the way that it is told: one
 * byte on its console names the way, and it goes on until the next byte. It runs at EL1 with the MMU off, as
 * hostile.c does.
 *
 *   i  sleeps                          c  computes and never traps
 *   r  reads a virtio register         d  rings the network's doorbell
 *   g  writes to the distributor       h  calls PSCI
 *   a  accesses an address where nothing is
 *   f  sends frames that the rules allow, a ring full at a time
 *   p  prints through virtio           e  prints through the early console
 *   q  sets up queues of garbage
 */
#include "hostile_net.h"
#include "hostile_queues.h"
#include "hostile_ring.h"

#define STRING2(x) #x
#define STRING(x) STRING2(x)

#define CONSOLE (NET + STRIDE)
#define OWN_RINGS (RAM_BASE + RAM_SIZE / 2 + 0x200000)
#define CONSOLE_RINGS OWN_RINGS
#define NET_RINGS (OWN_RINGS + 0x10000)
#define CONSOLE_BUFFERS (OWN_RINGS + 0x20000)
#define FRAMES (OWN_RINGS + 0x40000)
#define TEXT (OWN_RINGS + 0x100000)
#define TEXT_BYTES 0x10000u
#define FRAME_BYTES 0x800u

uint64_t on_exception(uint64_t syndrome, uint64_t pc, uint64_t link);
uint64_t on_exception(uint64_t syndrome, uint64_t pc, uint64_t link)
{
    return (syndrome >> 26 & 0x3f) == 0x21 ? link : pc + 4;
}

static struct ring console[2], net[2];

static void start_console(void)
{
    start_device(CONSOLE, CONSOLE_RINGS, console, 2);
    for (uint16_t i = 0; i < GOOD_SIZE; i++) {
        set_descriptor(&console[0], i, (struct descriptor){CONSOLE_BUFFERS + 64ULL * i, 64, 2, 0});
        give(&console[0], i);
    }
    ring_the_doorbell(&console[0]);
}

/* The last byte that came since the last call, or 0. */
static uint8_t key(void)
{
    uint8_t byte = 0;
    const volatile uint32_t *entry = (const volatile uint32_t *)(console[0].at + 0x2004);
    while (console[0].seen != used_by_device(&console[0])) {
        uint32_t id = entry[2 * (console[0].seen % ENTRIES)] % GOOD_SIZE;
        uint32_t length = entry[2 * (console[0].seen % ENTRIES) + 1];
        console[0].seen++;
        byte = ((const volatile uint8_t *)(CONSOLE_BUFFERS + 64ULL * id))[(length - 1) % 64];
        give(&console[0], (uint16_t)id);
        ring_the_doorbell(&console[0]);
    }
    return byte;
}

static void call_psci(void)
{
    register uint64_t x0 __asm__("x0") = 0x84000000;
    register uint64_t x7 __asm__("x7") = 0;
    __asm__ volatile("hvc #0" : "+r"(x0) : "r"(x7) : "memory", "x1", "x2", "x3");
}

static void start_net(void)
{
    start_device(NET, NET_RINGS, net, 2);
    for (uint16_t i = 0; i < ENTRIES; i++) {
        compose(FRAMES + FRAME_BYTES * i);
        set_descriptor(&net[1], i, (struct descriptor){FRAMES + FRAME_BYTES * i, 12 + 60, 0, 0});
    }
}

/* Keeps the ring full: each frame that has been sent is sent again. */
static void send_frames(void)
{
    bool any_new = false;
    while ((uint16_t)(net[1].given - used_by_device(&net[1])) < ENTRIES) {
        give(&net[1], net[1].given % ENTRIES);
        any_new = true;
    }
    if (any_new) {
        ring_the_doorbell(&net[1]);
    }
}

static void print(void)
{
    if (console[1].given == used_by_device(&console[1])) {
        set_descriptor(&console[1], 0, (struct descriptor){TEXT, TEXT_BYTES, 0, 0});
        give(&console[1], 0);
        ring_the_doorbell(&console[1]);
    }
}

static void step(uint8_t way)
{
    static volatile uint32_t sink;
    switch (way) {
    case 'c':
        for (uint32_t i = 0; i < 10000; i++) {
            sink = sink * 3 + i;
        }
        break;
    case 'r':
        get(NET, 0x70);
        break;
    case 'd':
        set(NET, 0x50, 1);
        break;
    case 'g':
        set(GICD, 0x100, 1u << 27);
        break;
    case 'h':
        call_psci();
        break;
    case 'a':
        peek(0x0ff00000, 4);
        break;
    case 'f':
        send_frames();
        break;
    case 'p':
        print();
        break;
    case 'e':
        say("neighbour: prints and prints and prints and prints and prints and prints\n");
        break;
    case 'q':
        queues();
        if (get(CONSOLE, 0x70) != 0xf) {
            start_console();
        }
        break;
    default:
        nap();
        break;
    }
}

void main(void);
void main(void)
{
    uint8_t way = 'i';
    random_state = SEED;
    for (uint32_t i = 0; i < TEXT_BYTES; i++) {
        ((volatile uint8_t *)TEXT)[i] = i % 80 == 79 ? '\n' : (uint8_t)('a' + i % 26);
    }
    say("\nrouter: guest " STRING(NAME) ": userspace up\n");
    start_console();
    for (;;) {
        uint8_t wish = key();
        if (wish >= 'a' && wish <= 'z') {
            char words[] = "neighbour: goes on with ?\n";
            way = wish;
            words[sizeof(words) - 3] = (char)way;
            start_console();
            start_net();
            say(words);
        }
        step(way);
    }
}
