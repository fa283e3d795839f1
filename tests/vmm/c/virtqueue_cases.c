/* SPDX-License-Identifier: BSD-2-Clause */
#include "driver.h"
#include "virtqueue.h"

static struct virtq q;
static struct virtq_chain chain;

static void start_sized(uint16_t size)
{
    memset(guest_bytes, 0, sizeof(guest_bytes));
    virtq_reset(&q, &ram);
    q.size = size;
    q.desc_gpa = RING(0);
    q.avail_gpa = avail_of(0);
    q.used_gpa = used_of(0);
    q.allow_indirect = true;
    q.ready = virtq_start(&q);
}

static void start(void)
{
    start_sized(8);
    CHECK(q.ready);
}

CASE(an_empty_queue_yields_nothing)
{
    start();
    EQUAL(virtq_peek(&q, &chain), VIRTQ_EMPTY);
}

CASE(a_chain_is_split_into_what_is_read_and_what_is_written)
{
    start();
    describe(0, 3, DATA, 10, NEXT, 5);
    describe(0, 5, DATA + 100, 20, NEXT, 1);
    describe(0, 1, DATA + 200, 30, WRITE, 0);
    offer(0, 8, 3);
    EQUAL(virtq_peek(&q, &chain), VIRTQ_CHAIN);
    EQUAL(chain.head, 3);
    EQUAL(chain.readable, 2);
    EQUAL(chain.readable_len, 30);
    EQUAL(chain.writable, 1);
    EQUAL(chain.writable_len, 30);
    virtq_advance(&q);
    EQUAL(virtq_peek(&q, &chain), VIRTQ_EMPTY);
}

CASE(bytes_are_gathered_and_scattered_across_segments)
{
    uint8_t out[8] = {0};
    start();
    memcpy(at(DATA), "abc", 3);
    memcpy(at(DATA + 100), "defgh", 5);
    describe(0, 0, DATA, 3, NEXT, 1);
    describe(0, 1, DATA + 100, 5, NEXT, 2);
    describe(0, 2, DATA + 200, 2, WRITE | NEXT, 3);
    describe(0, 3, DATA + 300, 4, WRITE, 0);
    offer(0, 8, 0);
    EQUAL(virtq_peek(&q, &chain), VIRTQ_CHAIN);
    EQUAL(virtq_copy_out(&chain, 2, out, 4), 4);
    CHECK(memcmp(out, "cdef", 4) == 0);
    EQUAL(virtq_copy_out(&chain, 6, out, 8), 2);
    EQUAL(virtq_copy_in(&chain, 1, "12345678", 8), 5);
    CHECK(memcmp(at(DATA + 201), "1", 1) == 0);
    CHECK(memcmp(at(DATA + 300), "2345", 4) == 0);
}

static void expect_broken(void)
{
    offer(0, 8, 0);
    EQUAL(virtq_peek(&q, &chain), VIRTQ_BROKEN);
    CHECK(q.broken);
    EQUAL(virtq_peek(&q, &chain), VIRTQ_BROKEN);
}

CASE(a_loop_of_descriptors_breaks_the_queue)
{
    start();
    describe(0, 0, DATA, 1, NEXT, 1);
    describe(0, 1, DATA, 1, NEXT, 0);
    expect_broken();
}

CASE(a_descriptor_number_beyond_the_table_breaks_the_queue)
{
    start();
    describe(0, 0, DATA, 1, NEXT, 8);
    expect_broken();
    start();
    offer(0, 8, 99);
    EQUAL(virtq_peek(&q, &chain), VIRTQ_BROKEN);
}

CASE(a_buffer_outside_the_guests_memory_breaks_the_queue)
{
    const struct {
        uint64_t addr;
        uint32_t len;
    } bad[] = {{RAM_BASE - 1, 2},    {RAM_BASE + RAM_BYTES - 1, 2}, {0, 1},
               {~0ULL, 2},           {RAM_BASE, RAM_BYTES + 1},     {RAM_BASE, 0xffffffff},
               {~0ULL - 0xff, 0x200}};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        start();
        describe(0, 0, bad[i].addr, bad[i].len, 0, 0);
        expect_broken();
    }
}

CASE(a_readable_buffer_after_a_writable_one_breaks_the_queue)
{
    start();
    describe(0, 0, DATA, 1, WRITE | NEXT, 1);
    describe(0, 1, DATA, 1, 0, 0);
    expect_broken();
}

CASE(more_entries_than_the_ring_has_break_the_queue)
{
    start();
    put16(avail_of(0) + 2, 9);
    EQUAL(virtq_peek(&q, &chain), VIRTQ_BROKEN);
}

CASE(an_indirect_table_is_followed)
{
    start();
    describe_at(DATA, 0, DATA + 0x1000, 7, NEXT, 1);
    describe_at(DATA, 1, DATA + 0x2000, 9, WRITE, 0);
    describe(0, 0, DATA, 32, INDIRECT, 0);
    offer(0, 8, 0);
    EQUAL(virtq_peek(&q, &chain), VIRTQ_CHAIN);
    EQUAL(chain.readable_len, 7);
    EQUAL(chain.writable_len, 9);
}

CASE(an_indirect_table_may_end_a_chain)
{
    start();
    describe_at(DATA, 0, DATA + 0x1000, 7, 0, 0);
    describe(0, 0, DATA + 0x3000, 5, NEXT, 1);
    describe(0, 1, DATA, 16, INDIRECT, 0);
    offer(0, 8, 0);
    EQUAL(virtq_peek(&q, &chain), VIRTQ_CHAIN);
    EQUAL(chain.readable_len, 12);
}

CASE(an_indirect_table_need_not_lie_on_a_descriptors_boundary)
{
    start(); /* 2.7.5.3 asks for no alignment, and not every allocator of Linux gives 16 bytes */
    describe_at(DATA + 8, 0, DATA + 0x1000, 7, 0, 0);
    describe(0, 0, DATA + 8, 16, INDIRECT, 0);
    offer(0, 8, 0);
    EQUAL(virtq_peek(&q, &chain), VIRTQ_CHAIN);
    EQUAL(chain.readable_len, 7);
}

CASE(malformed_indirect_tables_break_the_queue)
{
    start();
    describe(0, 0, DATA, 24, INDIRECT, 0); /* no whole entries */
    expect_broken();
    start();
    describe(0, 0, DATA, 0, INDIRECT, 0); /* empty */
    expect_broken();
    start();
    describe(0, 0, DATA + 4, 16, INDIRECT, 0); /* its addresses could not be read in one piece */
    expect_broken();
    start();
    describe(0, 0, DATA, 16, INDIRECT | NEXT, 1); /* 2.7.5.3.1 */
    expect_broken();
    start();
    describe_at(DATA, 0, DATA + 0x1000, 16, INDIRECT, 0); /* a table in a table */
    describe(0, 0, DATA, 16, INDIRECT, 0);
    expect_broken();
    start();
    describe(0, 0, RAM_BASE + RAM_BYTES - 16, 32, INDIRECT, 0); /* half of it outside */
    expect_broken();
    start();
    q.allow_indirect = false; /* not negotiated */
    describe(0, 0, DATA, 16, INDIRECT, 0);
    expect_broken();
}

CASE(a_chain_of_too_many_pieces_breaks_the_queue)
{
    start_sized(128);
    for (uint16_t i = 0; i < 127; i++) {
        describe(0, i, DATA, 1, NEXT, (uint16_t)(i + 1));
    }
    offer(0, 128, 0);
    EQUAL(virtq_peek(&q, &chain), VIRTQ_BROKEN);
}

CASE(pieces_of_one_chain_may_overlap)
{
    start();
    for (uint16_t i = 0; i < 8; i++) {
        describe(0, i, RAM_BASE, RAM_BYTES, i < 7 ? NEXT : 0, (uint16_t)(i + 1));
    }
    offer(0, 8, 0);
    EQUAL(virtq_peek(&q, &chain), VIRTQ_CHAIN);
    EQUAL(chain.readable_len, 8u * RAM_BYTES);
}

CASE(rings_in_impossible_places_are_refused)
{
    start_sized(0);
    CHECK(!q.ready);
    start_sized(7);
    CHECK(!q.ready);
    start_sized(512);
    CHECK(!q.ready);
    start();
    q.desc_gpa = RING(0) + 8;
    CHECK(!virtq_start(&q));
    start();
    q.avail_gpa = RAM_BASE + RAM_BYTES - 8;
    CHECK(!virtq_start(&q));
    start();
    q.used_gpa = 0;
    CHECK(!virtq_start(&q));
}

CASE(indices_wrap_around)
{
    start();
    put16(avail_of(0) + 2, 0xfffe);
    q.next_avail = 0xfffe;
    q.next_used = 0xfffe;
    for (int i = 0; i < 20; i++) {
        describe(0, 2, DATA, 4, 0, 0);
        offer(0, 8, 2);
        EQUAL(virtq_peek(&q, &chain), VIRTQ_CHAIN);
        virtq_put_used(&q, 0, chain.head, 4);
        virtq_advance(&q);
        virtq_publish(&q, 1);
    }
    EQUAL(used_index(0), (uint16_t)(0xfffe + 20));
    EQUAL(virtq_peek(&q, &chain), VIRTQ_EMPTY);
}

CASE(an_interrupt_is_wanted_unless_the_guest_says_no)
{
    start();
    virtq_publish(&q, 1);
    CHECK(virtq_wants_interrupt(&q));
    CHECK(!virtq_wants_interrupt(&q));
    put16(avail_of(0), 1);
    virtq_publish(&q, 1);
    CHECK(!virtq_wants_interrupt(&q));
}

CASE(with_event_index_an_interrupt_comes_when_the_guests_mark_is_passed)
{
    start();
    q.use_events = true;
    virtq_publish(&q, 1);
    CHECK(virtq_wants_interrupt(&q)); /* the first time always */
    put16(avail_of(0) + 4 + 2 * 8, 3);
    virtq_publish(&q, 1);
    CHECK(!virtq_wants_interrupt(&q));
    virtq_publish(&q, 1);
    CHECK(!virtq_wants_interrupt(&q));
    virtq_publish(&q, 1);
    CHECK(virtq_wants_interrupt(&q));
    virtq_publish(&q, 1);
    CHECK(!virtq_wants_interrupt(&q));
}

CASE(listening_finds_what_came_in_before_it)
{
    start();
    virtq_mute(&q);
    EQUAL(get16(used_of(0)), 1);
    CHECK(!virtq_listen(&q));
    EQUAL(get16(used_of(0)), 0);
    offer(0, 8, 0);
    CHECK(virtq_listen(&q));
    q.use_events = true;
    CHECK(virtq_listen(&q));
    EQUAL(get16(used_of(0) + 4 + 8 * 8), 1); /* behind the one that is there */
}

#define NAMED(name)                                                                                          \
    {                                                                                                        \
#name, name                                                                                          \
    }
static const struct test_case cases[] = {
    NAMED(an_empty_queue_yields_nothing),
    NAMED(a_chain_is_split_into_what_is_read_and_what_is_written),
    NAMED(bytes_are_gathered_and_scattered_across_segments),
    NAMED(a_loop_of_descriptors_breaks_the_queue),
    NAMED(a_descriptor_number_beyond_the_table_breaks_the_queue),
    NAMED(a_buffer_outside_the_guests_memory_breaks_the_queue),
    NAMED(a_readable_buffer_after_a_writable_one_breaks_the_queue),
    NAMED(more_entries_than_the_ring_has_break_the_queue),
    NAMED(an_indirect_table_is_followed),
    NAMED(an_indirect_table_may_end_a_chain),
    NAMED(an_indirect_table_need_not_lie_on_a_descriptors_boundary),
    NAMED(malformed_indirect_tables_break_the_queue),
    NAMED(a_chain_of_too_many_pieces_breaks_the_queue),
    NAMED(pieces_of_one_chain_may_overlap),
    NAMED(rings_in_impossible_places_are_refused),
    NAMED(indices_wrap_around),
    NAMED(an_interrupt_is_wanted_unless_the_guest_says_no),
    NAMED(with_event_index_an_interrupt_comes_when_the_guests_mark_is_passed),
    NAMED(listening_finds_what_came_in_before_it),
    {NULL, NULL},
};

int main(int argc, char **argv)
{
    return run_case(cases, argc, argv);
}
