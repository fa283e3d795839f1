/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* What the ticker is told; the build generates it. */

#include <stdint.h>

extern const uint8_t ticker_channel; /* to the timer */
