/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Stopping the DMA of a guest's PCI devices: what a device may still write after its guest has ended would
 * land in the memory that the guest is loaded into again.
 */

#include <stdint.h>

/*
 * Takes bus mastering and the interrupt line from every function in a configuration space laid out as ECAM
 * (PCI Express Base Specification, 7.2.2): 1 MiB a bus, 4 KiB a function. Returns the number of functions
 * there are.
 */
uint32_t pci_quiesce(volatile void *space, uint32_t size);
