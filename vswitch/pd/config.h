/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* What the switch is told; the build generates both constants. Port n of the one is port n of the other. */

#include "forward.h"

extern const struct vswitch_config vswitch_config;
extern const struct forward_port vswitch_ports[];
