/* SPDX-License-Identifier: BSD-2-Clause */

/* The console device, and the transport by its example. */
#include "driver.h"
#include "virtio_console.h"

static struct virtio_console console;
static struct charq_port ring;
static struct charq_end from_guest, to_guest;

static void start_console(void)
{
    memset(&ring, 0, sizeof(ring));
    virtio_console_init(&console, &ram, &ring);
    charq_attach(&from_guest, &ring.out, ring.out_bytes, CHARQ_OUT_BYTES);
    charq_attach(&to_guest, &ring.in, ring.in_bytes, CHARQ_IN_BYTES);
    bring_up(&console.dev, 0, 16);
}

CASE(console_output_arrives_whole_even_when_the_ring_is_small)
{
    static uint8_t got[10000];
    uint32_t n = 0;
    start_console();
    for (uint32_t i = 0; i < 10000; i++) {
        *at(DATA + i) = (uint8_t)(i * 7);
    }
    describe(VIRTIO_CONSOLE_TX, 0, DATA, 6000, NEXT, 1);
    describe(VIRTIO_CONSOLE_TX, 1, DATA + 6000, 4000, 0, 0);
    offer(VIRTIO_CONSOLE_TX, 16, 0);
    CHECK(virtio_console_run(&console));
    EQUAL(used_index(VIRTIO_CONSOLE_TX), 0);
    while (n < 10000) {
        uint32_t more = charq_read(&from_guest, got + n, 1000);
        CHECK(more != 0);
        n += more;
        charq_made_room(&from_guest);
        virtio_console_run(&console);
    }
    EQUAL(used_index(VIRTIO_CONSOLE_TX), 1);
    CHECK(memcmp(got, at(DATA), 10000) == 0);
}

CASE(output_without_end_leaves_room_for_the_vmms_own_lines)
{
    static uint8_t line[VIRTIO_CONSOLE_KEEP];
    start_console();
    describe(VIRTIO_CONSOLE_TX, 0, DATA, 6000, 0, 0);
    offer(VIRTIO_CONSOLE_TX, 16, 0);
    CHECK(virtio_console_run(&console));
    EQUAL(used_index(VIRTIO_CONSOLE_TX), 0);
    EQUAL(charq_write_keeping(&console.out, line, sizeof(line), 0), sizeof(line));
    EQUAL(charq_write_keeping(&console.out, line, sizeof(line), 0), 0);
    /* The guest goes on when both have been read. */
    EQUAL(charq_read(&from_guest, line, 300), 300);
    virtio_console_run(&console);
    EQUAL(console.tx_offset, CHARQ_OUT_BYTES - sizeof(line));
    CHECK(charq_made_room(&from_guest));
    EQUAL(charq_read(&from_guest, line, 300), 300);
    virtio_console_run(&console);
    EQUAL(console.tx_offset, CHARQ_OUT_BYTES - sizeof(line) + 600 - sizeof(line));
}

CASE(console_input_waits_for_a_buffer)
{
    start_console();
    EQUAL(charq_write(&to_guest, (const uint8_t *)"hello", 5), 5);
    virtio_console_run(&console);
    EQUAL(used_index(VIRTIO_CONSOLE_RX), 0);
    describe(VIRTIO_CONSOLE_RX, 0, DATA, 3, WRITE, 0);
    describe(VIRTIO_CONSOLE_RX, 1, DATA + 100, 100, WRITE, 0);
    offer(VIRTIO_CONSOLE_RX, 16, 0);
    offer(VIRTIO_CONSOLE_RX, 16, 1);
    virtio_console_run(&console);
    EQUAL(used_index(VIRTIO_CONSOLE_RX), 2);
    CHECK(memcmp(at(DATA), "hel", 3) == 0);
    CHECK(memcmp(at(DATA + 100), "lo", 2) == 0);
    EQUAL(used_length(VIRTIO_CONSOLE_RX, 16, 1), 2);
}

CASE(an_input_buffer_without_room_holds_up_no_one)
{
    start_console();
    EQUAL(charq_write(&to_guest, (const uint8_t *)"x", 1), 1);
    describe(VIRTIO_CONSOLE_RX, 0, DATA, 3, 0, 0); /* readable only */
    offer(VIRTIO_CONSOLE_RX, 16, 0);
    virtio_console_run(&console);
    EQUAL(used_index(VIRTIO_CONSOLE_RX), 0);
}

CASE(a_driver_cannot_skip_the_steps_of_the_handshake)
{
    start_console();
    struct virtio_device *dev = &console.dev;
    virtio_mmio_write(dev, 0x70, 4, 0);
    EQUAL(virtio_mmio_read(dev, 0x70, 4), 0);
    EQUAL(virtio_mmio_read(dev, 0x44, 4), 0);
    virtio_mmio_write(dev, 0x70, 4, VIRTIO_DRIVER_OK);
    EQUAL(virtio_mmio_read(dev, 0x70, 4), 0);
    virtio_mmio_write(dev, 0x44, 4, 1); /* a queue before FEATURES_OK */
    EQUAL(virtio_mmio_read(dev, 0x44, 4), 0);
    virtio_mmio_write(dev, 0x70, 4, 3);
    virtio_mmio_write(dev, 0x70, 4, 3 | VIRTIO_FEATURES_OK); /* without VERSION_1 */
    EQUAL(virtio_mmio_read(dev, 0x70, 4), 3);
    virtio_mmio_write(dev, 0x20, 4, 1u << 7); /* a feature that was not offered */
    virtio_mmio_write(dev, 0x24, 4, 1);
    virtio_mmio_write(dev, 0x20, 4, 1);
    virtio_mmio_write(dev, 0x70, 4, 3 | VIRTIO_FEATURES_OK);
    EQUAL(virtio_mmio_read(dev, 0x70, 4), 3);
}

CASE(a_ready_queue_cannot_be_moved)
{
    start_console();
    struct virtio_device *dev = &console.dev;
    uint64_t bad = dev->bad_accesses;
    virtio_mmio_write(dev, 0x30, 4, 0);
    virtio_mmio_write(dev, 0x80, 4, 0x1000);
    virtio_mmio_write(dev, 0x38, 4, 4);
    EQUAL(dev->bad_accesses, bad + 2);
    EQUAL(dev->queue[0].desc_gpa, RING(0));
    EQUAL(dev->queue[0].size, 16);
}

CASE(wild_accesses_to_the_transport_are_counted)
{
    start_console();
    struct virtio_device *dev = &console.dev;
    uint64_t bad = dev->bad_accesses;
    virtio_mmio_write(dev, 0x50, 4, 9); /* a doorbell of no queue */
    virtio_mmio_write(dev, 0x71, 1, 0);
    virtio_mmio_write(dev, 0x70, 2, 0);
    virtio_mmio_write(dev, 0x200, 4, 0);
    virtio_mmio_write(dev, ~3ULL, 4, 0);
    virtio_mmio_write(dev, 0x100, 4, 0); /* the configuration cannot be written */
    EQUAL(virtio_mmio_read(dev, 0x0c8, 4), 0);
    EQUAL(dev->bad_accesses, bad + 7);
    EQUAL(virtio_mmio_read(dev, 0x70, 4), 0xf);
    virtio_mmio_write(dev, 0x30, 4, 0xffffffff);
    EQUAL(virtio_mmio_read(dev, 0x34, 4), 0);
    EQUAL(virtio_mmio_read(dev, 0x44, 4), 0);
}

CASE(the_transport_identifies_itself)
{
    start_console();
    EQUAL(virtio_mmio_read(&console.dev, 0, 4), 0x74726976);
    EQUAL(virtio_mmio_read(&console.dev, 4, 4), 2);
    EQUAL(virtio_mmio_read(&console.dev, 8, 4), VIRTIO_ID_CONSOLE);
    EQUAL(virtio_mmio_read(&console.dev, 0xb0, 4), 0xffffffff);
}

#define NAMED(name)                                                                                          \
    {                                                                                                        \
#name, name                                                                                          \
    }
static const struct test_case cases[] = {
    NAMED(console_output_arrives_whole_even_when_the_ring_is_small),
    NAMED(output_without_end_leaves_room_for_the_vmms_own_lines),
    NAMED(console_input_waits_for_a_buffer),
    NAMED(an_input_buffer_without_room_holds_up_no_one),
    NAMED(a_driver_cannot_skip_the_steps_of_the_handshake),
    NAMED(a_ready_queue_cannot_be_moved),
    NAMED(wild_accesses_to_the_transport_are_counted),
    NAMED(the_transport_identifies_itself),
    {NULL, NULL},
};

int main(int argc, char **argv)
{
    return run_case(cases, argc, argv);
}
