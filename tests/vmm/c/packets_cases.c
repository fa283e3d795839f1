/* SPDX-License-Identifier: BSD-2-Clause */

/* The switch between three guests with vsock devices, with the test in the places of their VMMs. */
#include "case.h"
#include "publish.h"

#define PORTS 3u
#define POOL 0x4000u
#define CID(port) (3u + (port))
#define SERVICE 3240u
#define CLIENT_PORT 1024u

enum { SERVER, CLIENT, OTHER };

static const struct vsock_port ports[PORTS] = {
    {CID(SERVER), "server"}, {CID(CLIENT), "client"}, {CID(OTHER), "other"}};
static const struct vsock_rule rules[] = {{CLIENT, SERVER, SERVICE}, {OTHER, SERVER, SERVICE}};
static const struct vsock_config config = {ports, rules, PORTS, 2};
static struct vsock_state state;
static struct netq_port shared[PORTS];
static uint8_t pools[PORTS][POOL];
static const struct forward_port wires[PORTS] = {
    {&shared[0], pools[0], POOL, 0}, {&shared[1], pools[1], POOL, 1}, {&shared[2], pools[2], POOL, 2}};
static struct forward forward;
static struct netq_end tx[PORTS], tx_done[PORTS], rx[PORTS], rx_done[PORTS];
static uint64_t now;

static void run(void)
{
    uint64_t wake;
    bool again;
    do {
        again = forward_pass(&forward, now, &wake);
        forward_took(&forward, 0);
    } while (again);
}

static void say(uint32_t port, enum netq_link link)
{
    const struct netq_frame entry = {.vsock = {.operation = (uint8_t)link}};
    netq_put(&tx[port], &entry);
    netq_show(&tx[port]);
    run();
}

static void start(void)
{
    memset(shared, 0, sizeof(shared));
    CHECK(forward_init_vsock(&forward, &config, &state, wires, 1000000) == NULL);
    for (uint32_t p = 0; p < PORTS; p++) {
        netq_attach(&tx[p], &shared[p].tx);
        netq_attach(&tx_done[p], &shared[p].tx_done);
        netq_attach(&rx[p], &shared[p].rx);
        netq_attach(&rx_done[p], &shared[p].rx_done);
        say(p, NETQ_LINK_UP);
    }
}

/* Puts a packet of a port into its pool, under that ticket; `to` may be no guest's port. */
static void compose(uint32_t from, uint32_t to, uint16_t ticket, uint16_t operation, uint32_t payload)
{
    bool opens = from != SERVER;
    struct vsock_header header = {.source_cid = CID(from),
                                  .destination_cid = CID(to),
                                  .source_port = opens ? CLIENT_PORT : SERVICE,
                                  .destination_port = opens ? SERVICE : CLIENT_PORT,
                                  .length = payload,
                                  .type = VSOCK_STREAM,
                                  .operation = operation,
                                  .buf_alloc = 65536};
    vsock_write(pools[from] + 1024u * ticket, &header);
}

static void submit(uint32_t from, uint16_t ticket, uint32_t payload)
{
    const struct netq_frame entry = {
        .offset = 1024u * ticket, .length = VSOCK_HEADER + payload, .ticket = ticket};
    netq_put(&tx[from], &entry);
    netq_show(&tx[from]);
}

static void send(uint32_t from, uint32_t to, uint16_t ticket, uint16_t operation, uint32_t payload)
{
    compose(from, to, ticket, operation, payload);
    submit(from, ticket, payload);
    run();
}

/* The next packet for a port, which it returns at once. */
static struct netq_frame take(uint32_t port)
{
    struct netq_frame entry;
    CHECK(netq_look(&rx[port], &entry));
    netq_take(&rx[port]);
    netq_release(&rx[port]);
    netq_put(&rx_done[port], &entry);
    netq_show(&rx_done[port]);
    run();
    return entry;
}

static bool nothing_for(uint32_t port)
{
    struct netq_frame entry;
    return !netq_look(&rx[port], &entry);
}

/* Whether the next thing that comes back to a port is this ticket. */
static bool is_back(uint32_t port, uint16_t ticket)
{
    struct netq_frame entry;
    if (!netq_look(&tx_done[port], &entry)) {
        return false;
    }
    netq_take(&tx_done[port]);
    netq_release(&tx_done[port]);
    return entry.ticket == ticket;
}

static void connect(uint32_t client)
{
    send(client, SERVER, 0, VSOCK_REQUEST, 0);
    EQUAL(take(SERVER).vsock.operation, VSOCK_REQUEST);
    CHECK(is_back(client, 0));
    send(SERVER, client, 0, VSOCK_RESPONSE, 0);
    EQUAL(take(client).vsock.operation, VSOCK_RESPONSE);
    CHECK(is_back(SERVER, 0));
}

CASE(a_packet_on_an_allowed_connection_arrives_with_its_payload_in_its_senders_pool)
{
    start();
    connect(CLIENT);
    send(CLIENT, SERVER, 3, VSOCK_RW, 48);
    struct netq_frame entry = take(SERVER);
    EQUAL(entry.owner, CLIENT);
    EQUAL(entry.offset, 3 * 1024 + VSOCK_HEADER);
    EQUAL(entry.length, 48);
    EQUAL(entry.vsock.operation, VSOCK_RW);
    EQUAL(entry.vsock.type, VSOCK_STREAM);
    EQUAL(entry.vsock.source_port, CLIENT_PORT);
    EQUAL(entry.vsock.destination_port, SERVICE);
    EQUAL(entry.vsock.buf_alloc, 65536);
    CHECK(is_back(CLIENT, 3));
    EQUAL(forward.breaches[CLIENT] + forward.breaches[SERVER], 0);
}

CASE(what_no_rule_allows_is_answered_by_a_reset_and_its_place_comes_back)
{
    start();
    send(CLIENT, OTHER, 0, VSOCK_REQUEST, 0);
    CHECK(nothing_for(OTHER));
    CHECK(is_back(CLIENT, 0));
    struct netq_frame entry = take(CLIENT);
    EQUAL(entry.vsock.operation, VSOCK_RST);
    EQUAL(entry.owner, NETQ_SWITCH);
    EQUAL(entry.offset, CID(OTHER));
    EQUAL(entry.length, 0);
    EQUAL(entry.vsock.source_port, SERVICE);
    EQUAL(entry.vsock.destination_port, CLIENT_PORT);
    EQUAL(forward.held[CLIENT], 0);
}

CASE(a_context_id_that_no_guest_has_answers_with_a_reset_too)
{
    start();
    send(CLIENT, 96, 0, VSOCK_REQUEST, 0);
    EQUAL(take(CLIENT).offset, 99);
}

CASE(a_forged_source_goes_nowhere_and_gets_no_answer)
{
    start();
    connect(CLIENT);
    compose(OTHER, SERVER, 0, VSOCK_RW, 10);
    pools[OTHER][0] = CID(CLIENT);
    submit(OTHER, 0, 10);
    run();
    CHECK(nothing_for(SERVER) && nothing_for(CLIENT) && nothing_for(OTHER));
    CHECK(is_back(OTHER, 0));
    EQUAL(state.counters[OTHER].drops[VSOCK_REASON_SOURCE_CID], 1);
}

CASE(a_guest_whose_device_has_not_started_refuses_connections)
{
    start();
    say(SERVER, NETQ_LINK_DOWN);
    send(CLIENT, SERVER, 0, VSOCK_REQUEST, 0);
    EQUAL(take(CLIENT).vsock.operation, VSOCK_RST);
    CHECK(nothing_for(SERVER));
}

CASE(a_guest_that_restarts_has_its_connections_reset_at_the_other_ends_only)
{
    start();
    connect(CLIENT);
    connect(OTHER);
    say(SERVER, NETQ_LINK_DOWN);
    EQUAL(take(CLIENT).vsock.operation, VSOCK_RST);
    EQUAL(take(OTHER).vsock.operation, VSOCK_RST);
    say(SERVER, NETQ_LINK_UP);
    CHECK(nothing_for(SERVER) && nothing_for(CLIENT) && nothing_for(OTHER));
    send(CLIENT, SERVER, 0, VSOCK_RW, 10);
    EQUAL(take(CLIENT).vsock.operation, VSOCK_RST);
    connect(CLIENT);
}

CASE(what_is_written_into_the_pool_after_the_judgement_changes_no_header)
{
    start();
    connect(CLIENT);
    compose(CLIENT, SERVER, 3, VSOCK_RW, 48);
    submit(CLIENT, 3, 48);
    run();
    compose(CLIENT, SERVER, 3, VSOCK_RST, 0);
    struct netq_frame entry = take(SERVER);
    EQUAL(entry.vsock.operation, VSOCK_RW);
    EQUAL(entry.length, 48);
}

/* Fills a receiver's ring: it takes nothing of what a client sends. */
static void fill(void)
{
    start();
    connect(CLIENT);
    for (uint16_t i = 0; i < NETQ_ENTRIES; i++) {
        const struct netq_frame entry = {.offset = 0, .length = VSOCK_HEADER + 1, .ticket = i};
        if (i == 0) {
            compose(CLIENT, SERVER, 0, VSOCK_RW, 1);
        }
        netq_put(&tx[CLIENT], &entry);
    }
    netq_show(&tx[CLIENT]);
    run();
    EQUAL(forward.held[SERVER], NETQ_ENTRIES);
}

CASE(a_packet_for_a_full_receiver_waits_and_is_delivered_when_there_is_room)
{
    fill();
    send(OTHER, SERVER, 0, VSOCK_REQUEST, 0);
    CHECK(nothing_for(OTHER) && !is_back(OTHER, 0));
    send(OTHER, CLIENT, 1, VSOCK_REQUEST, 0); /* behind it, in order */
    CHECK(nothing_for(OTHER));
    (void)take(SERVER);
    EQUAL(take(OTHER).vsock.operation, VSOCK_RST);
    for (uint32_t i = 1; i < NETQ_ENTRIES; i++) {
        EQUAL(take(SERVER).vsock.operation, VSOCK_RW);
    }
    EQUAL(take(SERVER).vsock.operation, VSOCK_REQUEST);
}

CASE(what_waits_for_a_receiver_that_goes_comes_back_to_its_sender)
{
    fill();
    send(OTHER, SERVER, 0, VSOCK_REQUEST, 0);
    say(SERVER, NETQ_LINK_DOWN);
    CHECK(is_back(OTHER, 0));
    EQUAL(take(OTHER).vsock.operation, VSOCK_RST);
    EQUAL(take(CLIENT).vsock.operation, VSOCK_RST);
}

CASE(a_guest_that_takes_none_of_its_resets_keeps_only_itself_waiting)
{
    start();
    for (uint32_t i = 0; i < NETQ_ENTRIES + 10; i++) {
        send(CLIENT, OTHER, (uint16_t)(i % 8), VSOCK_REQUEST, 0);
        (void)is_back(CLIENT, (uint16_t)(i % 8));
    }
    EQUAL(forward.held[CLIENT], NETQ_ENTRIES);
    connect(OTHER);
    for (uint32_t i = 0; i < NETQ_ENTRIES + 10; i++) {
        EQUAL(take(CLIENT).vsock.operation, VSOCK_RST);
    }
    EQUAL(forward.held[CLIENT], 0);
    EQUAL(forward.resets[CLIENT], 0);
}

CASE(entries_that_no_vmm_of_ours_writes_are_counted_and_ignored)
{
    const struct netq_frame bad[] = {
        {.vsock = {.operation = 7}},                     /* no such message */
        {.length = VSOCK_HEADER - 1},                    /* no header */
        {.offset = POOL - 10, .length = VSOCK_HEADER},   /* outside the pool */
        {.offset = 0xffffffff, .length = VSOCK_HEADER},  /* likewise */
        {.length = NETQ_PACKET_MAX + 1},                 /* too long */
        {.length = VSOCK_HEADER, .ticket = NETQ_ENTRIES} /* no such ticket */
    };
    start();
    for (uint32_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        netq_put(&tx[CLIENT], &bad[i]);
    }
    netq_show(&tx[CLIENT]);
    run();
    EQUAL(forward.breaches[CLIENT], 6);
    CHECK(nothing_for(CLIENT) && nothing_for(SERVER));
    connect(CLIENT);
}

CASE(a_reset_that_was_not_given_cannot_be_returned)
{
    const struct netq_frame entry = {.owner = NETQ_SWITCH};
    start();
    netq_put(&rx_done[CLIENT], &entry);
    netq_show(&rx_done[CLIENT]);
    run();
    EQUAL(forward.breaches[CLIENT], 1);
    EQUAL(forward.held[CLIENT], 0);
}

CASE(a_guest_that_sends_only_what_is_refused_has_to_wait)
{
    uint64_t wake;
    start();
    now = 1000000;
    forward.cost = 16 * 100; /* scaled ticks: a packet takes 100 us of the test's counter */
    for (uint32_t i = 0; i < 2000 && !forward.paused[CLIENT]; i++) {
        compose(CLIENT, OTHER, 0, VSOCK_REQUEST, 0);
        submit(CLIENT, 0, 0);
        (void)forward_pass(&forward, now, &wake);
        if (!forward.paused[CLIENT] && !nothing_for(CLIENT)) {
            (void)take(CLIENT);
        }
    }
    CHECK(forward.paused[CLIENT]);
    CHECK(!forward.paused[OTHER] && !forward.paused[SERVER]);
    CHECK(forward_deadline(&forward) != FORWARD_NEVER);
}

CASE(who_leaves_pays_for_the_reset_of_each_of_its_connections)
{
    uint64_t owed[2];
    start();
    now = 1000000;
    forward.cost = 16 * 10; /* scaled ticks: a packet takes 10 us of the test's counter */
    for (uint32_t connections = 0; connections < 2; connections++) {
        if (connections != 0) {
            connect(CLIENT);
        }
        uint64_t before = forward.account[CLIENT].owed;
        say(CLIENT, NETQ_LINK_DOWN);
        owed[connections] = forward.account[CLIENT].owed - before;
        say(CLIENT, NETQ_LINK_UP);
    }
    EQUAL(take(SERVER).vsock.operation, VSOCK_RST);
    CHECK(owed[0] != 0);
    EQUAL(owed[1] - owed[0], 32 * 10);
}

CASE(a_vmm_that_waits_for_room_in_its_ring_is_notified)
{
    uint64_t wake;
    start();
    for (uint32_t i = 0; i < NETQ_ENTRIES; i++) {
        const struct netq_frame entry = {.vsock = {.operation = i & 1 ? NETQ_LINK_UP : NETQ_LINK_DOWN}};
        netq_put(&tx[CLIENT], &entry);
    }
    netq_show(&tx[CLIENT]);
    CHECK(!netq_await_room(&tx[CLIENT]));
    (void)forward_pass(&forward, now, &wake);
    EQUAL(wake, 1u << CLIENT);
}

CASE(what_is_published_tells_packets_connections_and_refusals_of_each_guest)
{
    static struct tally tally;
    uint64_t value[TALLY_VALUES];
    uint32_t kind, values;
    start();
    connect(CLIENT);
    send(CLIENT, SERVER, 3, VSOCK_RW, 48);
    EQUAL(take(SERVER).length, 48);
    send(CLIENT, OTHER, 1, VSOCK_REQUEST, 0);
    say(OTHER, NETQ_LINK_DOWN);
    publish(&forward, &tally);
    for (uint32_t port = 0; port < PORTS; port++) {
        CHECK(tally_read(&tally, port, &kind, &values, value));
        EQUAL(kind, TALLY_PACKETS);
        EQUAL(values, TALLY_DROPS + VSOCK_REASON_COUNT);
        EQUAL(value[TALLY_RX_FRAMES], state.counters[port].rx_packets);
        EQUAL(value[TALLY_RX_BYTES], port == CLIENT ? 48 : 0);
        EQUAL(value[TALLY_TX_BYTES], port == SERVER ? 48 : 0);
        EQUAL(value[TALLY_CONNECTED], port != OTHER);
        EQUAL(value[TALLY_OPEN], port != OTHER);
        EQUAL(value[TALLY_DROPS + VSOCK_REASON_NOT_ALLOWED], port == CLIENT);
        EQUAL(value[TALLY_BREACHES], 0);
    }
}

#define NAMED(name)                                                                                          \
    {                                                                                                        \
#name, name                                                                                          \
    }

int main(int argc, char **argv)
{
    static const struct test_case listed[] = {
        NAMED(a_packet_on_an_allowed_connection_arrives_with_its_payload_in_its_senders_pool),
        NAMED(what_no_rule_allows_is_answered_by_a_reset_and_its_place_comes_back),
        NAMED(a_context_id_that_no_guest_has_answers_with_a_reset_too),
        NAMED(a_forged_source_goes_nowhere_and_gets_no_answer),
        NAMED(a_guest_whose_device_has_not_started_refuses_connections),
        NAMED(a_guest_that_restarts_has_its_connections_reset_at_the_other_ends_only),
        NAMED(what_is_written_into_the_pool_after_the_judgement_changes_no_header),
        NAMED(a_packet_for_a_full_receiver_waits_and_is_delivered_when_there_is_room),
        NAMED(what_waits_for_a_receiver_that_goes_comes_back_to_its_sender),
        NAMED(a_guest_that_takes_none_of_its_resets_keeps_only_itself_waiting),
        NAMED(entries_that_no_vmm_of_ours_writes_are_counted_and_ignored),
        NAMED(a_reset_that_was_not_given_cannot_be_returned),
        NAMED(a_guest_that_sends_only_what_is_refused_has_to_wait),
        NAMED(who_leaves_pays_for_the_reset_of_each_of_its_connections),
        NAMED(a_vmm_that_waits_for_room_in_its_ring_is_notified),
        NAMED(what_is_published_tells_packets_connections_and_refusals_of_each_guest),
        {NULL, NULL}};
    return run_case(listed, argc, argv);
}
