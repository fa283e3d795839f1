/* SPDX-License-Identifier: BSD-2-Clause */
#include "pl011_early.h"

enum { UARTDR = 0x000, UARTFR = 0x018 };
enum { FR_RXFE = 1 << 4, FR_TXFE = 1 << 7 };

uint64_t pl011_early_read(uint64_t offset, uint32_t size)
{
    (void)size;
    return offset == UARTFR ? FR_RXFE | FR_TXFE : 0;
}

bool pl011_early_write(uint64_t offset, uint32_t size, uint64_t value, uint8_t *byte)
{
    if (offset != UARTDR || size > 4) {
        return false;
    }
    *byte = (uint8_t)value;
    return true;
}
