/*
 * A guest kernel that attacks its monitor. It runs on the bare machine, at EL1 with the MMU off, so that it
 * reaches everything that a guest's kernel can: every register at any width, queues anywhere, calls to
 * firmware, system registers, the CPU interface of the interrupt controller.
 *
 * It attacks for SECONDS with each of two seeds, then sets its network up as a good driver does and asks for
 * its peer's hardware address. In its further lives it crashes, each time in another way, until it has run
 * out of ways. The count of lives is in RAM, which a restart leaves alone where no image lies.
 *
 * The addresses of the machine come from the plan, as macros. What it says goes to the early console.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STRING2(x) #x
#define STRING(x) STRING2(x)

/* arm64 boot protocol: the header, then vectors, which must lie on 2 KiB. */
__asm__(".section .head, \"ax\"\n"
        ".global _start\n"
        "_start: b start\n"
        ".long 0\n"
        ".quad 0\n"             /* text_offset */
        ".quad _end - _start\n" /* image_size */
        ".quad 0xa\n"           /* little-endian, 4 KiB pages, anywhere */
        ".quad 0, 0, 0\n"
        ".ascii \"ARM\\x64\"\n"
        ".long 0\n"
        ".balign 2048\n"
        "vectors:\n"
        ".rept 16\n"
        ".balign 128\n"
        "sub sp, sp, #272\n"
        "stp x0, x1, [sp]\n"
        "stp x2, x3, [sp, #16]\n"
        "b trapped\n"
        ".endr\n"
        "trapped:\n"
        "stp x4, x5, [sp, #32]\n"
        "stp x6, x7, [sp, #48]\n"
        "stp x8, x9, [sp, #64]\n"
        "stp x10, x11, [sp, #80]\n"
        "stp x12, x13, [sp, #96]\n"
        "stp x14, x15, [sp, #112]\n"
        "stp x16, x17, [sp, #128]\n"
        "stp x18, x29, [sp, #144]\n"
        "str x30, [sp, #160]\n"
        "mrs x0, esr_el1\n"
        "mrs x1, elr_el1\n"
        "mov x2, x30\n"
        "bl on_exception\n"
        "msr elr_el1, x0\n"
        "ldp x2, x3, [sp, #16]\n"
        "ldp x4, x5, [sp, #32]\n"
        "ldp x6, x7, [sp, #48]\n"
        "ldp x8, x9, [sp, #64]\n"
        "ldp x10, x11, [sp, #80]\n"
        "ldp x12, x13, [sp, #96]\n"
        "ldp x14, x15, [sp, #112]\n"
        "ldp x16, x17, [sp, #128]\n"
        "ldp x18, x29, [sp, #144]\n"
        "ldr x30, [sp, #160]\n"
        "ldp x0, x1, [sp]\n"
        "add sp, sp, #272\n"
        "eret\n"
        "start:\n"
        "adrp x1, vectors\n"
        "add x1, x1, :lo12:vectors\n"
        "msr vbar_el1, x1\n"
        "adrp x1, stack_end\n"
        "add x1, x1, :lo12:stack_end\n"
        "mov sp, x1\n"
        "isb\n"
        "bl main\n"
        "1: wfi\n"
        "b 1b\n"
        ".text\n");

static uint8_t stack[0x4000] __attribute__((aligned(16), used));
__asm__(".global stack_end\n.equ stack_end, stack + 0x4000\n");

/* Kept through restarts: in the middle of the RAM, where no image lies. */
struct lives {
    uint32_t magic;
    uint32_t count;
};
#define LIVES ((volatile struct lives *)(RAM_BASE + RAM_SIZE / 2))
#define LIVES_MAGIC 0x6c697665u

/* Queues and buffers of the good driver. */
#define RINGS (RAM_BASE + RAM_SIZE / 2 + 0x10000)
#define BUFFERS (RAM_BASE + RAM_SIZE / 2 + 0x20000)
/* Where the attacks put theirs; garbage may be written around it, and above the images only. */
#define PLAYGROUND (RAM_BASE + RAM_SIZE / 2 + 0x100000)
#define PLAYGROUND_BYTES 0x40000u

static uint32_t aborts;    /* synchronous external aborts that the monitor gave us */
static uint32_t undefined; /* instructions that do not exist for us */
static uint32_t others;
static uint32_t stalls; /* floods that ended because the device took no more */
static uint64_t random_state;

static void say(const char *text)
{
    for (; *text != 0; text++) {
        *(volatile uint32_t *)UART = (uint8_t)*text;
    }
}

static void say_number(const char *before, uint64_t value, const char *after)
{
    char digits[21];
    uint32_t at = sizeof(digits) - 1;
    digits[at] = 0;
    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value != 0);
    say(before);
    say(digits + at);
    say(after);
}

uint64_t on_exception(uint64_t syndrome, uint64_t pc, uint64_t link);
uint64_t on_exception(uint64_t syndrome, uint64_t pc, uint64_t link)
{
    uint32_t class = (uint32_t)(syndrome >> 26) & 0x3f;
    if (class == 0x21) { /* an instruction abort: a call that led nowhere */
        aborts++;
        return link;
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

/* xorshift64* (Vigna 2016) */
static uint64_t any(void)
{
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return random_state * 0x2545f4914f6cdd1dULL;
}

static uint32_t below(uint32_t limit)
{
    return (uint32_t)((any() >> 33) % limit);
}

static uint64_t now(void)
{
    uint64_t value;
    __asm__ volatile("isb\nmrs %0, cntvct_el0" : "=r"(value));
    return value;
}

static uint64_t hertz(void)
{
    uint64_t value;
    __asm__ volatile("mrs %0, cntfrq_el0" : "=r"(value));
    return value;
}

/* Values that break things more often than others do. */
static uint64_t awkward(void)
{
    static const uint32_t some[] = {0,          1,      2,      0x7fffffff, 0x80000000,
                                    0xffffffff, 0xffff, 0x8000, 0x10000000, 0xfffffff0,
                                    256,        257,    255,    64};
    uint32_t pick = below(20);
    return pick < 14 ? some[pick] : pick < 17 ? any() : any() & 0xff;
}

static void poke(uint64_t address, uint32_t width, uint64_t value)
{
    switch (width) {
    case 1:
        *(volatile uint8_t *)address = (uint8_t)value;
        break;
    case 2:
        *(volatile uint16_t *)address = (uint16_t)value;
        break;
    case 4:
        *(volatile uint32_t *)address = (uint32_t)value;
        break;
    default:
        *(volatile uint64_t *)address = value;
        break;
    }
}

static uint64_t peek(uint64_t address, uint32_t width)
{
    switch (width) {
    case 1:
        return *(volatile uint8_t *)address;
    case 2:
        return *(volatile uint16_t *)address;
    case 4:
        return *(volatile uint32_t *)address;
    default:
        return *(volatile uint64_t *)address;
    }
}

static void set(uint64_t device, uint32_t reg, uint32_t value)
{
    *(volatile uint32_t *)(device + reg) = value;
}

static uint32_t get(uint64_t device, uint32_t reg)
{
    return *(volatile uint32_t *)(device + reg);
}

static uint64_t some_device(void)
{
    return NET + (uint64_t)below(3) * STRIDE;
}

/* Any register of any device, one that is not there among them, at any width and alignment. */
static void registers(void)
{
    for (uint32_t i = 0; i < 64; i++) {
        uint64_t device = NET + (uint64_t)below(5) * STRIDE;
        uint32_t width = 1u << below(4);
        uint64_t address = device + (below(STRIDE) & (below(8) == 0 ? ~0u : ~(width - 1)));
        if (below(2)) {
            poke(address, width, awkward());
        } else {
            peek(address, width);
        }
    }
}

struct descriptor {
    uint64_t address;
    uint32_t length;
    uint16_t flags;
    uint16_t next;
};

/* An address in our RAM, at its edges, or where we have no business. */
static uint64_t some_address(void)
{
    switch (below(10)) {
    case 0:
        return RAM_BASE + RAM_SIZE - below(64);
    case 1:
        return RAM_BASE - below(64);
    case 2:
        return NET + below(0x1000);
    case 3:
        return ~0ULL - below(0x2000);
    case 4:
        return (uint64_t)below(4) << 30 | below(0x10000); /* other guests, the kernel */
    case 5:
        return 0x100000000ULL + any() % 0x1000000000ULL; /* the monitor's own mappings */
    case 6:
        return any();
    default:
        return PLAYGROUND + below(PLAYGROUND_BYTES);
    }
}

static uint32_t some_length(void)
{
    switch (below(8)) {
    case 0:
        return 0xffffffff - below(32);
    case 1:
        return (uint32_t)RAM_SIZE + below(3) - 1;
    case 2:
        return 0;
    case 3:
        return below(0x20000);
    default:
        return below(2048);
    }
}

static void fill_with_descriptors(uint64_t table, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        volatile struct descriptor *d = (volatile struct descriptor *)(table + 16ULL * i);
        d->address = below(3) ? PLAYGROUND + (below(PLAYGROUND_BYTES) & ~15u) : some_address();
        d->length = below(3) ? 16 * below(64) : some_length();
        d->flags = (uint16_t)(below(6) ? below(8) : any());
        d->next = (uint16_t)(below(4) ? below(count) : any());
    }
}

/* A queue whose rings may lie anywhere, over each other, over their own buffers. */
static void set_up_queue(uint64_t device, uint32_t queue, uint32_t size, uint64_t places[3])
{
    for (uint32_t part = 0; part < 3; part++) {
        places[part] = PLAYGROUND + (below(PLAYGROUND_BYTES - 0x2000) & ~15u);
    }
    if (below(8) == 0) {
        places[below(3)] = some_address();
    }
    if (below(6) == 0) {
        places[2] = places[below(2)];
    }
    set(device, 0x30, queue);
    set(device, 0x38, size);
    for (uint32_t part = 0; part < 3; part++) {
        set(device, 0x80 + 0x10 * part, (uint32_t)places[part]);
        set(device, 0x84 + 0x10 * part, (uint32_t)(places[part] >> 32));
    }
    set(device, 0x44, 1);
}

static bool in_playground(uint64_t address)
{
    return address >= PLAYGROUND && address < PLAYGROUND + PLAYGROUND_BYTES;
}

/* The status and feature steps of a driver, some of them left out or done twice. */
static void negotiate(uint64_t device)
{
    set(device, 0x70, 0);
    set(device, 0x70, 3);
    for (uint32_t half = 0; half < 2; half++) {
        set(device, 0x14, half);
        set(device, 0x24, half);
        uint32_t offered = get(device, 0x10);
        set(device, 0x20, half == 1 ? offered : offered & (uint32_t)any());
    }
    if (below(10) == 0) {
        set(device, 0x20, (uint32_t)any());
    }
    set(device, 0x70, 0xb);
}

static void queues(void)
{
    uint64_t device = some_device();
    uint64_t places[2][3];
    uint32_t size = 1u << below(9);
    negotiate(device);
    for (uint32_t queue = 0; queue < 2; queue++) {
        set_up_queue(device, queue, below(10) ? size : (uint32_t)awkward(), places[queue]);
    }
    set(device, 0x70, 0xf);
    for (uint32_t round = 0; round < 12; round++) {
        uint32_t queue = below(2);
        if (in_playground(places[queue][0])) {
            fill_with_descriptors(places[queue][0], size);
        }
        if (in_playground(places[queue][1])) {
            volatile uint16_t *avail = (volatile uint16_t *)places[queue][1];
            for (uint32_t i = 0; i < size; i++) {
                avail[2 + i] = (uint16_t)(below(8) ? below(size) : any());
            }
            avail[0] = (uint16_t)below(3);
            avail[2 + size] = (uint16_t)any();
            avail[1] = (uint16_t)(avail[1] + (below(6) ? below(size + 1) : (uint32_t)any()));
        }
        for (uint32_t i = below(4); i > 0; i--) {
            set(device, 0x50, below(4) ? queue : (uint32_t)awkward());
        }
        switch (below(8)) {
        case 0:
            set(device, 0x64, get(device, 0x60));
            break;
        case 1:
            set(device, 0x70, (uint32_t)awkward() & 0xff);
            break;
        case 2:
            set(device, 0x44, 0);
            break;
        case 3:
            registers();
            break;
        default:
            break;
        }
    }
}

/* Nothing but doorbells, on queues that exist and on queues that do not. */
static void storm(void)
{
    uint64_t device = some_device();
    for (uint32_t i = 0; i < 2000; i++) {
        set(device, 0x50, i % 5 ? i & 1 : (uint32_t)any());
    }
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
            /* In x7 an HVC has the number of a system call for seL4; its own are negative. */
            call(below(2), function, awkward(), any(), any(), any() & 0x7fffffff);
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

/* The network as a good driver uses it: eight entries a queue, one buffer each. */
struct good {
    uint16_t sent;
    uint16_t received;
};
#define GOOD_SIZE 8u
#define QUEUE(n) (RINGS + 0x4000ULL * (n))

static bool bring_up(uint64_t device, struct good *good)
{
    for (uint32_t i = 0; i < 0x8000; i += 8) {
        *(volatile uint64_t *)(RINGS + i) = 0;
    }
    set(device, 0x70, 0);
    set(device, 0x70, 3);
    set(device, 0x24, 0);
    set(device, 0x20, 0);
    set(device, 0x24, 1);
    set(device, 0x20, 1);
    set(device, 0x70, 0xb);
    for (uint32_t queue = 0; queue < 2; queue++) {
        set(device, 0x30, queue);
        set(device, 0x38, GOOD_SIZE);
        for (uint32_t part = 0; part < 3; part++) {
            set(device, 0x80 + 0x10 * part, (uint32_t)(QUEUE(queue) + 0x1000 * part));
            set(device, 0x84 + 0x10 * part, (uint32_t)((QUEUE(queue) + 0x1000 * part) >> 32));
        }
        set(device, 0x44, 1);
    }
    set(device, 0x70, 0xf);
    volatile struct descriptor *rx = (volatile struct descriptor *)QUEUE(0);
    volatile uint16_t *avail = (volatile uint16_t *)(QUEUE(0) + 0x1000);
    for (uint32_t i = 0; i < GOOD_SIZE; i++) {
        rx[i] = (struct descriptor){BUFFERS + 0x1000ULL * i, 0x1000, 2, 0};
        avail[2 + i] = (uint16_t)i;
    }
    avail[1] = GOOD_SIZE;
    set(device, 0x50, 0);
    *good = (struct good){0};
    return get(device, 0x70) == 0xf;
}

/* Sends `length` bytes that lie behind 12 bytes of header; false when the device does not take them. */
static bool transmit(struct good *good, uint64_t buffer, uint32_t length)
{
    volatile struct descriptor *tx = (volatile struct descriptor *)QUEUE(1);
    volatile uint16_t *avail = (volatile uint16_t *)(QUEUE(1) + 0x1000);
    volatile uint16_t *used = (volatile uint16_t *)(QUEUE(1) + 0x2000);
    uint16_t slot = good->sent % GOOD_SIZE;
    tx[slot] = (struct descriptor){buffer, 12 + length, 0, 0};
    avail[2 + slot] = slot;
    avail[1] = ++good->sent;
    set(NET, 0x50, 1);
    uint64_t end = now() + hertz();
    while (used[1] != good->sent && now() < end) {
    }
    return used[1] == good->sent;
}

static const uint8_t mac[6] = MAC;
static const uint8_t own_ip[4] = OWN_IP;
static const uint8_t peer_ip[4] = PEER_IP;

static void put(uint64_t at, const uint8_t *bytes, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        ((volatile uint8_t *)at)[i] = bytes[i];
    }
}

/* An ARP request for the peer's address. */
static void compose(uint64_t frame)
{
    static const uint8_t type[10] = {8, 6, 0, 1, 8, 0, 6, 4, 0, 1};
    for (uint32_t i = 0; i < 72; i++) {
        ((volatile uint8_t *)frame)[i] = i >= 12 && i < 18 ? 0xff : 0;
    }
    put(frame + 12 + 6, mac, 6);
    put(frame + 12 + 12, type, 10);
    put(frame + 12 + 22, mac, 6);
    put(frame + 12 + 28, own_ip, 4);
    put(frame + 12 + 38, peer_ip, 4);
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

static bool answered(struct good *good)
{
    volatile uint16_t *used = (volatile uint16_t *)(QUEUE(0) + 0x2000);
    volatile uint32_t *entry = (volatile uint32_t *)(QUEUE(0) + 0x2004);
    uint64_t end = now() + 2 * hertz();
    while (now() < end) {
        while (used[1] != good->received) {
            uint32_t id = entry[2 * (good->received++ % GOOD_SIZE)];
            volatile uint8_t *frame = (volatile uint8_t *)(BUFFERS + 0x1000ULL * (id % GOOD_SIZE) + 12);
            bool arp = frame[12] == 8 && frame[13] == 6 && frame[21] == 2;
            if (arp && frame[28] == peer_ip[0] && frame[31] == peer_ip[3]) {
                return true;
            }
        }
    }
    return false;
}

/* Whether the network works once the device is driven as it should be. */
static bool talk(void)
{
    struct good good;
    for (uint32_t attempt = 0; attempt < 10; attempt++) {
        uint64_t frame = BUFFERS + 0x1000 * GOOD_SIZE;
        compose(frame);
        if (bring_up(NET, &good) && transmit(&good, frame, 60) && answered(&good)) {
            return true;
        }
    }
    return false;
}

/* Sleeps for 50 ms, as an idle kernel does: until the virtual timer interrupts. */
static void nap(void)
{
    set(GICD, 0x000, 1);
    set(GICD, 0x100, 1u << 27);
    set(GICC, 0x04, 0xff);
    set(GICC, 0x00, 1);
    __asm__ volatile("msr cntv_cval_el0, %0\nmsr cntv_ctl_el0, %1\nisb\nwfi" ::"r"(now() + hertz() / 20),
                     "r"(1UL));
    uint32_t taken = get(GICC, 0x0c);
    __asm__ volatile("msr cntv_ctl_el0, xzr\nisb");
    if ((taken & 0x3ff) < 1020) {
        set(GICC, 0x10, taken);
    }
}

/* Waits until somebody types into the console, so that the attack begins when the test wants it. */
static void await_key(void)
{
    struct good good;
    volatile uint16_t *used = (volatile uint16_t *)(QUEUE(0) + 0x2000);
    while (!bring_up(NET + STRIDE, &good)) {
    }
    while (used[1] == 0) {
        nap();
    }
}

static void attack(uint64_t seed)
{
    random_state = seed;
    uint64_t rounds = 0;
    uint64_t end = now() + SECONDS * hertz();
    while (now() < end) {
        switch (below(9)) {
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
    say_number("hostile: life ", life, "\n");
    switch (life) {
    case 0:
        await_key();
        attack(SEED);
        attack(SEED + 1);
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
