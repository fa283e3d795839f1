/* SPDX-License-Identifier: BSD-2-Clause */

/* PrimeCell UART PL011 (ARM DDI 0183). */

#include "uart.h"

enum { DR = 0x000, FR = 0x018, IMSC = 0x038, ICR = 0x044 };
enum { FR_RXFE = 1 << 4, FR_TXFF = 1 << 5 };
enum { INT_RX = 1 << 4, INT_TX = 1 << 5, INT_RX_TIMEOUT = 1 << 6 };

static volatile uint8_t *base;

static volatile uint32_t *reg(uint32_t offset)
{
    return (volatile uint32_t *)(volatile void *)(base + offset);
}

void uart_start(void *registers)
{
    base = registers;
    *reg(ICR) = 0x7ff;
    *reg(IMSC) = INT_RX | INT_RX_TIMEOUT;
}

bool uart_put(uint8_t byte)
{
    if (*reg(FR) & FR_TXFF) {
        return false;
    }
    *reg(DR) = byte;
    return true;
}

int uart_get(void)
{
    return *reg(FR) & FR_RXFE ? -1 : (int)(*reg(DR) & 0xff);
}

void uart_await_room(bool wanted)
{
    *reg(IMSC) = INT_RX | INT_RX_TIMEOUT | (wanted ? INT_TX : 0);
}

void uart_interrupted(void)
{
    *reg(ICR) = INT_RX | INT_RX_TIMEOUT | INT_TX;
}
