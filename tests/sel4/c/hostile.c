/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * A guest kernel that attacks its monitor. It runs on the bare machine, at EL1 with the MMU off, so that it
 * reaches everything that a guest's kernel can: every register at any width, queues anywhere, calls to
 * firmware, system registers, the CPU interface of the interrupt controller.
 *
 * It calls the kernel, runs programs of 32 bits, sets a watchpoint for everybody's memory, disturbs the alarm
 * that the others' timers hang on for SECONDS in each of two ways, attacks for SECONDS with each of two
 * seeds, then sets its network up as a good driver does and asks for its peer's hardware address. In its
 * further lives it crashes, each time in another way, until it has run out of ways. The count of lives is in
 * RAM, which a restart leaves alone where no image lies.
 *
 * The addresses of the machine come from the plan, as macros. What it says goes to the early console.
 */
#include "hostile_driver.h"
#include "hostile_kernel.h"
#include "hostile_net.h"
#include "hostile_offload.h"
#include "hostile_queues.h"

#define STRING2(x) #x
#define STRING(x) STRING2(x)

/* Kept through restarts: in the middle of the RAM, where no image lies. */
struct lives {
    uint32_t magic;
    uint32_t count;
};
#define LIVES ((volatile struct lives *)(RAM_BASE + RAM_SIZE / 2))
#define LIVES_MAGIC 0x6c697665u

static uint32_t aborts;    /* synchronous external aborts that the monitor gave us */
static uint32_t undefined; /* instructions that do not exist for us */
static uint32_t others;
static uint32_t stalls; /* floods that ended because the device took no more */

uint64_t on_exception(uint64_t syndrome, uint64_t pc, uint64_t link);
uint64_t on_exception(uint64_t syndrome, uint64_t pc, uint64_t link)
{
    uint32_t class = (uint32_t)(syndrome >> 26) & 0x3f;
    if (class == 0x21) { /* an instruction abort: a call that led nowhere */
        aborts++;
        return link;
    }
    if (class == 0x11) { /* a program of 32 bits is over */
        __asm__ volatile("msr spsr_el1, %0" ::"r"(0x3c5UL));
        return back_from_32_bit;
    }
    if (class == 0x25 && (syndrome & 0x3f) == 0x10) {
        aborts++;
    } else if (class == 0) {
        undefined++;
    } else {
        others++;
    }
    return pc + 4;
}

static void interrupt_controller(void)
{
    for (uint32_t i = 0; i < 128; i++) {
        uint32_t width = 1u << below(4);
        uint64_t address = GICD + (below(0x1000) & ~(width - 1));
        if (below(3)) {
            poke(address, width, below(2) ? any() : awkward());
        } else {
            peek(address, width);
        }
    }
    /* The real thing behind it: the virtual CPU interface of the hardware. */
    static const uint16_t known[] = {0x00, 0x04, 0x08, 0x0c, 0x10, 0x14, 0x18,  0x1c,
                                     0x20, 0x24, 0x28, 0xd0, 0xd4, 0xfc, 0x1000};
    for (uint32_t i = 0; i < 64; i++) {
        uint64_t address = GICC + known[below(15)];
        if (below(2)) {
            poke(address, 4, below(3) ? below(300) : any());
        } else {
            peek(address, 4);
        }
    }
}

/* Calls to the monitor and to firmware. Those that end this guest are for later lives. */
static uint64_t call(bool smc, uint64_t function, uint64_t a, uint64_t b, uint64_t c, uint64_t seventh)
{
    register uint64_t x0 __asm__("x0") = function;
    register uint64_t x1 __asm__("x1") = a;
    register uint64_t x2 __asm__("x2") = b;
    register uint64_t x3 __asm__("x3") = c;
    register uint64_t x7 __asm__("x7") = seventh;
    if (smc) {
        __asm__ volatile("smc #0"
                         : "+r"(x0), "+r"(x1), "+r"(x2), "+r"(x3)
                         : "r"(x7)
                         : "memory", "x4", "x5", "x6");
    } else {
        __asm__ volatile("hvc #0"
                         : "+r"(x0), "+r"(x1), "+r"(x2), "+r"(x3)
                         : "r"(x7)
                         : "memory", "x4", "x5", "x6");
    }
    return x0;
}

static bool ends_us(uint32_t function)
{
    uint32_t number = function & 0x1f;
    bool psci = (function & ~0x4000001fu) == 0x84000000u;
    return psci && (number == 2 || number == 8 || number == 9 || number == 0x12);
}

static void calls(void)
{
    for (uint32_t i = 0; i < 32; i++) {
        uint64_t function = below(2)   ? 0x84000000u | below(0x20) | (below(2) ? 0x40000000u : 0)
                            : below(2) ? 0x80000000u | (uint32_t)any()
                                       : any();
        if (!ends_us((uint32_t)function)) {
            call(below(2), function, awkward(), any(), any(), any());
        }
    }
}

#define TOUCH(name)                                                                                          \
    do {                                                                                                     \
        uint64_t was_ = 0;                                                                                   \
        __asm__ volatile("mrs %0, " name : "+r"(was_));                                                      \
        if (below(2)) {                                                                                      \
            __asm__ volatile("msr " name ", %0" ::"r"(below(2) ? any() : awkward()));                        \
        }                                                                                                    \
    } while (0)

/* Registers that belong to the hypervisor, to debugging, to nobody. The virtual timer keeps us going. */
static void system_registers(void)
{
    switch (below(16)) {
    case 0:
        TOUCH("s3_0_c15_c2_1");
        break;
    case 1:
        TOUCH("s3_1_c15_c2_0");
        break;
    case 2:
        TOUCH("actlr_el1");
        break;
    case 3:
        TOUCH("s3_0_c12_c12_5"); /* ICC_SRE_EL1 */
        break;
    case 4:
        TOUCH("s3_0_c12_c11_5"); /* ICC_SGI1R_EL1 */
        break;
    case 5:
        TOUCH("pmcr_el0");
        break;
    case 6:
        TOUCH("pmcntenset_el0");
        break;
    case 7:
        TOUCH("mdscr_el1");
        break;
    case 8:
        TOUCH("dbgbvr0_el1");
        break;
    case 9:
        TOUCH("osdlr_el1");
        break;
    case 10:
        TOUCH("cnthctl_el2");
        break;
    case 11:
        TOUCH("hcr_el2");
        break;
    case 12:
        TOUCH("cntv_cval_el0");
        break;
    case 13:
        TOUCH("cntp_cval_el0");
        break;
    case 14: {
        __asm__ volatile("msr cntp_ctl_el0, %0" ::"r"(any() & 3));
        break;
    }
    default:
        __asm__ volatile("dc isw, %0\ndc cisw, %0" ::"r"(any() & 0xff0));
        break;
    }
}

/* Addresses where nothing is, loads that the processor describes and loads that it does not. */
static void stray(void)
{
    static const uint64_t nowhere[] = {0x0ff00000, 0x0a003000, 0x05000000,
                                       0x08021000, 0x60000000, 0x7fffffff0};
    uint64_t address = nowhere[below(6)];
    uint64_t a, b;
    switch (below(4)) {
    case 0:
        peek(address, 4);
        break;
    case 1:
        poke(address, 8, any());
        break;
    case 2:
        __asm__ volatile("ldp %0, %1, [%2]" : "=r"(a), "=r"(b) : "r"(NET));
        break;
    default:
        ((void (*)(void))address)();
        break;
    }
}

/* Frames by the thousand: forged, cut, from all over, with impossible offloads. */
static void flood(void)
{
    struct good good;
    uint64_t frame = BUFFERS + 0x1000 * GOOD_SIZE;
    if (!bring_up(NET, &good)) {
        return;
    }
    for (uint32_t i = 0; i < 300; i++) {
        compose(frame);
        for (uint32_t n = below(4); n > 0; n--) {
            ((volatile uint8_t *)frame)[below(72)] = (uint8_t)any();
        }
        if (!transmit(&good, frame, below(4) ? 60 : below(1600))) {
            stalls++;
            return;
        }
    }
}

/* For all that runs at EL0 and touches its first 2 GiB of addresses, as every protection domain does. Where
 * these registers are ours, the next one to run on this core meets it, and ends. */
static void set_a_watchpoint(void)
{
    enum {
        ENABLE = 1,
        AT_EL0 = 2 << 1,
        LOADS_AND_STORES = 3 << 3,
        ALL_BYTES = 0xff << 5,
        TWO_GIB = 31 << 24
    };
    uint64_t control = ENABLE | AT_EL0 | LOADS_AND_STORES | ALL_BYTES | TWO_GIB;
    uint64_t state;
    say("hostile: sets a watchpoint\n");
    __asm__ volatile("msr oslar_el1, xzr\nisb\n"
                     "msr dbgwvr0_el1, xzr\n"
                     "msr dbgwcr0_el1, %1\n"
                     "mrs %0, mdscr_el1\n"
                     "orr %0, %0, #0x8000\n" /* MDE */
                     "msr mdscr_el1, %0\nisb"
                     : "=&r"(state)
                     : "r"(control));
}

/* The timer's alarm is a register of the processor that nobody keeps from us, where the kernel leaves it to
 * user level: first it never comes, then it comes without end. Nothing of this traps. */
static void disturb_the_alarm(void)
{
    say("hostile: stops the alarm\n");
    for (uint64_t end = now() + SECONDS * hertz(); now() < end;) {
        __asm__ volatile("msr cntp_ctl_el0, %0" ::"r"(2UL));
    }
    say("hostile: lets it ring\n");
    for (uint64_t end = now() + SECONDS * hertz(); now() < end;) {
        __asm__ volatile("msr cntp_cval_el0, xzr\nmsr cntp_ctl_el0, %0" ::"r"(1UL));
    }
    say("hostile: leaves the alarm alone\n");
}

static void attack(uint64_t seed)
{
    random_state = seed;
    uint64_t rounds = 0;
    uint64_t end = now() + SECONDS * hertz();
    while (now() < end) {
        switch (below(10)) {
        case 0:
            registers();
            break;
        case 1:
        case 2:
            queues();
            break;
        case 3:
            storm();
            break;
        case 4:
            interrupt_controller();
            break;
        case 5:
            calls();
            break;
        case 6:
            system_registers();
            break;
        case 7:
            stray();
            break;
        case 8:
            for (uint32_t i = 0; i < 16; i++) {
                try_kernel_call(below(4) ? -(int64_t)below(-LAST_CALL) : (int64_t)any());
            }
            break;
        default:
            flood();
            break;
        }
        rounds++;
    }
    for (uint64_t device = NET; device < NET + 3 * STRIDE; device += STRIDE) {
        set(device, 0x70, 0);
    }
    say_number("\nhostile: seed ", seed, "");
    say_number(" rounds ", rounds, "");
    say_number(" aborts ", aborts, "");
    say_number(" undefined ", undefined, "");
    say_number(" others ", others, "");
    say_number(" stalls ", stalls, "\n");
    say(talk() ? "hostile: talks again\n" : "hostile: is mute\n");
}

void main(void);
void main(void)
{
    volatile struct lives *lives = LIVES;
    if (lives->magic != LIVES_MAGIC) {
        lives->magic = LIVES_MAGIC;
        lives->count = 0;
    }
    uint32_t life = lives->count++;
    say("\nrouter: guest " STRING(NAME) ": userspace up\n");
    say_number("hostile: life ", life, "");
    say_number(" at ", now() / (hertz() / 1000), " ms\n");
    switch (life) {
    case 0:
        if (await_key() == 'd') {
            /* For a kernel that has debug calls. */
            /* The multiplexer's own bytes come between those of some. */
            for (uint32_t i = 0; i < 32; i++) {
                forge_a_line();
            }
            say("hostile: halts the kernel\n");
            halt_the_kernel();
            say("hostile: the kernel goes on\n");
            return;
        }
        make_kernel_calls();
        count_cycles();
        run_32_bit_programs();
        set_a_watchpoint();
        disturb_the_alarm();
        attack(SEED);
        attack(SEED + 1);
        forge_offloads();
        say("hostile: crashes now\n");
        /* Exceptions lead nowhere, and the first one comes. */
        __asm__ volatile("msr vbar_el1, %0\nisb\nsvc #0" ::"r"(0x0ff00000UL));
        break;
    case 1:
        /* To jump where nothing is, without vectors either. */
        __asm__ volatile("msr vbar_el1, %0\nisb\nbr %0" ::"r"(0x0ff00000UL));
        break;
    case 2:
        call(false, 0x84000009, 0, 0, 0, 0); /* SYSTEM_RESET */
        break;
    default:
        say(talk() ? "hostile: lives on and talks\n" : "hostile: lives on and is mute\n");
        break;
    }
}
