/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Several consoles on one serial line. Portable: bytes in, bytes out, no device. Frames: mux_frame.h;
 * docs/reference/serial-line.md describes the whole line.
 *
 * Output. Each line is a frame: `server| text `TAIL`. A line that does not fit one frame is cut, and the
 * pieces after the first begin with `server+ `. The console that has the keyboard shows unfinished lines too,
 * so that prompts appear: such a piece ends in an invisible tail, and the next piece of the line follows on
 * the same line of the terminal. When another port has to say something meanwhile, the unfinished line is
 * ended, and shown again afterwards with a tail that says "nothing new".
 *
 * Order. Answers to the program at the other end go first. Control channels that were written to lately go
 * before all else, but not more than MUX_AHEAD bytes in a row. All others get one frame in turn.
 *
 * Input. A person's keys go to the console that has the keyboard. Ctrl-\ (0x1c) and one of 0-9, a-z, A-Z
 * gives the keyboard to the port of that number; Ctrl-\ twice sends one. What finds no room waits, and what
 * is typed behind it for others as well: not for longer than the multiplexer's patience, however, counted
 * from when the guest's ring was full until it is half empty. Then input for this guest is dropped until that
 * is so, and a line says it.
 *
 * A program sends frames instead, which name their port: 0x1e, the frame, a line end. Such a frame never
 * waits: it is answered by `NAME< taken` or `NAME< full`. A frame with the flag gives the port the keyboard.
 * From then on keys that are in no frame are dropped, so that the rest of a damaged frame is typed nowhere. A
 * person takes the line back by Ctrl-\ three times and the key of a port.
 *
 * Counters of the switch. A frame to the system asks for those of one port. The switch is asked, and what it
 * has counted is the system's answer, in as many frames as it takes: at the limited pace, and for one
 * question at a time. No guest can ask, since guests write no frames to the board, and none can answer.
 */

#include "charq.h"
#include "mux_frame.h"
#include "tally.h"

#define MUX_MAX_PORTS FRAME_MAX_PORTS
#define MUX_NAME 40u /* the longest guest name, 32, and ".control" */
#define MUX_ESCAPE 0x1cu
#define MUX_FRAME 0x1eu
#define MUX_CALLS 3u
#define MUX_KEYS "keys"      /* body of the frame that lets a person type again */
#define MUX_COUNTS "counts " /* body of a question, with the key of the switch's port behind */
#define MUX_TAKEN "taken"
#define MUX_FULL "full"
#define MUX_SYSTEM "system" /* who speaks of the protection domains, as the port behind the last one */
#define MUX_NOTICE "console: the guest does not read its input; keys are dropped until it does"
#define MUX_NEVER UINT64_MAX

/* A control channel goes first for this many bytes after each frame that it was sent: enough for the answers
 * of a device listing. One that was asked nothing gets its turn like a console. */
#define MUX_CREDIT 16384u
/* Bytes of such channels in a row, then another port that waits gets one frame (up to some 300 bytes): so a
 * console gets an eighth of the line at the least, and an answer takes an eighth longer at the most. */
#define MUX_AHEAD 2048u
/* All others together write at this pace, after a burst. A real line is slower. An emulated one takes
 * bytes as fast as the processor writes them, and this domain runs before all guests: without a limit, a
 * guest that prints without pause uses the others' time as well. */
#define MUX_PACE 65536u  /* bytes in a second */
#define MUX_BURST 65536u /* bytes */

/* Bytes of an unfinished line that is shown again after an interruption: a prompt and a command. A guest that
 * never ends its line must not double what others write. */
#define MUX_AGAIN 100u

#define MUX_REMARK 120u /* bytes of the longest remark of the system */
#define MUX_HEAD (MUX_NAME + 2u)
/* Tail of an unfinished line: an operating system command that terminals ignore, so that it is not seen. */
#define MUX_HIDE "\x1b]77;"
#define MUX_SHOW '\a'
#define MUX_FRAME_BYTES (MUX_HEAD + FRAME_BODY + sizeof(MUX_HIDE) + FRAME_TAIL + 2u)

enum mux_typist { MUX_NOBODY, MUX_PERSON, MUX_PROGRAM };
enum mux_answer { MUX_NO_ANSWER, MUX_SAY_TAKEN, MUX_SAY_FULL };

enum mux_counts_state {
    MUX_COUNTS_IDLE,
    MUX_COUNTS_WANTED, /* the switch is to be asked */
    MUX_COUNTS_ASKED,
    MUX_COUNTS_READY, /* the answer is being written */
};

struct mux_counts {
    enum mux_counts_state state;
    uint32_t guests;   /* ports of the switch; 0: there are no counters */
    uint8_t key;       /* of the port that the question is about */
    uint32_t sequence; /* of the question */
    uint32_t kind;     /* the answer, as in struct tally */
    uint32_t values;
    uint32_t next; /* the value that is written next */
    uint64_t value[TALLY_VALUES];
};

struct mux_port {
    const char *name;
    struct charq_end out;     /* from the guest */
    struct charq_end in;      /* to the guest */
    bool programs;            /* a control channel: only whole lines and pieces of FRAME_BODY are shown */
    uint8_t line[FRAME_BODY]; /* the body of the next frame, as it is on the line */
    uint32_t length;
    uint32_t shown;    /* of these, already written because it has the keyboard */
    bool complete;     /* the line has ended, or is full, and waits to be written */
    bool ended;        /* it has ended */
    bool continues;    /* this piece continues a cut line */
    bool returned;     /* a carriage return came that may belong to a line end */
    uint32_t sequence; /* of the next frame to the host */
    uint32_t taken;    /* of the last frame from the host that was taken; FRAME_SEQUENCES: none */
    enum mux_answer answer;
    uint32_t answered; /* the sequence that the answer is about */
    uint32_t credit;
    uint64_t full_since; /* when input first found no room, or MUX_NEVER */
    bool deaf;           /* input is dropped */
    bool notice;         /* which has still to be said */
};

struct mux {
    uint64_t patience; /* counter ticks that input may wait for a guest */
    uint64_t second;   /* counter ticks in a second */
    uint64_t paid;     /* when what was written at the limited pace would have been written */
    bool paused;       /* a port may have to wait for the pace */
    uint32_t ports;
    uint32_t focus;      /* the port that has the keyboard */
    uint32_t open;       /* the port whose unfinished line is the terminal's last one, or MUX_MAX_PORTS */
    uint32_t turn;       /* the port that is looked at next */
    uint32_t turn_first; /* the same for control channels that go first */
    uint32_t ahead;      /* bytes of these in a row */
    enum mux_typist typist;
    struct mux_port port[MUX_MAX_PORTS];
    uint8_t pending[2 * MUX_FRAME_BYTES + 8]; /* bytes on their way to the serial line */
    uint32_t pending_at;
    uint32_t pending_end;
    bool escaped;   /* the escape byte came, its argument has not */
    uint32_t calls; /* escape bytes in a row while a program has the line */
    bool in_frame;  /* a frame has begun */
    uint32_t frame_length;
    uint8_t frame[FRAME_BODY + FRAME_TAIL];
    uint64_t to_say;             /* ports (bit set) with an answer or a notice */
    char remark[MUX_REMARK + 1]; /* of the system, waits to be written; empty: none */
    struct mux_counts counts;
    uint64_t to_wake_out; /* ports whose producer waits for room that there is now */
    uint64_t to_wake_in;  /* ports for whose guest there is new input */
};

/* patience: counter ticks that a key may wait for a guest. second: counter ticks in a second. */
void mux_init(struct mux *mux, uint64_t patience, uint64_t second);

/* Adds a console and returns its number, or MUX_MAX_PORTS when there is no room or the name is longer than
 * MUX_NAME. The name is kept by reference. */
uint32_t mux_add(struct mux *mux, const char *name, bool programs, struct charq_port *ring);

/* The next byte for the serial line at this counter value, or -1 when there is none, or none before the
 * deadline. */
int mux_next(struct mux *mux, uint64_t now);

/* Takes a byte from the serial line at this counter value. False when the console that has the keyboard has
 * no room: offer it again, at the deadline at the latest. */
bool mux_input(struct mux *mux, uint8_t byte, uint64_t now);

/* Has the line `system< TEXT` written, of up to MUX_REMARK printable bytes without the mark and backslash.
 * False while there is another one to be written, or when all keys of ports are taken. */
bool mux_remark(struct mux *mux, const char *before, const char *name, const char *after);

/* Counters of so many guests may be asked for. */
void mux_count(struct mux *mux, uint32_t guests);

/* A frame to the system has come; what is no question about a port's counters is ignored. */
void mux_ask_counts(struct mux *mux, const uint8_t *body, uint32_t n, uint32_t sequence);

/* Whether the switch is to be asked to publish its counters; true once for each time. */
bool mux_wants_counts(struct mux *mux);

/* The switch has published its counters: answers the question for them, if there is one. */
void mux_counted(struct mux *mux, const struct tally *tally);

/* The body of the answer's next frame, ended by a zero; false when there is none. */
bool mux_next_counts(struct mux *mux, char text[FRAME_BODY + 1]);

/* When the key that was refused will be dropped, or more may be written; or MUX_NEVER. */
uint64_t mux_deadline(const struct mux *mux);

/* Ports to be notified since the last call, and forgets them. */
uint64_t mux_wakes(struct mux *mux);
