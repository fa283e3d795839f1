/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* The switch's configuration; the build generates the constants. They number the ports alike. */

#include "forward.h"
#include "tally.h"

#define VSWITCH_NO_IDLE 0xffu

/* One of them is NULL: guests have network devices or vsock devices. */
extern const struct vswitch_config *const vswitch_config;
extern const struct vsock_config *const vswitch_vsock;
extern struct vsock_state *const vswitch_vsock_state;
extern const struct forward_port vswitch_ports[];
extern const uint8_t vswitch_timer_channel; /* protected calls to the timer */
extern const uint8_t
    vswitch_idle; /* channel to the domain that runs when nothing else does, or VSWITCH_NO_IDLE */
extern const uint8_t vswitch_watch; /* channel to the console, which asks whether the switch still works */
extern struct tally *const vswitch_tally; /* where the console reads the counters */
