/* SPDX-License-Identifier: BSD-2-Clause */

/* The command line. */
#ifndef VSWITCH_HOST_OPTIONS_H
#define VSWITCH_HOST_OPTIONS_H

struct options {
    const char *config;
    const char *sockets;
    const char *counters;
    const char *capture;
    long stall_ms;
    long parent; /* 0: none */
};

/* 0 to go on, otherwise the exit status plus one. */
int options_read(int argc, char **argv, struct options *options);

#endif
