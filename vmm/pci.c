/* SPDX-License-Identifier: BSD-2-Clause */
#include "pci.h"

enum { VENDOR_ID = 0x00, COMMAND = 0x04, HEADER_TYPE = 0x0e };
enum { COMMAND_BUS_MASTER = 1 << 2, COMMAND_NO_INTX = 1 << 10 };
#define NO_DEVICE 0xffffu
#define MANY_FUNCTIONS 0x80u
#define FUNCTION_BYTES 0x1000u
#define FUNCTIONS 8u

static volatile uint16_t *word(volatile void *space, uint32_t function, uint32_t offset)
{
    return (volatile uint16_t *)((volatile uint8_t *)space + function * FUNCTION_BYTES + offset);
}

uint32_t pci_quiesce(volatile void *space, uint32_t size)
{
    uint32_t found = 0;
    for (uint32_t device = 0; device < size / FUNCTION_BYTES; device += FUNCTIONS) {
        uint32_t functions = *word(space, device, HEADER_TYPE) & MANY_FUNCTIONS ? FUNCTIONS : 1;
        for (uint32_t f = device; f < device + functions; f++) {
            if (*word(space, f, VENDOR_ID) == NO_DEVICE) {
                continue;
            }
            volatile uint16_t *command = word(space, f, COMMAND);
            *command = (uint16_t)((*command & ~COMMAND_BUS_MASTER) | COMMAND_NO_INTX);
            /* What was written before has reached the device once it has answered. */
            (void)*command;
            found++;
        }
    }
    return found;
}
