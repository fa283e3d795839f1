/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * A guest kernel that takes connections at vsock port WITNESS_PORT, as the rules allow its neighbour, and
 * looks at every packet that its device delivers. What the rules or the protocol do not allow is `bad`, and
 * said at once. It announces WINDOW bytes for each connection and sends GREETING bytes on it, no more.
 *
 * A payload that begins with "end!" makes it say what it has seen.
 */
#include "hostile_driver.h"
#include "hostile_vsock.h"

#define STRING2(x) #x
#define STRING(x) STRING2(x)
#define WINDOW 4096u
#define GREETING 16u
#define CONNECTIONS 64u /* as many as the switch lets one rule have */

uint64_t on_exception(uint64_t syndrome, uint64_t pc, uint64_t link);
uint64_t on_exception(uint64_t syndrome, uint64_t pc, uint64_t link)
{
    return (syndrome >> 26 & 0x3f) == 0x21 ? link : pc + 4;
}

static struct connection {
    uint32_t port; /* the opener's; 0: none */
    uint32_t received;
    uint32_t announced;
    uint32_t sent;
    uint32_t closed; /* flags of SHUTDOWN so far */
} connections[CONNECTIONS];

static uint32_t packets, requests, resets, data, bad;
static uint32_t replies, late; /* what the attacker was sent, and RSTs of connections that are gone */
static uint64_t payload_bytes;

static struct connection *find(uint32_t port)
{
    for (uint32_t i = 0; i < CONNECTIONS; i++) {
        if (connections[i].port == port) {
            return &connections[i];
        }
    }
    return NULL;
}

static void reply(const struct connection *connection, uint16_t operation, uint32_t payload)
{
    const struct header header = {.source_cid = own_cid(),
                                  .destination_cid = ATTACKER_CID,
                                  .source_port = WITNESS_PORT,
                                  .destination_port = connection->port,
                                  .length = payload,
                                  .type = STREAM,
                                  .operation = operation,
                                  .buf_alloc = WINDOW,
                                  .fwd_cnt = connection->announced - WINDOW};
    replies++;
    send(&header, payload, false);
}

/* NULL, or what is wrong with a packet whose form is right. */
static const char *take(const struct header *header)
{
    struct connection *connection = find(header->source_port);
    if (header->operation == REQUEST) {
        struct connection *slot = find(0);
        if (connection || !slot || header->source_port == 0) {
            return connection ? "a second request" : "a connection too many";
        }
        *slot = (struct connection){.port = header->source_port, .announced = WINDOW};
        requests++;
        reply(slot, RESPONSE, 0);
        if (header->buf_alloc >= GREETING) {
            slot->sent = GREETING;
            reply(slot, RW, GREETING);
        }
        return NULL;
    }
    if (!connection && header->operation == RST && late < replies) {
        late++; /* the switch's answer to a reply that met the end of its connection */
        return NULL;
    }
    if (!connection) {
        return "of no connection";
    }
    switch (header->operation) {
    case RST:
        connection->port = 0;
        resets++;
        return NULL;
    case RW:
        connection->received += header->length;
        data++;
        payload_bytes += header->length;
        if (connection->received > connection->announced || (connection->closed & 2)) {
            return "more than it may send";
        }
        if (connection->announced - connection->received < WINDOW / 2) {
            connection->announced = connection->received + WINDOW;
            reply(connection, CREDIT_UPDATE, 0);
        }
        break;
    case SHUTDOWN:
        connection->closed |= header->flags;
        break;
    case CREDIT_REQUEST:
        reply(connection, CREDIT_UPDATE, 0);
        break;
    case CREDIT_UPDATE:
        break;
    default:
        return "an operation";
    }
    return header->fwd_cnt > connection->sent ? "taken before it was sent" : NULL;
}

static const char *judge(const struct header *header, uint32_t length)
{
    if (length < HEADER || length != HEADER + header->length) {
        return "length";
    }
    if (header->source_cid != ATTACKER_CID || header->destination_cid != own_cid()) {
        return "CID";
    }
    if (header->destination_port != WITNESS_PORT) {
        return "port";
    }
    if (header->type != STREAM) {
        return "type";
    }
    if ((header->operation == RW) != (header->length > 0)) {
        return "payload";
    }
    if (header->operation == SHUTDOWN ? header->flags > 3 : header->flags != 0) {
        return "flags";
    }
    return take(header);
}

static void report(void)
{
    say_number("witness: packets ", packets, "");
    say_number(" requests ", requests, "");
    say_number(" data ", data, "");
    say_number(" bytes ", payload_bytes, "");
    say_number(" resets ", resets, "");
    say_number(" bad ", bad, "\n");
}

static void look(const volatile struct header *packet, uint32_t length)
{
    const struct header header = {packet->source_cid,       packet->destination_cid, packet->source_port,
                                  packet->destination_port, packet->length,          packet->type,
                                  packet->operation,        packet->flags,           packet->buf_alloc,
                                  packet->fwd_cnt};
    const char *fault = judge(&header, length);
    packets++;
    if (fault != NULL && bad++ < 10) {
        say("witness: bad: ");
        say(fault);
        say_number(" operation ", header.operation, "");
        say_number(" from ", header.source_cid, "");
        say_number(" port ", header.source_port, "\n");
    }
    const volatile uint32_t *payload = (const volatile uint32_t *)((uint64_t)packet + HEADER);
    if (fault == NULL && header.operation == RW && header.length >= 4 && *payload == 0x21646e65) {
        report();
    }
}

void main(void);
void main(void)
{
    say("\nrouter: guest " STRING(NAME) ": userspace up\n");
    start_vsock();
    /* The device's interrupt wakes us, too. */
    set(GICD, 0x800 + VSOCK_IRQ, 0x01010101);
    set(GICD, 0x100 + 4 * (VSOCK_IRQ / 32), 1u << VSOCK_IRQ % 32);
    for (;;) {
        const volatile struct header *packet;
        uint32_t id, length;
        set(VSOCK, 0x64, get(VSOCK, 0x60));
        while ((packet = receive(&id, &length)) != NULL) {
            look(packet, length);
            give_received_back(id);
        }
        nap();
    }
}
