/* SPDX-License-Identifier: BSD-2-Clause */

/* Messages with their descriptors from QEMU, and replies to it. */
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vhost_parts.h"

#define FLAGS_VERSION 1u
#define FLAGS_VERSION_MASK 3u
#define FLAGS_REPLY 4u
#define FLAGS_NEED_REPLY 8u

void vhost_close_descriptors(struct vhost_device *device)
{
    while (device->descriptor_count > 0) {
        close(device->descriptors[--device->descriptor_count]);
    }
}

bool vhost_reply(struct vhost_device *device, uint32_t request, const void *payload, uint32_t size)
{
    uint8_t bytes[VHOST_MESSAGE_HEADER + VHOST_MAX_PAYLOAD];
    const uint32_t head[3] = {request, FLAGS_VERSION | FLAGS_REPLY, size};
    _Static_assert(sizeof(head) == VHOST_MESSAGE_HEADER, "the protocol's header");
    memcpy(bytes, head, sizeof(head));
    memcpy(bytes + sizeof(head), payload, size);
    /* QEMU waits for each reply, so there is room for it, or it does not keep to the protocol. */
    ssize_t sent = send(device->link, bytes, sizeof(head) + size, MSG_DONTWAIT | MSG_NOSIGNAL);
    return sent == (ssize_t)(sizeof(head) + size);
}

bool vhost_reply_number(struct vhost_device *device, uint32_t request, uint64_t number)
{
    return vhost_reply(device, request, &number, sizeof(number));
}

static bool has_reply(uint32_t request)
{
    return request == GET_FEATURES || request == GET_PROTOCOL_FEATURES || request == GET_VRING_BASE ||
           request == GET_CONFIG;
}

/* Keeps the descriptors that came with some bytes; false when there are too many. */
static bool keep_descriptors(struct vhost_device *device, struct msghdr *received)
{
    bool fits = !(received->msg_flags & MSG_CTRUNC);
    for (struct cmsghdr *part = CMSG_FIRSTHDR(received); part; part = CMSG_NXTHDR(received, part)) {
        if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) {
            continue;
        }
        size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int descriptor;
            memcpy(&descriptor, CMSG_DATA(part) + i * sizeof(int), sizeof(descriptor));
            if (device->descriptor_count < VHOST_MAX_DESCRIPTORS) {
                device->descriptors[device->descriptor_count++] = descriptor;
            } else {
                close(descriptor);
                fits = false;
            }
        }
    }
    return fits;
}

/* Reads up to `want` bytes of the message in all: never into the next one, whose descriptors are its own. */
static enum vhost_result fill(struct vhost_device *device, size_t want, const char **problem)
{
    while (device->have < want) {
        _Alignas(struct cmsghdr) char control[CMSG_SPACE(VHOST_MAX_DESCRIPTORS * sizeof(int))];
        struct iovec vector = {device->input + device->have, want - device->have};
        struct msghdr message = {
            .msg_iov = &vector, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
        ssize_t received = recvmsg(device->link, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        if (received < 0 && errno == EINTR) {
            continue;
        }
        if (received < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            return VHOST_WAIT;
        }
        if (received <= 0) {
            return VHOST_END;
        }
        device->have += (size_t)received;
        if (!keep_descriptors(device, &message)) {
            *problem = "more descriptors than a message may have";
            return VHOST_BAD;
        }
    }
    return VHOST_MESSAGE;
}

enum vhost_result vhost_receive(struct vhost_device *device, const char **problem)
{
    uint32_t head[3];
    enum vhost_result result = fill(device, VHOST_MESSAGE_HEADER, problem);
    if (result != VHOST_MESSAGE) {
        return result;
    }
    memcpy(head, device->input, sizeof(head));
    struct message message = {head[0], head[1], head[2], device->input + VHOST_MESSAGE_HEADER};
    if ((message.flags & FLAGS_VERSION_MASK) != FLAGS_VERSION || message.size > VHOST_MAX_PAYLOAD) {
        *problem = "a message of another version of the protocol, or too long";
        return VHOST_BAD;
    }
    result = fill(device, VHOST_MESSAGE_HEADER + message.size, problem);
    if (result != VHOST_MESSAGE) {
        return result;
    }
    *problem = vhost_carry_out(device, &message);
    vhost_close_descriptors(device);
    device->have = 0;
    if (!*problem && (message.flags & FLAGS_NEED_REPLY) && !has_reply(message.request) &&
        !vhost_reply_number(device, message.request, 0)) {
        *problem = "a reply cannot be sent";
    }
    return *problem ? VHOST_BAD : VHOST_MESSAGE;
}
