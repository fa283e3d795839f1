/* SPDX-License-Identifier: BSD-2-Clause */

/* The UART of i.MX processors (i.MX 8M Dual/8QuadLite/8Quad Reference Manual, chapter "UART"). */

#include "registers.h"
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
enum { URXD_CHARRDY = 1 << 15, URXD_FRMERR = 1 << 12, URXD_BRK = 1 << 11, URXD_PRERR = 1 << 10 };
#define URXD_NO_BYTE (URXD_FRMERR | URXD_BRK | URXD_PRERR)
enum { UCR1_UARTEN = 1 << 0, UCR1_RRDYEN = 1 << 9, UCR1_TRDYEN = 1 << 13 };
enum { UCR2_RXEN = 1 << 1, UCR2_TXEN = 1 << 2 };
enum { UCR4_DREN = 1 << 0 };
enum { USR1_AGTIM = 1 << 8 };
enum { USR2_ORE = 1 << 1, USR2_RDR = 1 << 0 };
enum { UTS_TXFULL = 1 << 4 };

static void *base;

static volatile uint32_t *reg(uint32_t offset)
{
    return reg32(base, offset);
}

static void turn(uint32_t control, uint32_t bits, bool on)
{
    *reg(control) = on ? *reg(control) | bits : *reg(control) & ~bits;
}

void uart_start(void *registers)
{
    base = registers;
    /* Boot loaders leave it all on; without one it is off after a reset. */
    turn(UCR1, UCR1_UARTEN, true);
    turn(UCR2, UCR2_RXEN | UCR2_TXEN, true);
    turn(UCR1, UCR1_RRDYEN | UCR1_TRDYEN, false);
    turn(UCR4, UCR4_DREN, false);
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
    while (*reg(USR2) & USR2_RDR) {
        uint32_t data = *reg(URXD);
        /* A break, or noise on the line, is no byte that somebody typed. OVRRUN, and with it ERR, is set for
         * the byte that fills the FIFO, which is as good as the others. */
        if ((data & URXD_CHARRDY) && !(data & URXD_NO_BYTE)) {
            return (int)(data & 0xff);
        }
    }
    return -1;
}

void uart_await_input(bool wanted)
{
    /* On the first byte, whatever the FIFO's threshold is. */
    turn(UCR1, UCR1_RRDYEN, wanted);
    turn(UCR4, UCR4_DREN, wanted);
}

void uart_await_room(bool wanted)
{
    turn(UCR1, UCR1_TRDYEN, wanted);
}

void uart_interrupted(void)
{
    *reg(USR1) = USR1_AGTIM;
    *reg(USR2) = USR2_ORE;
}
