/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Fuzzes the console multiplexer: guests print anything, monitors lie about their rings, keys and frames
 * come. Whatever happens, each frame on the line names its port and is whole, and what the frames of a port
 * carry is what its guest printed.
 */
#include "fuzz.h"
#include "mux.h"
#include <stdio.h>
#include <string.h>

#define PORTS 3u
#define KEPT 65536u /* printed bytes that have not come out yet: the ring, and the line that is collected */

static const char *const names[PORTS] = {"server", "server.control", "client"};
static struct mux mux;
static struct charq_port rings[PORTS];
static struct charq_end out[PORTS], in[PORTS];
static uint8_t printed[PORTS][KEPT];
static uint32_t printed_at[PORTS], printed_end[PORTS];
static bool lied[PORTS], returned[PORTS];
static uint8_t line[4096];
static uint32_t length;
static bool fresh;
static uint64_t now;
static struct tally tally;

static void start(void)
{
    mux_init(&mux, 1000, 1000);
    now = 0;
    for (uint32_t i = 0; i < PORTS; i++) {
        memset(&rings[i], 0, sizeof(rings[i]));
        require(mux_add(&mux, names[i], i == 1, &rings[i]) == i);
        charq_attach(&out[i], &rings[i].out, rings[i].out_bytes, CHARQ_OUT_BYTES);
        charq_attach(&in[i], &rings[i].in, rings[i].in_bytes, CHARQ_IN_BYTES);
        printed_at[i] = printed_end[i] = 0;
        lied[i] = returned[i] = false;
    }
    length = 0;
    fresh = true;
    mux_count(&mux, PORTS);
}

static void expect(uint32_t port, uint8_t byte)
{
    printed[port][printed_end[port]++ % KEPT] = byte;
}

static void print(uint32_t port, uint8_t byte)
{
    if (charq_write(&out[port], &byte, 1) == 0) {
        return;
    }
    if (returned[port] && byte != '\n') {
        expect(port, '\r');
    }
    returned[port] = byte == '\r';
    if (!returned[port]) {
        expect(port, byte);
    }
}

static void came(uint32_t port, uint8_t byte)
{
    if (!lied[port]) {
        require(printed_at[port] != printed_end[port] && printed[port][printed_at[port]++ % KEPT] == byte);
    }
}

/* What the switch has counted by the time of a question. */
static uint64_t counted(uint32_t sequence, uint32_t port, uint32_t place)
{
    return (uint64_t)(sequence + port) << (place % 64);
}

/* The answer to a question for counters: nothing but the numbers that the switch has published. */
static void check_counts(const struct frame_tail *tail, const uint8_t *body)
{
    char text[FRAME_BODY + 1] = {0};
    unsigned first, count;
    int at = 0;
    char key = 0, kind[8];
    memcpy(text, body, tail->length);
    require(sscanf(text, "counts %c %7s %u/%u%n", &key, kind, &first, &count, &at) == 4);
    uint32_t port = frame_port_of_key((uint8_t)key);
    require(port < PORTS && count <= TALLY_VALUES);
    require(tail->flag);
    unsigned long long value;
    int more = 0;
    for (; sscanf(text + at, " %llu%n", &value, &more) == 1; at += more, first++) {
        require(first < count && value == counted(tail->sequence, port, first));
    }
    require(text[at] == 0);
}

/* A frame that has come whole, `end` bytes up to the end of its body. */
static void check_frame(uint32_t end)
{
    struct frame_tail tail;
    uint32_t from = 0;
    require(frame_open(line, length, &tail) && tail.port <= PORTS);
    if (tail.port == PORTS) {
        require(fresh && end >= 8 && memcmp(line, "system< ", 8) == 0 && tail.length == end - 8);
        check_counts(&tail, line + 8);
        return;
    }
    char mark = '+';
    if (fresh) {
        from = (uint32_t)strlen(names[tail.port]);
        require(end >= from + 2 && memcmp(line, names[tail.port], from) == 0 && line[from + 1] == ' ');
        mark = (char)line[from];
        from += 2;
    }
    require(mark == '|' || mark == '+' || mark == '<');
    require(tail.length == end - from);
    uint8_t body[FRAME_BODY];
    memcpy(body, line + from, tail.length);
    uint32_t n = frame_unescape(body, tail.length);
    require(n <= FRAME_BODY);
    if (mark == '<') {
        return;
    }
    for (uint32_t i = 0; i < n; i++) {
        came(tail.port, body[i]);
    }
    if (tail.flag) {
        came(tail.port, '\n');
    }
}

static void line_byte(uint8_t byte)
{
    static const char hide[] = MUX_HIDE;
    uint32_t before = length < FRAME_TAIL ? 0 : length - FRAME_TAIL;
    bool tailed = length > FRAME_TAIL && line[before] == FRAME_MARK;
    if (byte == '\n') {
        require(length != 0 && line[--length] == '\r');
        before = length < FRAME_TAIL ? 0 : length - FRAME_TAIL;
        if (length == 0) {
            require(!fresh); /* an unfinished line was ended */
        } else {
            require(length > FRAME_TAIL && line[before] == FRAME_MARK && line[before - 1] == ' ');
            check_frame(before - 1);
        }
        length = 0;
        fresh = true;
        return;
    }
    if (byte == MUX_SHOW && tailed) {
        require(before >= sizeof(hide) - 1 && memcmp(line + before - 5, hide, 5) == 0);
        if (line[length - 1] != '-') {
            check_frame(before - 5);
        }
        length = 0;
        fresh = false;
        return;
    }
    require(length < sizeof(line));
    line[length++] = byte;
}

static void write_line(uint32_t count)
{
    for (int byte = 0; count > 0 && (byte = mux_next(&mux, now)) >= 0; count--) {
        line_byte((uint8_t)byte);
    }
    mux_wakes(&mux);
}

/* Everything, whatever the pace: a ring full of line ends becomes 100 KiB on the line. */
static void write_all(void)
{
    for (uint32_t i = 0; i < 8; i++) {
        now += 1000000;
        write_line(UINT32_MAX);
    }
}

/* The switch answers, or the notification comes that says that it works. */
static void answer(uint32_t chance)
{
    if (mux_wants_counts(&mux)) {
        tally.kind = chance % 5;
        tally.values = chance % (2 * TALLY_VALUES);
        for (uint32_t port = 0; port < PORTS; port++) {
            for (uint32_t i = 0; i < TALLY_VALUES; i++) {
                tally.value[port][i] = counted(mux.counts.sequence, port, i);
            }
        }
    }
    mux_counted(&mux, &tally);
}

static void send(uint32_t port, const uint8_t *body, uint32_t n, uint32_t sequence, bool flag, bool damage)
{
    uint8_t frame[FRAME_BODY + FRAME_TAIL];
    uint32_t size = 0;
    for (uint32_t i = 0; i < n && size + FRAME_ESCAPED <= FRAME_BODY; i++) {
        size += frame_escape(body[i], false, frame + size);
    }
    struct frame_tail tail = {port, size, sequence, flag};
    frame_seal(frame, size, &tail);
    frame[sequence % (size + FRAME_TAIL)] ^= damage;
    mux_input(&mux, MUX_FRAME, 0);
    for (uint32_t i = 0; i < size + FRAME_TAIL; i++) {
        require(mux_input(&mux, frame[i], 0) || damage);
    }
    mux_input(&mux, '\n', 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t left)
{
    uint8_t bytes[256];
    uint32_t sequence;
    start();
    while (left > 0) {
        uint8_t step = (uint8_t)take(&data, &left, 1);
        uint32_t port = (step >> 4) % PORTS;
        uint32_t n = 0;
        switch (step % 9) {
        case 0:
        case 1:
            for (n = (uint32_t)take(&data, &left, 1); n > 0 && left > 0; n--) {
                print(port, (uint8_t)take(&data, &left, 1));
            }
            break;
        case 2: {
            uint8_t byte = (uint8_t)take(&data, &left, 1);
            for (n = (uint32_t)take(&data, &left, 2) % 2000; n > 0; n--) {
                print(port, byte);
            }
            break;
        }
        case 3:
            write_line((uint32_t)take(&data, &left, 2));
            break;
        case 4:
            mux_input(&mux, (uint8_t)take(&data, &left, 1), now);
            break;
        case 5:
            n = (uint32_t)take(&data, &left, 2);
            now += n;
            mux_deadline(&mux);
            answer(n);
            break;
        case 6:
            for (n = 0; n < step / 16u * 8 && left > 0; n++) {
                bytes[n] = (uint8_t)take(&data, &left, 1);
            }
            sequence = (uint32_t)take(&data, &left, 2);
            if (sequence & FRAME_SEQUENCES) { /* to the system: most are questions */
                if (n != 0) {
                    memcpy(bytes, MUX_COUNTS "0", sizeof(MUX_COUNTS));
                    bytes[sizeof(MUX_COUNTS) - 1] = (uint8_t)('0' + n % 5);
                    n = sizeof(MUX_COUNTS);
                }
                port = PORTS;
            }
            send(port, bytes, n, sequence, step & 0x40, step & 0x80);
            break;
        case 7:
            charq_read(&in[port], bytes, (uint32_t)take(&data, &left, 1));
            break;
        default: /* the monitor lies */
            lied[port] = true;
            rings[port].out.head = (uint32_t)take(&data, &left, 2);
            rings[port].in.tail = (uint32_t)take(&data, &left, 2);
            break;
        }
    }
    write_all();
    for (uint32_t port = 0; port < PORTS; port++) {
        print(port, '\n');
        write_all();
        require(lied[port] || printed_at[port] == printed_end[port]);
    }
    return 0;
}
