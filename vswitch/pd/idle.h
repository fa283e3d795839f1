/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* What the idle domain is told; the build generates it. */

#include <stdint.h>

extern const uint8_t idle_channel; /* to the switch */
