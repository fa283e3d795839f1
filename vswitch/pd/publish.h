/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

#include "forward.h"
#include "tally.h"

/* Copies all ports' counters to where the console reads them. */
void publish(const struct forward *f, struct tally *tally);
