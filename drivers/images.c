/* SPDX-License-Identifier: BSD-2-Clause */

/* Fills the image regions. It has a higher priority than the VMMs, so they find the regions filled. */

#include "images.h"

#include <microkit.h>

#include "freestanding.h"

void init(void)
{
    for (uint32_t i = 0; i < images_config.fills; i++) {
        const struct image_fill *fill = &images_config.fill[i];
        memcpy(fill->region, fill->start, (uint64_t)(fill->end - fill->start));
    }
}

void notified(microkit_channel channel)
{
    (void)channel; /* it has none */
}
