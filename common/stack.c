/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * What the compiler's stack protector needs (gcc manual, -fstack-protector-strong). A function that finds its
 * canary overwritten ends the protection domain by a fault.
 *
 * The canary is made of the system counter when the domain starts, which is no secret: guests read the same
 * counter. It stops overflows that write on without a gap, not an attacker who knows the time of the start or
 * can read the stack. Its lowest byte is 0, which ends a copied string.
 */

#include "timer.h"

extern uint64_t __stack_chk_guard;
uint64_t __stack_chk_guard;

_Noreturn void __stack_chk_fail(void);
_Noreturn void __stack_chk_fail(void)
{
    __builtin_trap();
}

/* libmicrokit calls constructors before init(). */
__attribute__((constructor)) static void make_canary(void)
{
    __stack_chk_guard = (timer_now() * 0x9e3779b97f4a7c15ULL) << 8;
}
