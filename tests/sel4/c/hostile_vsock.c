/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * A guest kernel that attacks its vsock device and the switch behind it, as hostile.c attacks the network.
 * The rules let it connect to the server's USB/IP port and to one port of the witness (witness.c).
 *
 * After a key on its console it asks for what no rule allows, tells one lie on each of several connections,
 * and attacks in all ways for SECONDS. Then it behaves, and makes the witness say what it has seen.
 */
#include "hostile_vsock.h"
#include "hostile_driver.h"
#include "hostile_queues.h"
#include "hostile_vsock_rings.h"

#define STRING2(x) #x
#define STRING(x) STRING2(x)
#define MAX_PAYLOAD 65536u

static uint32_t aborts;
static uint32_t
    foreign; /* packets for us from where no rule leads, RSTs left out: they answer what we sent */
static uint32_t opened, ended, stalls, transport_resets;

uint64_t on_exception(uint64_t syndrome, uint64_t pc, uint64_t link);
uint64_t on_exception(uint64_t syndrome, uint64_t pc, uint64_t link)
{
    aborts++;
    return (syndrome >> 26 & 0x3f) == 0x21 ? link : pc + 4;
}

/* Takes what has come. The operation of the last packet for our port that has one of these (bit set), or 0.
 */
static uint32_t drain(uint32_t own_port, uint32_t wanted)
{
    const volatile struct header *packet;
    uint32_t id, length, found = 0;
    while ((packet = receive(&id, &length)) != NULL) {
        uint32_t operation = packet->operation;
        bool witness = packet->source_cid == WITNESS_CID && packet->source_port == WITNESS_PORT;
        bool server = packet->source_cid == SERVER_CID && packet->source_port == USBIP_PORT;
        foreign += operation != RST && !witness && !server;
        opened += operation == RESPONSE;
        ended += operation == RST;
        if (packet->destination_port == own_port && operation < 32 && (wanted & 1u << operation)) {
            found = operation;
        }
        give_received_back(id);
    }
    uint16_t events = used_by_device(&vsock[EVENT]);
    transport_resets += (uint16_t)(events - vsock[EVENT].seen);
    vsock[EVENT].seen = events;
    return found;
}

static uint32_t await(uint32_t own_port, uint32_t wanted)
{
    uint32_t found = 0;
    for (uint64_t end = now() + ANSWER_SECONDS * hertz(); found == 0 && now() < end;) {
        found = drain(own_port, wanted);
    }
    return found;
}

/* What a REQUEST is answered with, or 0. */
static uint32_t request(uint64_t cid, uint32_t port, uint32_t own_port)
{
    struct header header = header_to(cid, port, own_port, REQUEST);
    return send(&header, 0, false) ? await(own_port, 1u << RESPONSE | 1u << RST) : 0;
}

/* Each is answered by RST, or by nothing where the source is not ours. */
static void ask_for_what_is_not_allowed(void)
{
    static const struct {
        uint64_t cid;
        uint32_t port;
    } ways[] = {
        {CLIENT_CID, USBIP_PORT},
        {CLIENT_CID, WITNESS_PORT},
        {SERVER_CID, WITNESS_PORT},
        {SERVER_CID, 22},
        {SERVER_CID, 0xffffffff},
        {WITNESS_CID, USBIP_PORT},
        {WITNESS_CID, 0},
        {ATTACKER_CID, WITNESS_PORT},
        {0, WITNESS_PORT},
        {1, WITNESS_PORT},
        {2, USBIP_PORT},
        {0xffffffff, WITNESS_PORT},
        {1ULL << 32 | WITNESS_CID, WITNESS_PORT}, /* whose lower half would be right */
        {~0ULL, WITNESS_PORT},
    };
    static const uint64_t sources[] = {
        SERVER_CID, CLIENT_CID, WITNESS_CID, 0, 1, 2, 1ULL << 32 | ATTACKER_CID};
    uint32_t refused = 0, asked = sizeof(ways) / sizeof(ways[0]);
    for (uint32_t i = 0; i < asked; i++) {
        refused += request(ways[i].cid, ways[i].port, 900 + i) == RST;
    }
    for (uint32_t i = 0; i < sizeof(sources) / sizeof(sources[0]); i++) {
        struct header header = header_to(WITNESS_CID, WITNESS_PORT, 950 + i, REQUEST);
        header.source_cid = sources[i];
        send(&header, 0, false);
    }
    say_number("hostile: asked ", asked, "");
    say_number(" refused ", refused, "");
    say_number(" opened ", opened, "\n");
}

/* One lie on an open connection. False: there is none of this number. */
static bool tell(uint32_t lie, uint32_t own_port)
{
    struct header header = header_to(WITNESS_CID, WITNESS_PORT, own_port, CREDIT_UPDATE);
    uint32_t payload = 0;
    switch (lie) {
    case 0: /* beyond the receiver's buffer */
        header.operation = RW;
        header.length = payload = MAX_PAYLOAD;
        break;
    case 1: /* taken before it was sent */
        header.fwd_cnt = 0xffffffff;
        break;
    case 2:
        header.fwd_cnt = 17;
        break;
    case 3:
        header.operation = RW;
        header.length = 0xffffffff;
        payload = 32;
        break;
    case 4:
        header.operation = RW;
        payload = 32;
        break;
    case 5:
        header.operation = RW;
        header.length = 64;
        payload = 32;
        break;
    case 6: /* data of nothing */
        header.operation = RW;
        break;
    case 7:
        header.operation = RW;
        header.length = payload = MAX_PAYLOAD + 1;
        break;
    case 8: /* data where none may be */
        header.length = payload = 32;
        break;
    case 9:
        header.operation = 0;
        break;
    case 10:
        header.operation = 8;
        break;
    case 11:
        header.operation = 0xffff;
        break;
    case 12: /* SOCK_SEQPACKET */
        header.type = 2;
        break;
    case 13:
        header.operation = SHUTDOWN;
        header.flags = 4;
        break;
    case 14:
        header.operation = SHUTDOWN;
        header.flags = 0xffffffff;
        break;
    case 15: /* the listener's to say */
        header.operation = RESPONSE;
        break;
    case 16: /* again */
        header.operation = REQUEST;
        break;
    default:
        return false;
    }
    send(&header, payload, lie % 2 == 0);
    return true;
}

static bool send_data(uint32_t own_port, uint32_t word, uint32_t bytes)
{
    struct header header = header_to(WITNESS_CID, WITNESS_PORT, own_port, RW);
    header.length = bytes;
    *(volatile uint32_t *)(PACKET + HEADER) = word;
    return send(&header, bytes, false);
}

/* Each on a connection of its own, which the switch ends. The credit that changes for ever is no lie. */
static void lie(void)
{
    uint32_t told = 0, caught = 0, port = 1000;
    for (bool more = true; more; port++) {
        if (request(WITNESS_CID, WITNESS_PORT, port) != RESPONSE || !send_data(port, 0, 32)) {
            break;
        }
        struct header credit = header_to(WITNESS_CID, WITNESS_PORT, port, CREDIT_UPDATE);
        for (uint32_t i = 0; i < 4; i++) {
            credit.buf_alloc = i % 2 ? 0xffffffff : 0;
            send(&credit, 0, false);
        }
        more = tell(told, port);
        if (more) {
            told++;
            caught += await(port, 1u << RST) == RST;
        }
    }
    say_number("hostile: lies ", told, "");
    say_number(" caught ", caught, "\n");
}

static uint64_t some_cid(void)
{
    static const uint64_t some[] = {
        SERVER_CID, CLIENT_CID, WITNESS_CID, ATTACKER_CID, 0,
        1,          2,          0xffffffff,  ~0ULL,        1ULL << 32 | WITNESS_CID};
    return below(8) ? some[below(10)] : any();
}

static uint32_t some_port(void)
{
    static const uint32_t some[] = {USBIP_PORT, WITNESS_PORT, 22, 0, 1, 1023, 0xffffffff};
    return below(8) ? some[below(7)] : (uint32_t)any();
}

/* Packets that are often nearly right, so that connections come and go between the lies. */
static void forge(void)
{
    for (uint32_t i = 0; i < 64; i++) {
        bool to_witness = below(3) != 0;
        uint32_t payload = below(16) ? 0 : below(64);
        struct header header =
            header_to(to_witness ? WITNESS_CID : SERVER_CID, to_witness ? WITNESS_PORT : USBIP_PORT,
                      2000 + below(4), (uint16_t)(below(16) ? 1 + below(7) : awkward()));
        if (header.operation == RW) {
            payload = below(8) ? 1 + below(256) : MAX_PAYLOAD - 1 + below(3);
        }
        header.length = below(10) ? payload : some_length();
        switch (below(12)) {
        case 0:
            header.source_cid = some_cid();
            break;
        case 1:
            header.destination_cid = some_cid();
            break;
        case 2:
            header.destination_port = some_port();
            break;
        case 3:
            header.source_port = some_port();
            break;
        case 4:
            header.type = (uint16_t)awkward();
            break;
        case 5:
            header.fwd_cnt = below(2) ? below(20) : (uint32_t)awkward();
            break;
        case 6:
            header.buf_alloc = (uint32_t)awkward();
            break;
        case 7:
            header.flags = (uint32_t)awkward();
            break;
        default:
            header.flags = header.operation == SHUTDOWN ? below(4) : 0;
            break;
        }
        if (!send(&header, payload, below(4) == 0)) {
            stalls++;
            return;
        }
        if (header.operation == REQUEST) {
            await(header.source_port, below(2) ? 1u << RESPONSE | 1u << RST : ~0u);
        }
        drain(0, 0);
    }
}

/* One operation by the hundred, from more ports than may be open; a CREDIT_REQUEST makes the receiver answer.
 */
static void flood(void)
{
    static const uint16_t operations[] = {REQUEST, RST, CREDIT_REQUEST, CREDIT_UPDATE};
    bool to_witness = below(2);
    bool takes = below(4) != 0;
    uint16_t operation = operations[below(4)];
    uint64_t cid = to_witness ? WITNESS_CID : SERVER_CID;
    uint32_t port = to_witness ? WITNESS_PORT : USBIP_PORT;
    if (operation != REQUEST) {
        request(cid, port, 3000);
    }
    for (uint32_t i = 0; i < 300; i++) {
        struct header header = header_to(cid, port, 3000 + (operation == CREDIT_REQUEST ? 0 : i), operation);
        if (!send(&header, 0, false)) {
            stalls++;
            break;
        }
        if (takes) {
            drain(0, 0);
        }
    }
    drain(0, 0);
}

/* Connections that are half-way when the device goes and comes back, which nothing of before may survive. */
static void reset_in_the_middle(void)
{
    for (uint32_t i = 0; i < 4; i++) {
        request(WITNESS_CID, WITNESS_PORT, 4000 + i);
        send_data(4000 + i, 0, 64);
        struct header header = header_to(SERVER_CID, USBIP_PORT, 4000 + i, REQUEST);
        send(&header, 0, false); /* whose answer meets the reset */
        if (below(2)) {
            set(VSOCK, 0x70, 0);
        }
        start_vsock();
        send_data(4000 + i, 0, 64);
        header.operation = RW;
        header.length = 32;
        send(&header, 32, false);
        await(4000 + i, ~0u);
    }
}

/* Takes nothing until its connections are gone, with event buffers that cannot be used for saying so. */
static void stall_with_a_broken_event_queue(void)
{
    static const struct {
        uint32_t bytes;
        uint16_t flags;
    } buffers[] = {{8, 0}, {0, 2}, {3, 2}, {0xffffffff, 2}, {8, 2 | 4}, {8, 2 | 1}};
    uint32_t kind = below(6);
    start_device(VSOCK, VSOCK_RINGS, vsock, 3);
    give_event_buffers(buffers[kind].bytes, buffers[kind].flags);
    for (uint32_t i = 0; i < 8; i++) {
        struct header header = header_to(below(2) ? WITNESS_CID : SERVER_CID, USBIP_PORT, 5000 + i, REQUEST);
        send(&header, 0, false);
    }
    /* The limit of waiting is 1 s (virtio_vsock.h). */
    for (uint64_t end = now() + 3 * hertz() / 2; now() < end;) {
        set(VSOCK, 0x50, below(3));
    }
    give_receive_buffers();
    drain(0, 0);
}

/* The same with an event queue that works: it is told that its connections are gone. */
static void stall(void)
{
    start_device(VSOCK, VSOCK_RINGS, vsock, 3);
    give_event_buffers(8, 2);
    struct header header = header_to(CLIENT_CID, USBIP_PORT, 5000, REQUEST);
    uint32_t before = transport_resets;
    send(&header, 0, false);
    for (uint64_t end = now() + 3 * hertz() / 2; now() < end;) {
        set(VSOCK, 0x50, RX);
    }
    give_receive_buffers();
    for (uint64_t end = now() + ANSWER_SECONDS * hertz(); transport_resets == before && now() < end;) {
        drain(0, 0);
    }
}

static void one_round(uint32_t way)
{
    switch (way) {
    case 0:
        forge();
        break;
    case 1:
        flood();
        break;
    case 2:
        reset_in_the_middle();
        break;
    case 3:
        queues();
        break;
    case 4:
        storm();
        break;
    case 5:
        registers();
        break;
    default:
        stall_with_a_broken_event_queue();
        break;
    }
}

/* Half of the rounds forge packets, and the first rounds take each way once. */
static uint64_t attack(void)
{
    enum { WAYS = 7 };
    uint64_t rounds = 0;
    for (uint64_t end = now() + SECONDS * hertz(); rounds < WAYS || now() < end; rounds++) {
        start_vsock();
        one_round(rounds < WAYS ? (uint32_t)rounds : below(2) ? 0 : below(WAYS));
    }
    return rounds;
}

void main(void);
void main(void)
{
    say("\nrouter: guest " STRING(NAME) ": userspace up\n");
    random_state = SEED;
    await_key();
    start_vsock();
    uint64_t began = now();
    ask_for_what_is_not_allowed();
    lie();
    break_queues();
    for (uint32_t i = 0; i < 4; i++) {
        registers();
    }
    start_vsock();
    stall();
    say_number("hostile: transport resets ", transport_resets, "\n");
    uint64_t rounds = attack();
    say_number("hostile: rounds ", rounds, "");
    say_number(" aborts ", aborts, "");
    say_number(" opened ", opened, "");
    say_number(" ended ", ended, "");
    say_number(" stalls ", stalls, "");
    say_number(" foreign ", foreign, "");
    say_number(" ms ", (now() - began) / (hertz() / 1000), "\n");
    start_vsock();
    bool served = request(SERVER_CID, USBIP_PORT, 6000) == RESPONSE;
    say(served ? "hostile: reaches the server\n" : "hostile: does not reach the server\n");
    bool seen = request(WITNESS_CID, WITNESS_PORT, 6000) == RESPONSE && send_data(6000, 0x21646e65, 32);
    say(seen ? "hostile: has ended\n" : "hostile: does not reach the witness\n");
}
