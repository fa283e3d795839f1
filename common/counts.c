/* SPDX-License-Identifier: BSD-2-Clause */
#include "counts.h"

struct counts counts __attribute__((aligned(64)));
