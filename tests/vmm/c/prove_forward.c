/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Harness for the CBMC model checker: the two steps that a pass of the switch takes for each port, from any
 * state that its own rules allow, among VMMs that write anything into their rings at any time, and with any
 * judgement of each frame. What enters a receiver's ring is what was judged, goes only where the judgement
 * says, and no frame is lost without being counted. The rules hold again after each step, so they hold after
 * every pass. All ports are treated alike: one of them takes the step. tests/vmm/test_proofs.py has the
 * bounds.
 *
 * The rings are not modelled: the stubs hand out another entry at each look, and any number of free entries.
 * prove.c has the proofs of netq.c, tests/vswitch/c/check_decide.c those of the judgement. What accounts say
 * is arbitrary, so a port may be paused at any time. The step for what a port sends is that of a switch of
 * frames, the step for what it returns that of either switch: a port may have RSTs of a switch of packets.
 */
#include "forward.c"
#include "prove.h"

#define PORTS VSWITCH_MAX_PORTS
#define PORT 1u /* takes the step */
#define EVERY_PORT ((1ULL << PORTS) - 1)
#define POOL 0x20000u
#define UNUSED (sizeof((struct netq_frame){0}.unused) / sizeof(uint16_t))

static uint8_t pool[PORTS][POOL];
static struct forward_port ports[PORTS];
static struct vswitch_config config;
static struct forward f;

/* Of each sender's next frame: the entry as it was read, what the judgement left of it, and where it may
 * still go. */
static struct netq_frame read_entry[PORTS], judged[PORTS];
static uint64_t allowed[PORTS];
static bool out[PORTS][NETQ_ENTRIES]; /* tickets that a sender cannot use again yet */
static bool refused[PORTS];           /* a VMM left no room in tx_done, against its own interest */
static uint32_t room[2][PORTS];       /* in rx and tx_done, since the switch last asked */
static uint32_t taken, delivered, put, returned;

static uint32_t port_of(const struct netq_end *end, const struct netq_end *first)
{
    return (uint32_t)(end - first);
}

static bool is_one_of(const struct netq_end *end, const struct netq_end *first)
{
    return end >= first && end < first + PORTS;
}

static struct netq_frame any_frame(void)
{
    struct netq_frame frame = {.offset = nondet_u32(),
                               .length = nondet_u32(),
                               .owner = nondet_u16(),
                               .ticket = nondet_u16(),
                               .flags = nondet_u8(),
                               .gso_type = nondet_u8(),
                               .hdr_len = nondet_u16(),
                               .gso_size = nondet_u16(),
                               .csum_start = nondet_u16(),
                               .csum_offset = nondet_u16(),
                               .unused = {nondet_u16()}};
    return frame;
}

bool netq_look(struct netq_end *end, struct netq_frame *frame)
{
    if (nondet_bool()) {
        return false;
    }
    *frame = any_frame();
    if (is_one_of(end, f.tx)) {
        read_entry[port_of(end, f.tx)] = *frame;
    }
    return true;
}

void netq_take(struct netq_end *end)
{
    taken += is_one_of(end, f.tx);
}

uint32_t netq_room(struct netq_end *end)
{
    bool rx = is_one_of(end, f.rx);
    uint32_t port = port_of(end, rx ? f.rx : f.tx_done);
    room[rx][port] = nondet_u32() % (NETQ_ENTRIES + 1u);
    refused[port] = refused[port] || (!rx && room[rx][port] == 0);
    return room[rx][port];
}

static void put_rx(uint32_t receiver, const struct netq_frame *frame)
{
    uint64_t me = 1ULL << receiver;
    ASSERT(frame->owner < PORTS, "the frame of a port");
    const struct netq_frame *is = &judged[frame->owner];
    ASSERT(frame->offset == is->offset && frame->length == is->length && frame->ticket == is->ticket,
           "the bytes that were judged");
    ASSERT(frame->flags == is->flags && frame->gso_type == is->gso_type && frame->hdr_len == is->hdr_len &&
               frame->gso_size == is->gso_size && frame->csum_start == is->csum_start &&
               frame->csum_offset == is->csum_offset,
           "the metadata that the judgement left");
    ASSERT(frame->unused[nondet_u32() % UNUSED] == 0, "nothing else that a VMM has written");
    ASSERT((allowed[frame->owner] & me) != 0, "only where the judgement says, and once");
    allowed[frame->owner] &= ~me;
    delivered += allowed[frame->owner] == 0;
    put++;
}

void netq_put(struct netq_end *end, const struct netq_frame *frame)
{
    bool rx = is_one_of(end, f.rx);
    uint32_t port = port_of(end, rx ? f.rx : f.tx_done);
    ASSERT(room[rx][port] != 0, "no entry that was not read yet is overwritten");
    room[rx][port]--;
    if (rx) {
        put_rx(port, frame);
        return;
    }
    ASSERT(frame->ticket < NETQ_ENTRIES && out[port][frame->ticket], "a ticket comes back once");
    ASSERT(f.holders[port][frame->ticket] == 0, "no receiver has the frame any more");
    out[port][frame->ticket] = false;
    returned++;
}

bool netq_show(struct netq_end *end)
{
    (void)end;
    return nondet_bool();
}

bool netq_release(struct netq_end *end)
{
    (void)end;
    return nondet_bool();
}

bool netq_sleep(struct netq_end *end)
{
    (void)end;
    return nondet_bool();
}

bool netq_awaited(const struct netq_end *end)
{
    (void)end;
    return nondet_bool();
}

void account_charge(struct account *account, uint64_t start, uint64_t end)
{
    (void)start;
    (void)end;
    account->owed = nondet_u64();
}

void packets_judge(struct forward *its, uint32_t port, uint64_t now)
{
    (void)its;
    (void)port;
    (void)now;
    ASSERT(false, "guests with network devices send no vsock packets");
}

void packets_reset(struct forward *its)
{
    (void)its;
    ASSERT(false, "guests with network devices have no connections");
}

uint64_t account_due(const struct account *account, uint64_t owed)
{
    (void)account;
    (void)owed;
    return nondet_u64();
}

/* cppcheck-suppress constParameter; the switch's own has this type */
struct vswitch_verdict vswitch_decide(const struct vswitch_config *its, struct vswitch_state *state,
                                      uint32_t in_port, const uint8_t *frame, size_t length,
                                      struct vswitch_offload *offload)
{
    ASSERT(its == &config && state == &f.state && in_port < PORTS, "the switch's own state");
    const struct netq_frame *entry = &read_entry[in_port];
    ASSERT(entry->offset <= ports[in_port].pool_size && entry->length != 0 &&
               entry->length <= ports[in_port].pool_size - entry->offset &&
               frame == pool[in_port] + entry->offset && length == entry->length,
           "the bytes that the entry names, inside the sender's pool");
    ASSERT(entry->ticket < NETQ_ENTRIES && f.holders[in_port][entry->ticket] == 0 &&
               (!out[in_port][entry->ticket] || refused[in_port]),
           "no ticket that is in use");
    ASSERT(offload->flags == entry->flags && offload->gso_type == entry->gso_type &&
               offload->hdr_len == entry->hdr_len && offload->gso_size == entry->gso_size &&
               offload->csum_start == entry->csum_start && offload->csum_offset == entry->csum_offset,
           "the metadata that the entry has");
    offload->flags = nondet_u8();
    offload->gso_type = nondet_u8();
    offload->hdr_len = nondet_u16();
    offload->gso_size = nondet_u16();
    offload->csum_start = nondet_u16();
    offload->csum_offset = nondet_u16();
    judged[in_port] = (struct netq_frame){.offset = entry->offset,
                                          .length = entry->length,
                                          .ticket = entry->ticket,
                                          .flags = offload->flags,
                                          .gso_type = offload->gso_type,
                                          .hdr_len = offload->hdr_len,
                                          .gso_size = offload->gso_size,
                                          .csum_start = offload->csum_start,
                                          .csum_offset = offload->csum_offset};
    out[in_port][entry->ticket] = true;
    ASSERT(allowed[in_port] == 0, "the frame before it has gone to all its receivers");
    allowed[in_port] = nondet_u64() & EVERY_PORT;
    return (struct vswitch_verdict){.ports = allowed[in_port], .asks = nondet_bool()};
}

static bool waits(uint32_t port, uint32_t ticket)
{
    return f.front[port].to != 0 && f.front[port].frame.ticket == ticket;
}

/* Frames that a port has, by what the switch notes of each. */
static uint32_t held_by(uint32_t port)
{
    uint32_t held = 0;
    for (uint32_t owner = 0; owner < PORTS; owner++) {
        for (uint32_t ticket = 0; ticket < NETQ_ENTRIES; ticket++) {
            held += (uint32_t)(f.holders[owner][ticket] >> port) & 1u;
        }
    }
    return held;
}

static uint64_t frames_counted(void)
{
    uint64_t counted = 0;
    for (uint32_t p = 0; p < PORTS; p++) {
        counted += f.state.counters[p].tx_frames;
    }
    return counted;
}

static uint32_t frames_that_wait(void)
{
    uint32_t waiting = 0;
    for (uint32_t p = 0; p < PORTS; p++) {
        waiting += f.front[p].to != 0;
    }
    return waiting;
}

/* Any state in which the rules hold. */
static void begin(void)
{
    config.port_count = PORTS;
    f.config = &config;
    f.port_count = PORTS;
    f.ports = ports;
    f.cost = nondet_u64();
    f.millisecond = nondet_u64();
    for (uint32_t p = 0; p < PORTS; p++) {
        struct forward_front *front = &f.front[p];
        ports[p].pool = pool[p];
        ports[p].pool_size = nondet_u32() % (POOL + 1u);
        f.paused[p] = nondet_bool();
        for (uint32_t ticket = 0; ticket < NETQ_ENTRIES; ticket++) {
            f.holders[p][ticket] = nondet_u64() & EVERY_PORT;
        }
        for (uint32_t q = 0; q < PORTS; q++) {
            f.prepaid[p][q] = nondet_u16();
        }
        front->to = nondet_u64() & EVERY_PORT;
        front->frame = any_frame();
        if (front->to != 0) {
            ASSUME(front->frame.owner == p && front->frame.ticket < NETQ_ENTRIES);
            ASSUME(f.holders[p][front->frame.ticket] == 0);
            memset(front->frame.unused, 0, sizeof(front->frame.unused));
            judged[p] = front->frame;
            allowed[p] = front->to;
        }
        for (uint32_t ticket = 0; ticket < NETQ_ENTRIES; ticket++) {
            out[p][ticket] = f.holders[p][ticket] != 0 || waits(p, ticket);
        }
    }
    for (uint32_t p = 0; p < PORTS; p++) {
        f.resets[p] = nondet_u32() % (NETQ_ENTRIES + 1u);
        f.held[p] = held_by(p) + f.resets[p];
        ASSUME(f.held[p] <= NETQ_ENTRIES);
    }
}

static void check_rules(void)
{
    for (uint32_t p = 0; p < PORTS; p++) {
        const struct forward_front *front = &f.front[p];
        ASSERT(f.held[p] == held_by(p) + f.resets[p] && f.held[p] <= NETQ_ENTRIES,
               "how many frames a receiver has");
        ASSERT(front->to == allowed[p], "a frame waits for all receivers that it has not reached");
        ASSERT(front->to == 0 || (front->frame.owner == p && front->frame.ticket < NETQ_ENTRIES &&
                                  f.holders[p][front->frame.ticket] == 0),
               "a frame that waits is in no other state");
        for (uint32_t ticket = 0; ticket < NETQ_ENTRIES; ticket++) {
            bool used = f.holders[p][ticket] != 0 || waits(p, ticket);
            ASSERT((f.holders[p][ticket] & ~EVERY_PORT) == 0, "only ports have frames");
            ASSERT(out[p][ticket] || !used, "no ticket comes back while its frame is in use");
            ASSERT(!out[p][ticket] || used || refused[p], "no ticket is lost");
        }
    }
}

void prove_forward(void);
void prove_forward(void)
{
    begin();
    uint32_t waiting = frames_that_wait();
    (void)forward_from(&f, PORT, nondet_u64());
    check_rules();
    ASSERT(f.judged == taken, "every frame that is taken is judged");
    ASSERT(taken + waiting == delivered + f.dropped + frames_that_wait(),
           "every frame reaches all its receivers, waits, or is counted as dropped");
    ASSERT(frames_counted() == put, "every delivery is counted");
    if (delivered == 1 && put == 2 && f.dropped == 1) {
        REACHED();
    }
    if (f.front[PORT].to != 0 && delivered == 1) {
        REACHED();
    }
}

void prove_returns(void);
void prove_returns(void)
{
    begin();
    uint32_t resets = f.resets[PORT];
    (void)collect_returns(&f, PORT);
    check_rules();
    ASSERT(f.resets[PORT] <= resets, "no more RSTs come back than were given");
    ASSERT(taken == 0 && put == 0, "no frame is taken or delivered");
    if (returned == 2) {
        REACHED();
    }
    if (f.breaches[PORT] != 0) {
        REACHED();
    }
    if (f.resets[PORT] < resets && returned == 1) {
        REACHED();
    }
}
