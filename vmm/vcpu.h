/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * The guest's processors through Microkit's interface: registers, start and stop, sleep, exceptions.
 */

#include <microkit.h>
#include <stdbool.h>
#include <stdint.h>

#include "gic.h"

enum vcpu_state { VCPU_OFF, VCPU_RUNNING, VCPU_ASLEEP };

struct vcpu {
    enum vcpu_state state;
    uint64_t deadline;   /* asleep: counter value at which its virtual timer fires, or TIMER_NEVER */
    bool timer_masked;   /* seL4 delivered the virtual timer and waits for the acknowledgement */
    uint64_t sleeper_pc; /* asleep: where to go on */
};

/* Remembers the reset values of the system registers; before the first start. */
void vcpu_init(uint32_t vcpus);

/* Starts a vCPU that is off, MMU and interrupts off, at EL1. */
void vcpu_start(uint32_t vcpu, uint64_t entry, uint64_t x0);
void vcpu_off(uint32_t vcpu);

/* Starts the program of drain.S at this address, with the interrupts that sit in list registers. */
void vcpu_start_draining(uint32_t vcpu, uint64_t entry, uint64_t gicc, const uint16_t lr[GIC_MAX_LRS]);

/* Puts a vCPU that executed a WFI of `advance` bytes to sleep until vcpu_wake. */
void vcpu_sleep(uint32_t vcpu, uint32_t advance);
void vcpu_wake(uint32_t vcpu);

/* General registers of a vCPU in a fault: reads register n (31 reads as 0); writes it and moves on `advance`
 * bytes. */
uint64_t vcpu_register(uint32_t vcpu, uint32_t n);
void vcpu_registers(uint32_t vcpu, uint64_t *x, uint32_t count);
void vcpu_set_register(uint32_t vcpu, uint32_t n, uint64_t value, uint32_t advance);
void vcpu_advance(uint32_t vcpu, uint32_t advance);

/* Gives the guest a synchronous external abort for the access it made, or the exception of an instruction
 * that does not exist. False when that happened in its own exception vector: then it cannot go on. */
bool vcpu_abort(uint32_t vcpu, uint64_t address, bool instruction);
bool vcpu_undefined(uint32_t vcpu);

/* The scheduling priority of a vCPU. */
void vcpu_set_priority(uint32_t vcpu, uint8_t priority);

/* Puts what is pending into free list registers. */
void vcpu_inject(struct gic *gic, uint32_t vcpu);

struct vcpu *vcpu_of(uint32_t vcpu);
