/* SPDX-License-Identifier: BSD-2-Clause */
#include "forward_parts.h"

/* docs/why/hostile-guests.md has the measurements behind these numbers. */
#define MORE_SEGMENTS 64u /* as much again for so many segments as for FORWARD_MORE_BYTES */
#define LIMIT_MS 8u       /* a port may owe */
#define PART 2u           /* in the long run, half of the time */
#define IDLE_MS 2u        /* what each idle moment lets a port owe more: a guest that wakes waits */
#define SCALE 16u         /* of the average: one tick may be more than a frame takes */
#define SAMPLE 64u        /* frames */
#define DROPPED 4u        /* so many of them take at least what one takes that passes */

static void attach(struct forward *f, const struct forward_port *ports, uint32_t count, uint64_t frequency)
{
    f->port_count = count;
    f->ports = ports;
    f->millisecond = frequency / 1000;
    for (uint32_t p = 0; p < count; p++) {
        netq_attach(&f->tx[p], &ports[p].rings->tx);
        netq_attach(&f->tx_done[p], &ports[p].rings->tx_done);
        netq_attach(&f->rx[p], &ports[p].rings->rx);
        netq_attach(&f->rx_done[p], &ports[p].rings->rx_done);
        account_init(&f->account[p], LIMIT_MS * f->millisecond, PART);
    }
}

const char *forward_init(struct forward *f, const struct vswitch_config *config,
                         const struct forward_port *ports, uint64_t frequency)
{
    memset(f, 0, sizeof(*f));
    f->config = config;
    const char *fault = vswitch_init(&f->state, config);
    if (fault == NULL) {
        attach(f, ports, config->port_count, frequency);
    }
    return fault;
}

const char *forward_init_vsock(struct forward *f, const struct vsock_config *config,
                               struct vsock_state *state, const struct forward_port *ports,
                               uint64_t frequency)
{
    memset(f, 0, sizeof(*f));
    f->vsock = config;
    f->vsock_state = state;
    const char *fault = vsock_init(state, config);
    if (fault == NULL) {
        attach(f, ports, config->port_count, frequency);
    }
    return fault;
}

/* What a port may owe when frames are taken from it again. */
static uint64_t owed_for_trust(const struct forward *f)
{
    return LIMIT_MS * f->millisecond / 4;
}

/* Charges a port so many times what the switch spends on a frame. */
void forward_charge(struct forward *f, uint32_t port, uint64_t now, uint32_t times)
{
    struct account *account = &f->account[port];
    uint64_t price = times * f->cost / SCALE;
    account_charge(account, now - min_u64(now, price), now);
    f->paused[port] = f->paused[port] || account->owed > account->limit;
}

/* How many small frames a frame that was judged counts as for a receiver. */
static uint32_t weight_of(const struct netq_frame *frame)
{
    uint32_t segments = frame->gso_size != 0 ? frame->length / frame->gso_size : 0;
    return 1 + frame->length / FORWARD_MORE_BYTES + segments / MORE_SEGMENTS;
}

/* The same for a frame that goes to these ports: its receivers' work as well, and for a question that of an
 * answer in advance, which is free of charge then. */
void forward_charge_for(struct forward *f, uint32_t from, uint64_t now, struct vswitch_verdict verdict,
                        uint32_t weight)
{
    uint32_t times = 1;
    bool one = (verdict.ports & (verdict.ports - 1)) == 0; /* an announcement to all answers none */
    for (uint64_t to = verdict.ports; to != 0; to &= to - 1) {
        uint32_t receiver = (uint32_t)__builtin_ctzll(to);
        times += FORWARD_RECEIVER * weight;
        if (verdict.asks && f->prepaid[from][receiver] < NETQ_ENTRIES) {
            f->prepaid[from][receiver]++;
            times += 1 + FORWARD_RECEIVER;
        } else if (!verdict.asks && one && f->prepaid[receiver][from] != 0) {
            f->prepaid[receiver][from]--;
            times -= 1 + FORWARD_RECEIVER;
        }
    }
    forward_charge(f, from, now, times);
}

static bool may_send(struct forward *f, uint32_t port, uint64_t now)
{
    if (f->paused[port] && account_due(&f->account[port], owed_for_trust(f)) <= now) {
        f->paused[port] = false;
    }
    return !f->paused[port];
}

/* Returns a frame to its owner. There is room: the ring has as many entries as there are tickets.
 */
void forward_give_back(struct forward *f, uint32_t owner, uint16_t ticket)
{
    struct netq_frame frame = {.owner = (uint16_t)owner, .ticket = ticket};
    if (netq_room(&f->tx_done[owner]) == 0) {
        f->breaches[owner]++;
        return;
    }
    netq_put(&f->tx_done[owner], &frame);
}

/* Takes returned frames from a receiver, at most a ring full: a VMM on another core may fill its ring as fast
 * as we empty it. */
static bool collect_returns(struct forward *f, uint32_t port)
{
    struct netq_frame frame;
    bool any = false;
    for (uint32_t i = 0; i < NETQ_ENTRIES && netq_look(&f->rx_done[port], &frame); i++) {
        netq_take(&f->rx_done[port]);
        any = true;
        uint64_t me = 1ULL << port;
        if (frame.owner == NETQ_SWITCH && f->resets[port] != 0) {
            f->resets[port]--;
            f->held[port]--;
            continue;
        }
        if (frame.owner >= f->port_count || frame.ticket >= NETQ_ENTRIES ||
            !(f->holders[frame.owner][frame.ticket] & me)) {
            f->breaches[port]++;
            continue;
        }
        f->held[port]--;
        f->holders[frame.owner][frame.ticket] &= ~me;
        if (f->holders[frame.owner][frame.ticket] == 0) {
            forward_give_back(f, frame.owner, frame.ticket);
        }
    }
    return any;
}

bool forward_can_take(struct forward *f, uint32_t port)
{
    return f->held[port] < NETQ_ENTRIES && netq_room(&f->rx[port]) != 0;
}

/* Whether a VMM may send this frame: inside its pool, under a ticket that is not in use. */
bool forward_valid(const struct forward *f, uint32_t port, const struct netq_frame *frame, uint32_t longest)
{
    uint32_t size = f->ports[port].pool_size;
    return frame->ticket < NETQ_ENTRIES && f->holders[port][frame->ticket] == 0 && frame->length != 0 &&
           frame->length <= longest && frame->offset <= size && frame->length <= size - frame->offset;
}

/* Judges a frame with its offload metadata, and reduces the metadata to what was judged. */
static struct vswitch_verdict judge(struct forward *f, uint32_t port, struct netq_frame *frame)
{
    struct vswitch_offload offload = {.flags = frame->flags,
                                      .gso_type = frame->gso_type,
                                      .hdr_len = frame->hdr_len,
                                      .gso_size = frame->gso_size,
                                      .csum_start = frame->csum_start,
                                      .csum_offset = frame->csum_offset};
    const uint8_t *bytes = f->ports[port].pool + frame->offset;
    struct vswitch_verdict verdict =
        vswitch_decide(f->config, &f->state, port, bytes, frame->length, &offload);
    *frame = (struct netq_frame){.offset = frame->offset,
                                 .length = frame->length,
                                 .owner = (uint16_t)port,
                                 .ticket = frame->ticket,
                                 .flags = offload.flags,
                                 .gso_type = offload.gso_type,
                                 .hdr_len = offload.hdr_len,
                                 .gso_size = offload.gso_size,
                                 .csum_start = offload.csum_start,
                                 .csum_offset = offload.csum_offset};
    return verdict;
}

void forward_deliver(struct forward *f, uint32_t from, uint64_t to, const struct netq_frame *frame)
{
    if (frame->owner == NETQ_SWITCH) {
        f->resets[from]++;
    } else {
        f->holders[from][frame->ticket] = to;
    }
    for (uint64_t rest = to; rest != 0; rest &= rest - 1) {
        uint32_t port = (uint32_t)__builtin_ctzll(rest);
        netq_put(&f->rx[port], frame);
        f->held[port]++;
        if (f->vsock != NULL) {
            f->vsock_state->counters[port].tx_packets++;
            f->vsock_state->counters[port].tx_bytes += frame->length;
        } else {
            vswitch_count_sent(&f->state, port, frame->length);
        }
    }
}

/* Those of `ports` that cannot take a frame now. */
static uint64_t unready(struct forward *f, uint64_t ports)
{
    uint64_t busy = 0;
    for (uint64_t rest = ports; rest != 0; rest &= rest - 1) {
        uint32_t port = (uint32_t)__builtin_ctzll(rest);
        if (!forward_can_take(f, port)) {
            busy |= 1ULL << port;
        }
    }
    return busy;
}

/* Judges the frame at the front of a port's ring, once. False when there is none that may be passed on, or
 * none within the budget of frames that are still to be taken from the ring. */
static bool judge_front(struct forward *f, uint32_t port, uint64_t now, uint32_t *budget)
{
    struct forward_front *front = &f->front[port];
    while (front->to == 0) {
        if (*budget == 0 || !may_send(f, port, now) || !netq_look(&f->tx[port], &front->frame)) {
            return false;
        }
        (*budget)--;
        netq_take(&f->tx[port]);
        f->judged++;
        if (f->vsock != NULL) {
            packets_judge(f, port, now);
            continue;
        }
        if (!forward_valid(f, port, &front->frame, NETQ_FRAME_MAX)) {
            f->breaches[port]++;
            f->dropped++;
            forward_charge(f, port, now, 1);
            continue;
        }
        struct vswitch_verdict verdict = judge(f, port, &front->frame);
        front->to = verdict.ports;
        forward_charge_for(f, port, now, verdict, weight_of(&front->frame));
        if (front->to == 0) {
            f->dropped++;
            forward_give_back(f, port, front->frame.ticket);
        }
    }
    return true;
}

/* Forwards from one port until its ring is empty, a receiver of its next frame is full, a ring full of frames
 * is taken (as above), or the port owes too much. */
static bool forward_from(struct forward *f, uint32_t port, uint64_t now)
{
    uint32_t budget = NETQ_ENTRIES;
    bool any = false;
    while (judge_front(f, port, now, &budget)) {
        if (unready(f, f->front[port].to) != 0) {
            break;
        }
        forward_deliver(f, port, f->front[port].to, &f->front[port].frame);
        f->front[port].to = 0;
        any = true;
    }
    return any || budget == 0;
}

static bool returns_matter(const struct forward *f)
{
    for (uint32_t p = 0; p < f->port_count; p++) {
        bool reset = f->vsock != NULL && f->vsock_state->owed[p] != 0;
        if (f->front[p].to != 0 || reset || netq_awaited(&f->tx_done[p])) {
            return true;
        }
    }
    return false;
}

bool forward_pass(struct forward *f, uint64_t now, uint64_t *wake)
{
    bool again = false;
    *wake = 0;
    f->judged = f->dropped = 0;
    for (uint32_t p = 0; p < f->port_count; p++) {
        again = collect_returns(f, p) || again;
    }
    for (uint32_t p = 0; p < f->port_count; p++) {
        again = forward_from(f, p, now) || again;
    }
    if (f->vsock != NULL) {
        packets_reset(f);
    }
    for (uint32_t p = 0; p < f->port_count; p++) {
        bool peer = netq_show(&f->rx[p]);
        peer = netq_show(&f->tx_done[p]) || peer;
        peer = netq_release(&f->tx[p]) || peer;
        netq_release(&f->rx_done[p]);
        *wake |= peer ? 1ULL << p : 0;
    }
    /* Announce the sleep, then look again: a frame may have arrived meanwhile. Returned frames need a wake-up
     * only if a frame waits for a receiver's ring, or an owner for pool bytes (it notifies us).
     */
    bool returns = returns_matter(f);
    for (uint32_t p = 0; p < f->port_count && !again; p++) {
        bool blocked = f->front[p].to != 0 || f->paused[p];
        again = (netq_sleep(&f->tx[p]) && !blocked) || (returns && netq_sleep(&f->rx_done[p]));
    }
    return again;
}

void forward_took(struct forward *f, uint64_t ticks)
{
    struct forward_sample *sample = &f->sample;
    /* A pass may have been preempted, so it is capped: no frame takes a tenth of a millisecond. */
    sample->ticks += min_u64(ticks, f->judged * (f->millisecond / 10));
    sample->judged += f->judged;
    sample->dropped += f->dropped;
    if (sample->judged < SAMPLE) {
        return;
    }
    /* Nothing tells what part the dropped frames have in it. They make others neither cheaper than they are
     * nor dearer for longer than they come: what one that passes takes lies between these two. */
    uint64_t low = SCALE * sample->ticks / sample->judged;
    uint64_t high =
        SCALE * sample->ticks * DROPPED / (DROPPED * sample->judged - (DROPPED - 1) * sample->dropped);
    if (f->cost == 0) {
        f->cost = high;
    } else if (f->cost < low || f->cost > high) {
        f->cost = (7 * f->cost + (f->cost < low ? low : high)) / 8;
    }
    *sample = (struct forward_sample){0};
}

/* Ports (bit set) that have frames which wait only because the port owes too much. */
static uint64_t owing(struct forward *f)
{
    struct netq_frame frame;
    uint64_t waiting = 0;
    for (uint32_t p = 0; p < f->port_count; p++) {
        if (f->paused[p] && f->front[p].to == 0 && netq_look(&f->tx[p], &frame)) {
            waiting |= 1ULL << p;
        }
    }
    return waiting;
}

bool forward_owes(struct forward *f)
{
    return owing(f) != 0;
}

void forward_idle(struct forward *f, uint64_t now)
{
    uint64_t waiting = owing(f);
    uint64_t count = 0;
    for (uint64_t rest = waiting; rest != 0; rest &= rest - 1) {
        count++;
    }
    uint64_t share = count == 0 ? 0 : IDLE_MS * f->millisecond / count;
    for (; waiting != 0; waiting &= waiting - 1) {
        uint32_t p = (uint32_t)__builtin_ctzll(waiting);
        struct account *account = &f->account[p];
        (void)account_left(account, now); /* what time has repaid so far counts once, not on top of this */
        account->owed = min_u64(account->owed, account->limit - share);
        f->paused[p] = false;
    }
}

uint64_t forward_deadline(const struct forward *f)
{
    uint64_t next = FORWARD_NEVER;
    for (uint32_t p = 0; p < f->port_count; p++) {
        /* A port whose next frame waits for a receiver goes on when that frame is delivered. */
        if (f->paused[p] && f->front[p].to == 0) {
            next = min_u64(next, account_due(&f->account[p], owed_for_trust(f)));
        }
    }
    return next;
}
