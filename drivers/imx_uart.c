/* SPDX-License-Identifier: BSD-2-Clause */

/* The UART of i.MX processors (i.MX 8M Dual/8QuadLite/8Quad Reference Manual, chapter "UART"). */

#include "uart.h"

enum {
    URXD = 0x00,
    UTXD = 0x40,
    UCR1 = 0x80,
    UCR2 = 0x84,
    UCR4 = 0x8c,
    USR1 = 0x94,
    USR2 = 0x98,
    UTS = 0xb4
};
enum { URXD_CHARRDY = 1 << 15 };
enum { UCR1_RRDYEN = 1 << 9, UCR1_TRDYEN = 1 << 13 };
enum { UCR2_RXEN = 1 << 1, UCR2_TXEN = 1 << 2 };
enum { UCR4_DREN = 1 << 0 };
enum { USR1_AGTIM = 1 << 8 };
enum { USR2_ORE = 1 << 1, USR2_RDR = 1 << 0 };
enum { UTS_TXFULL = 1 << 4 };

static volatile uint8_t *base;

static volatile uint32_t *reg(uint32_t offset)
{
    return (volatile uint32_t *)(volatile void *)(base + offset);
}

void uart_start(void *registers)
{
    base = registers;
    /* Boot loaders leave both directions on; started without one, the UART only sends. */
    *reg(UCR2) |= UCR2_RXEN | UCR2_TXEN;
    /* Interrupt on the first byte, whatever the FIFO's threshold is. */
    *reg(UCR1) = (*reg(UCR1) | UCR1_RRDYEN) & ~(uint32_t)UCR1_TRDYEN;
    *reg(UCR4) |= UCR4_DREN;
}

bool uart_put(uint8_t byte)
{
    if (*reg(UTS) & UTS_TXFULL) {
        return false;
    }
    *reg(UTXD) = byte;
    return true;
}

int uart_get(void)
{
    if (!(*reg(USR2) & USR2_RDR)) {
        return -1;
    }
    uint32_t data = *reg(URXD);
    return data & URXD_CHARRDY ? (int)(data & 0xff) : -1;
}

void uart_await_room(bool wanted)
{
    uint32_t control = *reg(UCR1) & ~(uint32_t)UCR1_TRDYEN;
    *reg(UCR1) = wanted ? control | UCR1_TRDYEN : control;
}

void uart_interrupted(void)
{
    *reg(USR1) = USR1_AGTIM;
    *reg(USR2) = USR2_ORE;
}
