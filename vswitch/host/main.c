/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * vswitch: links the guests' QEMU processes over unix sockets, as the configuration allows.
 *
 * Each port listens on DIRECTORY/NAME.sock for one QEMU (`-netdev
 * stream,server=off,addr.type=unix,addr.path=…`) at a time; when it goes away, the next one is accepted.
 * DIRECTORY/NAME.vsock is the same for a guest's vsock device (`vhost-user-vsock-device`, a chardev that
 * connects). DIRECTORY/control answers every connection with the counters as JSON.
 */
#include <errno.h>
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
#include "options.h"
#include "report.h"
#include "sandbox.h"
#include "sockets.h"
#include "vsock_hub.h"

#define EVENTS_MAX 64

enum source {
    SOURCE_LISTENER,
    SOURCE_LINK,
    SOURCE_CONTROL,
    SOURCE_SIGNAL,
    SOURCE_VSOCK_LISTENER,
    SOURCE_VSOCK_LINK,
    SOURCE_VSOCK_KICK, /* its number: VHOST_RINGS * port + ring */
};

/* A socket that listens in the file system. */
struct listener {
    bool open;
    int descriptor;
    struct sockaddr_un address;
};

struct server {
    int epoll;
    int signals;
    struct listener control;
    struct listener listeners[VSWITCH_MAX_PORTS];
    struct listener vsock_listeners[VSOCK_MAX_PORTS];
    bool vsock_linked[VSOCK_MAX_PORTS];
    uint32_t interest[VSWITCH_MAX_PORTS]; /* what epoll watches a port's link for; 0: not registered */
    const struct options *options;
};

static struct host_config host;
static struct hub hub;
static struct vsock_hub vsock;
static struct capture capture;
static struct server server = {.epoll = -1, .signals = -1};

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

static bool open_listener(struct listener *listener, const char *name, const char *suffix, enum source source,
                          uint32_t port)
{
    if (!socket_address(&listener->address, server.options->sockets, name, suffix)) {
        return false;
    }
    listener->descriptor = socket_listen(&listener->address);
    listener->open = listener->descriptor >= 0;
    return listener->open && watch(EPOLL_CTL_ADD, listener->descriptor, source, port, EPOLLIN);
}

static void close_listener(struct listener *listener)
{
    if (listener->open) {
        close(listener->descriptor);
        unlink(listener->address.sun_path);
    }
}

static bool open_listeners(void)
{
    for (uint32_t port = 0; port < host.config.port_count; port++) {
        if (!open_listener(&server.listeners[port], host.config.ports[port].name, ".sock", SOURCE_LISTENER,
                           port)) {
            return false;
        }
    }
    for (uint32_t port = 0; port < host.vsock.port_count; port++) {
        if (!open_listener(&server.vsock_listeners[port], host.vsock.ports[port].name, ".vsock",
                           SOURCE_VSOCK_LISTENER, port)) {
            return false;
        }
    }
    return open_listener(&server.control, "control", "", SOURCE_CONTROL, 0);
}

/* The next QEMU waits in the listener's backlog until the last one's frames are read and its link is closed.
 */
static void accept_link(uint32_t port)
{
    int link = socket_accept(server.listeners[port].descriptor);
    if (link < 0) {
        return;
    }
    if (!watch(EPOLL_CTL_ADD, link, SOURCE_LINK, port, EPOLLIN)) {
        close(link);
        return;
    }
    server.interest[port] = EPOLLIN;
    watch(EPOLL_CTL_MOD, server.listeners[port].descriptor, SOURCE_LISTENER, port, 0);
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
                watch(EPOLL_CTL_MOD, server.listeners[port].descriptor, SOURCE_LISTENER, port, EPOLLIN);
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

/* As with frames: the next QEMU waits until the last one is gone. */
static void accept_vsock(uint32_t port)
{
    int link = socket_accept(server.vsock_listeners[port].descriptor);
    if (link < 0) {
        return;
    }
    if (!watch(EPOLL_CTL_ADD, link, SOURCE_VSOCK_LINK, port, EPOLLIN)) {
        close(link);
        return;
    }
    watch(EPOLL_CTL_MOD, server.vsock_listeners[port].descriptor, SOURCE_VSOCK_LISTENER, port, 0);
    server.vsock_linked[port] = true;
    vsock_hub_connect(&vsock, port, link);
}

static bool watch_kick(uint32_t port, uint32_t ring, int descriptor, bool on)
{
    return watch(on ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, descriptor, SOURCE_VSOCK_KICK, VHOST_RINGS * port + ring,
                 EPOLLIN);
}

/* Listens again for ports whose QEMU has gone. */
static void update_vsock(void)
{
    for (uint32_t port = 0; port < host.vsock.port_count; port++) {
        if (server.vsock_linked[port] && vsock.devices[port].vhost.link < 0) {
            server.vsock_linked[port] = false;
            watch(EPOLL_CTL_MOD, server.vsock_listeners[port].descriptor, SOURCE_VSOCK_LISTENER, port,
                  EPOLLIN);
        }
    }
}

static void serve_control(void)
{
    char *text = NULL;
    size_t length = 0;
    int link = socket_accept(server.control.descriptor);
    if (link < 0) {
        return;
    }
    FILE *memory = open_memstream(&text, &length);
    if (memory) {
        report_write(memory, &hub, &vsock);
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
        return report_save(server.options->counters, &hub, &vsock);
    }
    report_write(stdout, &hub, &vsock);
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
        capture_flush(&capture);
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
    case SOURCE_VSOCK_LISTENER:
        accept_vsock(port);
        return true;
    case SOURCE_VSOCK_LINK:
        vsock_hub_receive(&vsock, port);
        return true;
    case SOURCE_VSOCK_KICK:
        vsock_hub_kick(&vsock, port / VHOST_RINGS, port % VHOST_RINGS);
        return true;
    }
    return true;
}

/* Milliseconds until there is something to do without an event, or -1. */
static int next_timeout(void)
{
    int frames = hub_timeout(&hub);
    int packets = vsock_hub_timeout(&vsock);
    return frames < 0 || (packets >= 0 && packets < frames) ? packets : frames;
}

static int run(void)
{
    struct epoll_event events[EVENTS_MAX];
    bool running = true;
    while (running) {
        int count = epoll_wait(server.epoll, events, EVENTS_MAX, next_timeout());
        if (count < 0 && errno != EINTR) {
            fprintf(stderr, "vswitch: epoll_wait: %s\n", strerror(errno));
            return 1;
        }
        hub.now = vsock.now = milliseconds();
        for (int i = 0; i < count; i++) {
            running = serve(&events[i]) && running;
        }
        hub_retry(&hub);
        update_interest();
        vsock_hub_pump(&vsock);
        update_vsock();
    }
    return 0;
}

static void close_all(void)
{
    for (uint32_t port = 0; port < host.config.port_count; port++) {
        close_listener(&server.listeners[port]);
    }
    for (uint32_t port = 0; port < host.vsock.port_count; port++) {
        close_listener(&server.vsock_listeners[port]);
    }
    close_listener(&server.control);
    hub_close(&hub);
    vsock_hub_close(&vsock);
    capture_close(&capture);
}

/* NULL, or what is wrong with the configuration. A switch may be for vsock alone. */
static const char *prepare(void)
{
    const char *problem = vsock_init(&vsock.state, &host.vsock);
    if (!problem && (host.config.port_count > 0 || host.vsock.port_count == 0)) {
        problem = vswitch_init(&hub.state, &host.config);
    }
    return problem;
}

/* The parent may have ended before the request took effect; then this process has another parent by now. */
static bool follow_parent(long parent)
{
    return prctl(PR_SET_PDEATHSIG, SIGTERM) == 0 && getppid() == (pid_t)parent;
}

int main(int argc, char **argv)
{
    struct options options;
    int done = options_read(argc, argv, &options);
    if (done) {
        return done - 1;
    }
    server.options = &options;
    if (!config_read(&host, options.config)) {
        return 2;
    }
    const char *problem = prepare();
    if (problem) {
        fprintf(stderr, "%s: %s\n", options.config, problem);
        return 2;
    }
    /* With a buffer of its own, stdio does not ask the terminal, which the sandbox would not let it. */
    static char output[BUFSIZ];
    setvbuf(stdout, output, _IOFBF, sizeof(output));
    hub.now = vsock.now = milliseconds();
    hub.capture = vsock.capture = &capture;
    vsock.watch_kick = watch_kick;
    server.epoll = epoll_create1(EPOLL_CLOEXEC);
    if (server.epoll < 0 || !open_signals() || !hub_open(&hub, &host.config, options.stall_ms) ||
        !vsock_hub_open(&vsock, &host.vsock, options.stall_ms)) {
        fprintf(stderr, "vswitch: cannot start: %s\n", strerror(errno));
        return 1;
    }
    if (options.parent && !follow_parent(options.parent)) {
        return 0;
    }
    int status = 1;
    if ((!options.capture || capture_open(&capture, options.capture, &host)) && open_listeners() &&
        sandbox_enter(options.counters, options.sockets, host.vsock.port_count)) {
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
