/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * libFuzzer harness: the input is a program of steps (packets, links that change, RSTs that are fetched)
 * between three guests. After each step the promises of vsock_invariants.h must hold.
 */
#include <stdio.h>

#include "fuzz.h"
#include "vsock_invariants.h"

static const struct vsock_port ports[] = {{4, "server"}, {5, "client"}, {6, "other"}};
static const struct vsock_rule rules[] = {{1, 0, 3240}, {2, 0, 3240}, {0, 1, 99}, {1, 0, 99}};
static const struct vsock_config config = {ports, rules, 3, 4};
static struct vsock_state state;

static void check(const char *broken)
{
    if (broken) {
        fprintf(stderr, "broken: %s\n", broken);
        abort();
    }
}

/* Mostly one of a few values, so that packets meet; else any. */
static uint64_t number(const uint8_t **data, size_t *left, const uint64_t *few, uint32_t count,
                       uint32_t bytes)
{
    uint64_t choice = take(data, left, 1);
    return choice < 240 ? few[choice % count] : take(data, left, bytes);
}

static void packet(const uint8_t **data, size_t *left)
{
    static const uint64_t cids[] = {4, 5, 6};
    static const uint64_t names[] = {99, 3240, 1024, 1025};
    static const uint64_t lengths[] = {0, 1, 48, 65536};
    static const uint64_t windows[] = {65536, 0, 100, UINT32_MAX};
    uint32_t in = (uint32_t)take(data, left, 1) & 3u;
    struct vsock_header sent = {.source_cid = in < 3 ? ports[in].cid : 4};
    uint8_t what = (uint8_t)take(data, left, 1);
    sent.operation = what & 15;
    sent.type = what & 128 ? 2 : VSOCK_STREAM;
    if (what & 64) {
        sent.source_cid = take(data, left, 8);
    }
    sent.destination_cid = number(data, left, cids, 3, 8);
    sent.source_port = (uint32_t)number(data, left, names, 4, 4);
    sent.destination_port = (uint32_t)number(data, left, names, 4, 4);
    sent.length = sent.operation == VSOCK_RW || (what & 32) ? (uint32_t)number(data, left, lengths, 4, 4) : 0;
    sent.flags = sent.operation == VSOCK_SHUTDOWN || (what & 32) ? (uint32_t)take(data, left, 1) : 0;
    sent.buf_alloc = (uint32_t)number(data, left, windows, 4, 4);
    sent.fwd_cnt = (uint32_t)number(data, left, lengths, 4, 4);
    uint8_t bytes[VSOCK_HEADER];
    struct vsock_header header;
    vsock_write(bytes, &sent);
    vsock_read(&header, bytes);
    size_t payload = what & 16 ? take(data, left, 3) : header.length;
    struct vsock_verdict verdict = vsock_judge(&config, &state, in, &header, payload);
    check(broken_verdict(&config, &state, in, &sent, &header, payload, verdict));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t left)
{
    require(vsock_init(&state, &config) == NULL);
    for (uint32_t port = 0; port < config.port_count; port++) {
        vsock_set_link(&config, &state, port, VSOCK_UP);
    }
    while (left > 0) {
        uint8_t step = (uint8_t)take(&data, &left, 1);
        uint32_t port = (step >> 2) % 3u;
        if (step >= 64) {
            packet(&data, &left);
        } else if (step >= 32) {
            vsock_set_link(&config, &state, port, (enum vsock_link)(step & 3));
        } else {
            struct vsock_header header;
            bool owed = state.owed[port] > 0;
            require(vsock_next_reset(&config, &state, port, &header) == owed);
            require(!owed || header.destination_cid == ports[port].cid);
        }
        check(broken_state(&config, &state));
        check(broken_names(&config, &state));
    }
    return 0;
}
