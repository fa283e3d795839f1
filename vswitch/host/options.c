/* SPDX-License-Identifier: BSD-2-Clause */
#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#define DEFAULT_STALL_MS 5000

static const char usage[] =
    "usage: vswitch --config FILE --sockets DIRECTORY [options]\n"
    "  --config FILE        ports and rules\n"
    "  --sockets DIRECTORY  where NAME.sock and NAME.vsock of each port, and `control`, are made\n"
    "  --counters FILE      where the counters go as JSON on SIGUSR1 and at the end (without it: to standard "
    "output)\n"
    "  --pcap FILE          capture all frames and vsock packets as pcapng, the dropped ones with the reason "
    "as a comment\n"
    "  --stall MS           drop frames for a guest that takes none for so long, once 1 MiB waits for it\n"
    "                       (5000; 0: wait for ever)\n"
    "  --parent PID         end when this process, which must be the parent, ends\n"
    "It says `ready` on standard output once it listens. SIGTERM and SIGINT end it.\n";

static bool parse_long(const char *text, long *number)
{
    char *end;
    errno = 0;
    *number = strtol(text, &end, 10);
    return errno == 0 && end != text && *end == '\0' && *number >= 0;
}

int options_read(int argc, char **argv, struct options *options)
{
    *options = (struct options){.stall_ms = DEFAULT_STALL_MS};
    static const struct option known[] = {
        {"config", required_argument, NULL, 'c'},   {"sockets", required_argument, NULL, 's'},
        {"counters", required_argument, NULL, 'o'}, {"pcap", required_argument, NULL, 'w'},
        {"stall", required_argument, NULL, 't'},    {"parent", required_argument, NULL, 'p'},
        {"help", no_argument, NULL, 'h'},           {NULL, 0, NULL, 0},
    };
    bool valid = true;
    for (int option; (option = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        switch (option) {
        case 'c':
            options->config = optarg;
            break;
        case 's':
            options->sockets = optarg;
            break;
        case 'o':
            options->counters = optarg;
            break;
        case 'w':
            options->capture = optarg;
            break;
        case 't':
            valid = parse_long(optarg, &options->stall_ms) && valid;
            break;
        case 'p':
            valid = parse_long(optarg, &options->parent) && valid;
            break;
        case 'h':
            fputs(usage, stdout);
            return 1;
        default:
            valid = false;
        }
    }
    if (!valid || optind != argc || !options->config || !options->sockets) {
        fputs(usage, stderr);
        return 3;
    }
    return 0;
}
