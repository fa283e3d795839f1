/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * vswitch: links the guests' QEMU processes over unix sockets, as the configuration allows.
 *
 * Each port listens on DIRECTORY/NAME.sock for one QEMU (`-netdev
 * stream,server=off,addr.type=unix,addr.path=…`) at a time; when it goes away, the next one is accepted.
 * DIRECTORY/control answers every connection with the counters as JSON.
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "config.h"
#include "hub.h"
#include "report.h"
#include "sandbox.h"
#include "sockets.h"

#define EVENTS_MAX 64
#define DEFAULT_STALL_MS 5000

static const char usage[] =
    "usage: vswitch --config FILE --sockets DIRECTORY [options]\n"
    "  --config FILE        ports and rules\n"
    "  --sockets DIRECTORY  where NAME.sock of each port, and `control`, are made\n"
    "  --counters FILE      where the counters go as JSON on SIGUSR1 and at the end (without it: to standard "
    "output)\n"
    "  --pcap FILE          capture all frames as pcapng, the dropped ones with the reason as a comment\n"
    "  --stall MS           drop frames for a guest that takes none for so long, once 1 MiB waits for it\n"
    "                       (5000; 0: wait for ever)\n"
    "  --parent PID         end when this process, which must be the parent, ends\n"
    "It says `ready` on standard output once it listens. SIGTERM and SIGINT end it.\n";

struct options {
    const char *config;
    const char *sockets;
    const char *counters;
    const char *capture;
    long stall_ms;
    long parent;
};

enum source { SOURCE_LISTENER, SOURCE_LINK, SOURCE_CONTROL, SOURCE_SIGNAL };

struct server {
    int epoll;
    int signals;
    int control;
    struct sockaddr_un control_address;
    int listeners[VSWITCH_MAX_PORTS];
    struct sockaddr_un addresses[VSWITCH_MAX_PORTS];
    uint32_t interest[VSWITCH_MAX_PORTS]; /* what epoll watches a port's link for; 0: not registered */
    uint32_t listening;                   /* sockets that exist and have to be removed */
    const struct options *options;
};

static struct host_config host;
static struct hub hub;
static struct server server = {.epoll = -1, .signals = -1, .control = -1};

static int64_t milliseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static bool watch(int operation, int descriptor, enum source source, uint32_t port, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.u64 = (uint64_t)source << 32 | port};
    if (epoll_ctl(server.epoll, operation, descriptor, &event) == 0) {
        return true;
    }
    fprintf(stderr, "vswitch: epoll_ctl: %s\n", strerror(errno));
    return false;
}

static bool parse_long(const char *text, long *number)
{
    char *end;
    errno = 0;
    *number = strtol(text, &end, 10);
    return errno == 0 && end != text && *end == '\0' && *number >= 0;
}

/* 0 to go on, otherwise the exit status plus one. */
static int parse_options(int argc, char **argv, struct options *options)
{
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

static bool open_signals(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    server.signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return server.signals >= 0 && watch(EPOLL_CTL_ADD, server.signals, SOURCE_SIGNAL, 0, EPOLLIN);
}

static bool open_listeners(const char *directory)
{
    for (uint32_t port = 0; port < host.config.port_count; port++) {
        if (!socket_address(&server.addresses[port], directory, host.config.ports[port].name, ".sock")) {
            return false;
        }
        server.listeners[port] = socket_listen(&server.addresses[port]);
        if (server.listeners[port] < 0) {
            return false;
        }
        server.listening++;
        if (!watch(EPOLL_CTL_ADD, server.listeners[port], SOURCE_LISTENER, port, EPOLLIN)) {
            return false;
        }
    }
    if (!socket_address(&server.control_address, directory, "control", "")) {
        return false;
    }
    server.control = socket_listen(&server.control_address);
    return server.control >= 0 && watch(EPOLL_CTL_ADD, server.control, SOURCE_CONTROL, 0, EPOLLIN);
}

/* The next QEMU waits in the listener's backlog until the last one's frames are read and its link is closed.
 */
static void accept_link(uint32_t port)
{
    int link = socket_accept(server.listeners[port]);
    if (link < 0) {
        return;
    }
    if (!watch(EPOLL_CTL_ADD, link, SOURCE_LINK, port, EPOLLIN)) {
        close(link);
        return;
    }
    server.interest[port] = EPOLLIN;
    watch(EPOLL_CTL_MOD, server.listeners[port], SOURCE_LISTENER, port, 0);
    hub_connect(&hub, port, link);
}

static void serve_link(uint32_t port, uint32_t events)
{
    if (hub.ports[port].link < 0) {
        return;
    }
    if (events & (EPOLLHUP | EPOLLERR)) {
        hub_hang_up(&hub, port);
    }
    if (events & EPOLLOUT) {
        hub_transmit(&hub, port);
    }
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
        hub_receive(&hub, port);
    }
}

/*
 * Watches each link for what can be done with it now. A link that has hung up always reports so: while its
 * last frames wait for a receiver it is not watched at all.
 */
static void update_interest(void)
{
    for (uint32_t port = 0; port < host.config.port_count; port++) {
        const struct port *state = &hub.ports[port];
        uint32_t wanted = 0;
        if (state->link < 0) {
            if (server.interest[port]) {
                server.interest[port] = 0;
                watch(EPOLL_CTL_MOD, server.listeners[port], SOURCE_LISTENER, port, EPOLLIN);
            }
            continue;
        }
        if (!state->pending) {
            wanted |= EPOLLIN;
        } else if (!state->hung_up) {
            wanted |= EPOLLPRI; /* which does not happen: only EPOLLHUP, always reported, is of interest */
        }
        if (queue_used(&state->queue) > 0) {
            wanted |= EPOLLOUT;
        }
        if (wanted != server.interest[port]) {
            int operation = !wanted ? EPOLL_CTL_DEL : server.interest[port] ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
            watch(operation, state->link, SOURCE_LINK, port, wanted);
            server.interest[port] = wanted;
        }
    }
}

static void serve_control(void)
{
    char *text = NULL;
    size_t length = 0;
    int link = socket_accept(server.control);
    if (link < 0) {
        return;
    }
    FILE *memory = open_memstream(&text, &length);
    if (memory) {
        report_write(memory, &hub);
        fclose(memory);
        if (send(link, text, length, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)length) {
            fprintf(stderr, "vswitch: control: the counters could not be sent whole\n");
        }
        free(text);
    }
    close(link);
}

static bool save_counters(void)
{
    if (server.options->counters) {
        return report_save(server.options->counters, &hub);
    }
    report_write(stdout, &hub);
    fflush(stdout);
    return true;
}

/* False when it is time to end. */
static bool serve_signal(void)
{
    struct signalfd_siginfo info;
    while (read(server.signals, &info, sizeof(info)) == sizeof(info)) {
        if (info.ssi_signo != SIGUSR1) {
            return false;
        }
        capture_flush(&hub.capture);
        save_counters();
    }
    return true;
}

static bool serve(const struct epoll_event *event)
{
    uint32_t port = (uint32_t)event->data.u64;
    switch ((enum source)(event->data.u64 >> 32)) {
    case SOURCE_LISTENER:
        accept_link(port);
        return true;
    case SOURCE_LINK:
        serve_link(port, event->events);
        return true;
    case SOURCE_CONTROL:
        serve_control();
        return true;
    case SOURCE_SIGNAL:
        return serve_signal();
    }
    return true;
}

static int run(void)
{
    struct epoll_event events[EVENTS_MAX];
    bool running = true;
    while (running) {
        int count = epoll_wait(server.epoll, events, EVENTS_MAX, hub_timeout(&hub));
        if (count < 0 && errno != EINTR) {
            fprintf(stderr, "vswitch: epoll_wait: %s\n", strerror(errno));
            return 1;
        }
        hub.now = milliseconds();
        for (int i = 0; i < count; i++) {
            running = serve(&events[i]) && running;
        }
        hub_retry(&hub);
        update_interest();
    }
    return 0;
}

static void close_all(void)
{
    for (uint32_t port = 0; port < server.listening; port++) {
        close(server.listeners[port]);
        unlink(server.addresses[port].sun_path);
    }
    if (server.control >= 0) {
        close(server.control);
        unlink(server.control_address.sun_path);
    }
    hub_close(&hub);
    capture_close(&hub.capture);
}

/* The parent may have ended before the request took effect; then this process has another parent by now. */
static bool follow_parent(long parent)
{
    return prctl(PR_SET_PDEATHSIG, SIGTERM) == 0 && getppid() == (pid_t)parent;
}

int main(int argc, char **argv)
{
    struct options options = {.stall_ms = DEFAULT_STALL_MS};
    int done = parse_options(argc, argv, &options);
    if (done) {
        return done - 1;
    }
    server.options = &options;
    if (!config_read(&host, options.config)) {
        return 2;
    }
    const char *problem = vswitch_init(&hub.state, &host.config);
    if (problem) {
        fprintf(stderr, "%s: %s\n", options.config, problem);
        return 2;
    }
    /* With a buffer of its own, stdio does not ask the terminal, which the sandbox would not let it. */
    static char output[BUFSIZ];
    setvbuf(stdout, output, _IOFBF, sizeof(output));
    hub.now = milliseconds();
    server.epoll = epoll_create1(EPOLL_CLOEXEC);
    if (server.epoll < 0 || !open_signals() || !hub_open(&hub, &host.config, options.stall_ms)) {
        fprintf(stderr, "vswitch: cannot start: %s\n", strerror(errno));
        return 1;
    }
    if (options.parent && !follow_parent(options.parent)) {
        return 0;
    }
    int status = 1;
    if ((!options.capture || capture_open(&hub.capture, options.capture, &host.config)) &&
        open_listeners(options.sockets) && sandbox_enter(options.counters, options.sockets)) {
        puts("ready");
        fflush(stdout);
        status = run();
        if (!save_counters()) {
            status = 1;
        }
    }
    close_all();
    return status;
}
