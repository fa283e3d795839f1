/* SPDX-License-Identifier: BSD-2-Clause */

/* PrimeCell UART PL011 (ARM DDI 0183). */

#include "registers.h"
#include "uart.h"

enum { DR = 0x000, FR = 0x018, IMSC = 0x038, ICR = 0x044 };
enum { FR_RXFE = 1 << 4, FR_TXFF = 1 << 5 };
enum { INT_RX = 1u << 4, INT_TX = 1u << 5, INT_RX_TIMEOUT = 1u << 6 };

static void *base;

static volatile uint32_t *reg(uint32_t offset)
{
    return reg32(base, offset);
}

void uart_start(void *registers)
{
    base = registers;
    *reg(IMSC) = 0;
    *reg(ICR) = 0x7ff;
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

static void unmask(uint32_t interrupts, bool wanted)
{
    *reg(IMSC) = wanted ? *reg(IMSC) | interrupts : *reg(IMSC) & ~interrupts;
}

void uart_await_input(bool wanted)
{
    unmask(INT_RX | INT_RX_TIMEOUT, wanted);
}

void uart_await_room(bool wanted)
{
    unmask(INT_TX, wanted);
}

void uart_interrupted(void)
{
    *reg(ICR) = INT_RX | INT_RX_TIMEOUT | INT_TX;
}
