/* SPDX-License-Identifier: BSD-2-Clause */

/* PSCI, image placement, syndrome decoding, the early console, PCI functions. */
#include "driver.h"
#include "guest_image.h"
#include "mmio.h"
#include "pci.h"
#include "pl011_early.h"
#include "psci.h"

#define ENTRY (RAM_BASE + 0x80000)

static struct psci psci;

/* Two buses of configuration space, where nothing answers. */
static uint16_t ecam[2 << 19];

static uint16_t *function(uint32_t bus, uint32_t device, uint32_t number)
{
    return ecam + ((bus << 20 | device << 15 | number << 12) / 2);
}

static void plug(uint16_t *function, uint16_t command, uint16_t header)
{
    function[0] = 0x1b36;
    function[2] = command;
    function[7] = header;
}

CASE(every_pci_function_loses_bus_mastering_and_its_interrupt_line)
{
    memset(ecam, 0xff, sizeof(ecam));
    plug(function(0, 0, 0), 0x0006, 0x0000);
    plug(function(0, 31, 0), 0x0507, 0x0080);
    plug(function(0, 31, 7), 0x0004, 0x0080);
    plug(function(1, 2, 0), 0x0002, 0x0001);
    EQUAL(pci_quiesce(ecam, sizeof(ecam)), 4);
    EQUAL(function(0, 0, 0)[2], 0x0402);
    EQUAL(function(0, 31, 0)[2], 0x0503);
    EQUAL(function(0, 31, 7)[2], 0x0400);
    EQUAL(function(1, 2, 0)[2], 0x0402);
    EQUAL(function(0, 1, 0)[2], 0xffff); /* nobody's is left alone */
    EQUAL(function(0, 31, 1)[2], 0xffff);
}

static struct psci_result call(uint32_t caller, uint64_t x0, uint64_t x1, uint64_t x2, uint64_t x3)
{
    uint64_t x[4] = {x0, x1, x2, x3};
    return psci_call(&psci, caller, x);
}

CASE(psci_says_version_1_0_and_its_features)
{
    psci_init(&psci, 2, &ram);
    EQUAL(call(0, 0x84000000, 0, 0, 0).value, 0x10000);
    EQUAL(call(0, 0x8400000a, 0xc4000003, 0, 0).value, 0);
    EQUAL(call(0, 0x8400000a, 0x84000009, 0, 0).value, 0);
    EQUAL((int64_t)call(0, 0x8400000a, 0xc4000009, 0, 0).value, -1);
    EQUAL((int64_t)call(0, 0x8400000a, 0x8400001f, 0, 0).value, -1);
    EQUAL(call(0, 0x84000006, 0, 0, 0).value, 2);
}

CASE(psci_starts_a_vcpu_once)
{
    psci_init(&psci, 2, &ram);
    EQUAL(call(0, 0xc4000004, 1, 0, 0).value, 1);
    struct psci_result result = call(0, 0xc4000003, 1, ENTRY, 7);
    EQUAL(result.action, PSCI_START_VCPU);
    EQUAL(result.target, 1);
    EQUAL(result.entry, ENTRY);
    EQUAL(result.context, 7);
    EQUAL((int64_t)call(0, 0xc4000003, 1, 0, 0).value, -4);
    EQUAL(call(0, 0xc4000004, 1, 0, 0).value, 0);
    EQUAL(call(1, 0x84000002, 0, 0, 0).action, PSCI_STOP_VCPU);
    EQUAL(call(0, 0xc4000004, 1, 0, 0).value, 1);
}

CASE(psci_refuses_vcpus_that_do_not_exist)
{
    psci_init(&psci, 2, &ram);
    EQUAL((int64_t)call(0, 0xc4000003, 2, 0, 0).value, -2);
    EQUAL((int64_t)call(0, 0xc4000003, 0x100, 0, 0).value, -2);
    EQUAL((int64_t)call(0, 0xc4000003, ~0ULL, 0, 0).value, -2);
    EQUAL((int64_t)call(0, 0xc4000004, 5, 0, 0).value, -2);
    EQUAL((int64_t)call(0, 0xc4000004, 0, 3, 0).value, -2);
    EQUAL((int64_t)call(77, 0x84000002, 0, 0, 0).action, PSCI_STOP_VCPU);
}

CASE(psci_reports_off_reset_and_what_is_not_its_own)
{
    psci_init(&psci, 1, &ram);
    EQUAL(call(0, 0x84000008, 0, 0, 0).action, PSCI_POWER_OFF);
    EQUAL(call(0, 0x84000009, 0, 0, 0).action, PSCI_RESET);
    EQUAL(call(0, 0x84000012, 0, 0, 0).action, PSCI_RESET);
    EQUAL(call(0, 0x84000001, 0, 0, 0).action, PSCI_SUSPEND);
    EQUAL(call(0, 0xc2000006, 0, 0, 0).action, PSCI_NOT_PSCI);
    EQUAL(call(0, 0, 0, 0, 0).action, PSCI_NOT_PSCI);
    EQUAL(call(0, 0x84000005, 0, 0, 0).action, PSCI_ANSWER);
    EQUAL(call(0, 0x80000000, 0, 0, 0).value, 0x10001);
}

CASE(psci_starts_no_vcpu_where_no_memory_is)
{
    psci_init(&psci, 2, &ram);
    EQUAL((int64_t)call(0, 0xc4000003, 1, RAM_BASE - 4, 0).value, -9);
    EQUAL((int64_t)call(0, 0xc4000003, 1, RAM_BASE + RAM_BYTES, 0).value, -9);
    EQUAL((int64_t)call(0, 0xc4000003, 1, ~3ULL, 0).value, -9);
    EQUAL((int64_t)call(0, 0xc4000003, 1, ENTRY + 2, 0).value, -9);
    EQUAL(call(0, 0xc4000004, 1, 0, 0).value, 1);
    EQUAL(call(0, 0x84000003, 1, ENTRY, 0).action, PSCI_START_VCPU);
}

CASE(psci_takes_the_last_vcpu_that_goes_off_for_a_power_off)
{
    psci_init(&psci, 2, &ram);
    EQUAL(call(0, 0xc4000003, 1, ENTRY, 0).action, PSCI_START_VCPU);
    EQUAL(call(0, 0x84000002, 0, 0, 0).action, PSCI_STOP_VCPU);
    EQUAL(call(1, 0x84000002, 0, 0, 0).action, PSCI_POWER_OFF);
}

static void header(uint8_t bytes[IMAGE_HEADER_BYTES], uint64_t text_offset, uint64_t image_size)
{
    uint32_t magic = 0x644d5241;
    memset(bytes, 0, IMAGE_HEADER_BYTES);
    memcpy(bytes + 8, &text_offset, 8);
    memcpy(bytes + 16, &image_size, 8);
    memcpy(bytes + 56, &magic, 4);
}

CASE(an_image_without_magic_or_size_is_refused)
{
    uint8_t bytes[IMAGE_HEADER_BYTES];
    struct image_header image;
    header(bytes, 0, 0x2000000);
    CHECK(image_parse(bytes, &image));
    bytes[56] = 'x';
    CHECK(!image_parse(bytes, &image));
    header(bytes, 0, 0);
    CHECK(!image_parse(bytes, &image));
    header(bytes, 0, 100);
    bytes[24] = 1; /* big-endian */
    CHECK(!image_parse(bytes, &image));
}

/* 512 MiB at 1 GiB: kernel below, RAM disk and tree at the end. */
static struct guest_layout good(void)
{
    return (struct guest_layout){.ram_base = 0x40000000,
                                 .ram_size = 0x20000000,
                                 .kernel_file_size = 0x1f00000,
                                 .dtb = 0x5fe00000,
                                 .dtb_size = 0x2000,
                                 .initrd = 0x5f000000,
                                 .initrd_size = 0x600000};
}

CASE(a_kernel_is_placed_by_its_header)
{
    struct image_header image = {.text_offset = 0x80000, .image_size = 0x2000000};
    struct guest_layout layout = good();
    uint64_t entry = 0;
    EQUAL(layout_check(&layout, &image, &entry), LAYOUT_OK);
    EQUAL(entry, 0x40080000);
    layout.ram_base = 0x40100000;
    EQUAL(layout_check(&layout, &image, &entry), LAYOUT_OK);
    EQUAL(entry, 0x40280000);
}

CASE(placements_that_overlap_or_do_not_fit_are_named)
{
    struct image_header image = {.image_size = 0x2000000};
    struct guest_layout layout = good();
    uint64_t entry = 0;
    layout.kernel_file_size = 0x2000001;
    EQUAL(layout_check(&layout, &image, &entry), LAYOUT_KERNEL_HEADER);
    layout = good();
    layout.ram_size = 0x1ffffff;
    EQUAL(layout_check(&layout, &image, &entry), LAYOUT_KERNEL_RAM);
    layout = good();
    image.image_size = ~0ULL;
    EQUAL(layout_check(&layout, &image, &entry), LAYOUT_KERNEL_RAM);
    image.image_size = 0x2000000;
    layout.dtb = 0x60000000;
    EQUAL(layout_check(&layout, &image, &entry), LAYOUT_DTB_RAM);
    layout.dtb = 0x5fe00004;
    EQUAL(layout_check(&layout, &image, &entry), LAYOUT_DTB_ALIGN);
    layout.dtb = 0x41fff000; /* behind the file, but in the kernel's BSS */
    EQUAL(layout_check(&layout, &image, &entry), LAYOUT_DTB_OVERLAP);
    layout = good();
    layout.initrd = 0x41ffffff;
    EQUAL(layout_check(&layout, &image, &entry), LAYOUT_INITRD_OVERLAP);
    layout.initrd = 0x5fe00000 - 0x5ff000;
    EQUAL(layout_check(&layout, &image, &entry), LAYOUT_INITRD_OVERLAP);
    layout.initrd = 0x5fffffff;
    EQUAL(layout_check(&layout, &image, &entry), LAYOUT_INITRD_RAM);
    layout.initrd_size = 0;
    EQUAL(layout_check(&layout, &image, &entry), LAYOUT_OK);
    for (int fault = LAYOUT_OK; fault <= LAYOUT_INITRD_OVERLAP; fault++) {
        CHECK(layout_fault_text((enum layout_fault)fault) != NULL);
    }
}

CASE(a_load_and_a_store_are_read_from_the_syndrome)
{
    struct mmio_access access;
    /* Data abort from a lower level, valid, word, register 5: `ldr w5` and `str w5`. */
    uint64_t load = 0x24ULL << 26 | 1u << 25 | 1u << 24 | 2u << 22 | 5u << 16;
    CHECK(mmio_decode(load, &access));
    EQUAL(access.size, 4);
    EQUAL(access.reg, 5);
    CHECK(!access.write);
    CHECK(mmio_decode(load | 1u << 6, &access));
    CHECK(access.write);
    CHECK(!mmio_decode(load & ~(1ULL << 24), &access)); /* no syndrome: a pair, say */
    CHECK(!mmio_decode(load | 1u << 8, &access));       /* cache maintenance */
    CHECK(!mmio_decode(load | 1u << 7, &access));       /* a page table in device memory */
    CHECK(!mmio_decode(0x20ULL << 26 | 1u << 24, &access));
}

CASE(instructions_of_32_bit_processes_may_have_two_bytes)
{
    struct mmio_access access;
    uint64_t load = 0x24ULL << 26 | 1u << 24 | 2u << 22 | 5u << 16;
    CHECK(mmio_decode(load, &access));
    EQUAL(access.advance, 2); /* Thumb's `ldr r5` */
    CHECK(mmio_decode(load | 1u << 25, &access));
    EQUAL(access.advance, 4);
    EQUAL(trap_decode(0x01ULL << 26).advance, 2);
    EQUAL(trap_decode(0x01ULL << 26 | 1u << 25).advance, 4);
}

CASE(an_exception_goes_to_the_vector_of_where_it_comes_from)
{
    EQUAL(exception_vector(0x3c4), 0x000); /* EL1 with the stack of EL0 */
    EQUAL(exception_vector(0x3c5), 0x200);
    EQUAL(exception_vector(0x60000000), 0x400);
    EQUAL(exception_vector(0x60000010), 0x600); /* EL0 in AArch32, Arm */
    EQUAL(exception_vector(0x00000030), 0x600); /* Thumb */
}

CASE(narrow_loads_are_extended_as_the_instruction_says)
{
    struct mmio_access access = {.size = 1};
    EQUAL(mmio_extend(&access, 0x1ff), 0xff);
    access.sign_extend = true;
    EQUAL(mmio_extend(&access, 0x80), 0xffffff80);
    access.wide = true;
    EQUAL(mmio_extend(&access, 0x80), 0xffffffffffffff80);
    access.size = 8;
    EQUAL(mmio_extend(&access, 0x8000000000000000), 0x8000000000000000);
    access.size = 2;
    EQUAL(mmio_truncate(&access, 0x123456), 0x3456);
}

CASE(traps_are_told_apart)
{
    EQUAL(trap_decode(0x01ULL << 26).kind, TRAP_WFX);
    CHECK(trap_decode(0x01ULL << 26 | 1).is_wfe);
    EQUAL(trap_decode(0x16ULL << 26).kind, TRAP_HVC);
    EQUAL(trap_decode(0x17ULL << 26).kind, TRAP_SMC);
    EQUAL(trap_decode(0x3fULL << 26).kind, TRAP_OTHER);
    /* msr ICC_SGI1R_EL1, x3: op0 3, op2 5, op1 0, CRn 12, Rt 3, CRm 11, a write */
    struct trap trap = trap_decode(0x18ULL << 26 | 3u << 20 | 5u << 17 | 12u << 10 | 3u << 5 | 11u << 1);
    EQUAL(trap.kind, TRAP_SYSREG);
    CHECK(trap.write);
    EQUAL(trap.reg, 3);
    EQUAL(trap.sysreg, SYSREG(3, 0, 12, 11, 5));
}

CASE(registers_of_debugging_and_of_the_counters_are_known)
{
    CHECK(is_debug_register(SYSREG(2, 0, 0, 2, 2)));   /* MDSCR_EL1 */
    CHECK(is_debug_register(SYSREG(3, 3, 9, 12, 0)));  /* PMCR_EL0 */
    CHECK(is_debug_register(SYSREG(3, 3, 9, 14, 0)));  /* PMUSERENR_EL0 */
    CHECK(is_debug_register(SYSREG(3, 0, 9, 14, 1)));  /* PMINTENSET_EL1 */
    CHECK(is_debug_register(SYSREG(3, 3, 14, 8, 0)));  /* PMEVCNTR0_EL0 */
    CHECK(is_debug_register(SYSREG(3, 3, 14, 15, 7))); /* PMCCFILTR_EL0 */
    CHECK(!is_debug_register(SYSREG(3, 3, 14, 3, 2))); /* CNTV_CVAL_EL0 */
    CHECK(!is_debug_register(SYSREG(3, 0, 12, 11, 5)));
    CHECK(!is_debug_register(SYSREG(3, 0, 9, 11, 0)));
}

CASE(the_early_console_takes_bytes_and_is_always_ready)
{
    uint8_t byte = 0;
    EQUAL(pl011_early_read(0x18, 4) & 0x28, 0); /* neither busy nor full */
    CHECK(pl011_early_write(0, 1, 'x', &byte));
    EQUAL(byte, 'x');
    CHECK(!pl011_early_write(0x30, 4, 0x301, &byte));
    EQUAL(pl011_early_read(0xfff8, 8), 0);
}

#define NAMED(name)                                                                                          \
    {                                                                                                        \
#name, name                                                                                          \
    }
static const struct test_case cases[] = {
    NAMED(every_pci_function_loses_bus_mastering_and_its_interrupt_line),
    NAMED(psci_says_version_1_0_and_its_features),
    NAMED(psci_starts_a_vcpu_once),
    NAMED(psci_refuses_vcpus_that_do_not_exist),
    NAMED(psci_reports_off_reset_and_what_is_not_its_own),
    NAMED(psci_starts_no_vcpu_where_no_memory_is),
    NAMED(psci_takes_the_last_vcpu_that_goes_off_for_a_power_off),
    NAMED(an_image_without_magic_or_size_is_refused),
    NAMED(a_kernel_is_placed_by_its_header),
    NAMED(placements_that_overlap_or_do_not_fit_are_named),
    NAMED(a_load_and_a_store_are_read_from_the_syndrome),
    NAMED(instructions_of_32_bit_processes_may_have_two_bytes),
    NAMED(an_exception_goes_to_the_vector_of_where_it_comes_from),
    NAMED(narrow_loads_are_extended_as_the_instruction_says),
    NAMED(traps_are_told_apart),
    NAMED(registers_of_debugging_and_of_the_counters_are_known),
    NAMED(the_early_console_takes_bytes_and_is_always_ready),
    {NULL, NULL},
};

int main(int argc, char **argv)
{
    return run_case(cases, argc, argv);
}
