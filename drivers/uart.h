/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* A serial port, as the console drives it. One of pl011.c and imx_uart.c is linked. */

#include <stdbool.h>
#include <stdint.h>

/* The firmware has set line speed and pins. All interrupts are off. */
void uart_start(void *registers);

/* False when the transmit FIFO is full. */
bool uart_put(uint8_t byte);

/* The next received byte, or -1. */
int uart_get(void);

/* Whether the device interrupts when bytes have come. Not while those that have come cannot be passed on: the
 * interrupt of a device that keeps it up would never end. */
void uart_await_input(bool wanted);

/* Whether the device interrupts when there is room to transmit again. */
void uart_await_room(bool wanted);

/* Clears what caused the interrupt. */
void uart_interrupted(void);
