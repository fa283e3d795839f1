/* SPDX-License-Identifier: BSD-2-Clause */
#include "case.h"
#include "gic.h"

enum { CTLR = 0, TYPER = 4, ISENABLER = 0x100, ICENABLER = 0x180, ISPENDR = 0x200, ICPENDR = 0x280 };
enum { ISACTIVER = 0x300, IPRIORITYR = 0x400, ITARGETSR = 0x800, ICFGR = 0xc00, SGIR = 0xf00 };
enum { CPENDSGIR = 0xf10, SPENDSGIR = 0xf20, IROUTER = 0x6000 };

static struct gic gic;
static struct gic_injection got;

static void start(enum gic_version version, uint32_t vcpus)
{
    gic_init(&gic, version, vcpus, 4);
    gicd_write(&gic, 0, CTLR, 4, 1);
}

static void enable(uint32_t intid)
{
    gicd_write(&gic, 0, ISENABLER + intid / 32 * 4, 4, 1u << (intid % 32));
}

static void disable(uint32_t intid)
{
    gicd_write(&gic, 0, ICENABLER + intid / 32 * 4, 4, 1u << (intid % 32));
}

static void make_edge(uint32_t intid)
{
    uint64_t reg = ICFGR + intid / 16 * 4;
    gicd_write(&gic, 0, reg, 4, gicd_read(&gic, 0, reg, 4) | 2u << (2 * (intid % 16)));
}

CASE(an_enabled_interrupt_goes_into_a_list_register)
{
    start(GIC_V2, 1);
    enable(48);
    gic_set_line(&gic, 0, 48, true);
    CHECK(gic_next(&gic, 0, &got));
    EQUAL(got.intid, 48);
    EQUAL(got.lr, 0);
    EQUAL(got.group, 0);
    CHECK(!gic_next(&gic, 0, &got));
}

CASE(an_interrupt_raised_while_disabled_stays_pending)
{
    start(GIC_V2, 1);
    make_edge(48);
    gic_set_line(&gic, 0, 48, true);
    gic_set_line(&gic, 0, 48, false);
    CHECK(!gic_next(&gic, 0, &got));
    EQUAL(gicd_read(&gic, 0, ISPENDR + 4, 4), 1u << 16);
    enable(48);
    CHECK(gic_next(&gic, 0, &got));
    EQUAL(got.intid, 48);
}

CASE(an_interrupt_raised_while_the_distributor_is_off_stays_pending)
{
    start(GIC_V2, 1);
    enable(48);
    gicd_write(&gic, 0, CTLR, 4, 0);
    gic_set_line(&gic, 0, 48, true);
    CHECK(!gic_next(&gic, 0, &got));
    CHECK(!gic_has_work(&gic, 0));
    gicd_write(&gic, 0, CTLR, 4, 1);
    CHECK(gic_has_work(&gic, 0));
    CHECK(gic_next(&gic, 0, &got));
}

CASE(a_level_interrupt_whose_line_falls_before_delivery_is_gone)
{
    start(GIC_V2, 1);
    gic_set_line(&gic, 0, 48, true);
    gic_set_line(&gic, 0, 48, false);
    enable(48);
    CHECK(!gic_next(&gic, 0, &got));
}

CASE(a_level_interrupt_comes_again_while_its_line_is_high)
{
    start(GIC_V2, 1);
    enable(48);
    gic_set_line(&gic, 0, 48, true);
    CHECK(gic_next(&gic, 0, &got));
    CHECK(!gic_next(&gic, 0, &got));
    EQUAL(gic_end(&gic, 0, got.lr), 48);
    CHECK(gic_next(&gic, 0, &got));
    gic_set_line(&gic, 0, 48, false);
    EQUAL(gic_end(&gic, 0, got.lr), 48);
    CHECK(!gic_next(&gic, 0, &got));
}

CASE(an_edge_during_the_handler_is_delivered_after_it)
{
    start(GIC_V2, 1);
    make_edge(48);
    enable(48);
    gic_set_line(&gic, 0, 48, true);
    CHECK(gic_next(&gic, 0, &got));
    gic_set_line(&gic, 0, 48, false);
    gic_set_line(&gic, 0, 48, true);
    CHECK(!gic_next(&gic, 0, &got));
    gic_end(&gic, 0, 0);
    CHECK(gic_next(&gic, 0, &got));
    gic_end(&gic, 0, 0);
    CHECK(!gic_next(&gic, 0, &got));
}

CASE(more_interrupts_than_list_registers_wait_and_lose_nothing)
{
    bool seen[GIC_INTIDS] = {false};
    start(GIC_V2, 1);
    for (uint32_t i = 32; i < 132; i++) {
        enable(i);
        gic_set_line(&gic, 0, i, true);
    }
    for (int in_flight = 0; in_flight < 4; in_flight++) {
        CHECK(gic_next(&gic, 0, &got));
    }
    CHECK(!gic_next(&gic, 0, &got));
    uint32_t ended = 0;
    for (uint32_t lr = 0; gic_holds(&gic, 0); lr = (lr + 1) % 4) {
        uint16_t intid = gic_end(&gic, 0, lr);
        if (intid != GIC_NONE) {
            CHECK(!seen[intid]);
            seen[intid] = true;
            gic_set_line(&gic, 0, intid, false);
            ended++;
        }
        gic_next(&gic, 0, &got);
    }
    EQUAL(ended, 100);
}

CASE(the_most_urgent_interrupt_is_first)
{
    start(GIC_V2, 1);
    for (uint32_t i = 40; i < 44; i++) {
        enable(i);
        gic_set_line(&gic, 0, i, true);
        gicd_write(&gic, 0, IPRIORITYR + i, 1, 0xa0);
    }
    gicd_write(&gic, 0, IPRIORITYR + 42, 1, 0x20);
    CHECK(gic_next(&gic, 0, &got));
    EQUAL(got.intid, 42);
    EQUAL(got.priority, 0x20 >> 3);
    CHECK(gic_next(&gic, 0, &got));
    EQUAL(got.intid, 40);
}

CASE(a_refused_injection_is_pending_again)
{
    start(GIC_V2, 1);
    make_edge(48);
    enable(48);
    gic_set_line(&gic, 0, 48, true);
    CHECK(gic_next(&gic, 0, &got));
    gic_refused(&gic, 0, &got);
    CHECK(!gic_holds(&gic, 0));
    CHECK(gic_next(&gic, 0, &got));
    EQUAL(got.intid, 48);
}

CASE(an_sgi_reaches_the_listed_vcpus_with_its_sender)
{
    start(GIC_V2, 4);
    gicd_write(&gic, 1, SGIR, 4, (1u << 16 | 1u << 18) | 3);
    CHECK(gic_has_work(&gic, 0));
    CHECK(!gic_has_work(&gic, 1));
    CHECK(gic_has_work(&gic, 2));
    CHECK(!gic_has_work(&gic, 3));
    EQUAL(gicd_read(&gic, 0, SPENDSGIR, 4), 2u << 24);
    CHECK(gic_next(&gic, 2, &got));
    EQUAL(got.intid, 3);
    EQUAL(gicd_read(&gic, 2, SPENDSGIR, 4), 0);
}

CASE(an_sgi_to_all_others_spares_the_sender)
{
    start(GIC_V2, 3);
    gicd_write(&gic, 1, SGIR, 4, 1u << 24 | 5);
    CHECK(gic_has_work(&gic, 0));
    CHECK(!gic_has_work(&gic, 1));
    CHECK(gic_has_work(&gic, 2));
    start(GIC_V3, 3);
    for (uint32_t v = 0; v < 3; v++) {
        gicr_write(&gic, GICR_FRAME * v + 0x10100, 4, 0xffff);
    }
    gic_sgi1r(&gic, 2, 1ULL << 40 | 5ULL << 24);
    CHECK(gic_has_work(&gic, 0));
    CHECK(gic_has_work(&gic, 1));
    CHECK(!gic_has_work(&gic, 2));
}

CASE(an_sgi_to_itself_arrives)
{
    start(GIC_V2, 2);
    gicd_write(&gic, 1, SGIR, 4, 2u << 24 | 7);
    CHECK(!gic_has_work(&gic, 0));
    CHECK(gic_next(&gic, 1, &got));
    EQUAL(got.intid, 7);
}

CASE(a_pending_sgi_can_be_withdrawn_sender_by_sender)
{
    start(GIC_V2, 2);
    gicd_write(&gic, 0, SPENDSGIR + 2, 1, 3);
    gicd_write(&gic, 0, CPENDSGIR + 2, 1, 1);
    CHECK(gic_has_work(&gic, 0));
    gicd_write(&gic, 0, CPENDSGIR + 2, 1, 2);
    CHECK(!gic_has_work(&gic, 0));
}

CASE(an_spi_goes_to_its_target_only)
{
    start(GIC_V2, 2);
    enable(50);
    gicd_write(&gic, 0, ITARGETSR + 50, 1, 2);
    gic_set_line(&gic, 0, 50, true);
    CHECK(!gic_next(&gic, 0, &got));
    CHECK(gic_next(&gic, 1, &got));
    gic_end(&gic, 1, 0);
    gicd_write(&gic, 0, ITARGETSR + 50, 1, 0);
    CHECK(!gic_next(&gic, 0, &got));
    CHECK(!gic_next(&gic, 1, &got));
}

CASE(an_spi_is_routed_by_affinity)
{
    start(GIC_V3, 2);
    enable(50);
    gicd_write(&gic, 0, IROUTER + 8 * 50, 8, 1);
    EQUAL(gicd_read(&gic, 0, IROUTER + 8 * 50, 8), 1);
    gic_set_line(&gic, 0, 50, true);
    CHECK(!gic_next(&gic, 0, &got));
    CHECK(gic_next(&gic, 1, &got));
    EQUAL(got.group, 1);
    gic_end(&gic, 1, 0);
    gicd_write(&gic, 0, IROUTER + 8 * 50, 8, 77);
    CHECK(!gic_next(&gic, 0, &got));
    CHECK(!gic_next(&gic, 1, &got));
    gicd_write(&gic, 0, IROUTER + 8 * 50, 8, 1ULL << 31);
    CHECK(gic_next(&gic, 0, &got));
}

CASE(private_interrupts_are_each_vcpus_own)
{
    start(GIC_V2, 2);
    gicd_write(&gic, 1, ISENABLER, 4, 1u << 27);
    gic_pulse(&gic, 0, 27);
    gic_pulse(&gic, 1, 27);
    CHECK(!gic_next(&gic, 0, &got));
    CHECK(gic_next(&gic, 1, &got));
    EQUAL(gicd_read(&gic, 0, ITARGETSR + 27, 1), 1);
    EQUAL(gicd_read(&gic, 1, ITARGETSR + 27, 1), 2);
}

CASE(sgis_cannot_be_disabled_or_made_level_with_gicv2)
{
    start(GIC_V2, 1);
    gicd_write(&gic, 0, ICENABLER, 4, 0xffffffff);
    EQUAL(gicd_read(&gic, 0, ISENABLER, 4), 0xffff);
    gicd_write(&gic, 0, ICFGR, 4, 0);
    EQUAL(gicd_read(&gic, 0, ICFGR, 4), 0xaaaaaaaa);
}

CASE(clearing_pending_forgets_an_edge_but_not_a_high_line)
{
    start(GIC_V2, 1);
    make_edge(48);
    gic_set_line(&gic, 0, 48, true);
    gic_set_line(&gic, 0, 49, true);
    gicd_write(&gic, 0, ICPENDR + 4, 4, 0xffffffff);
    EQUAL(gicd_read(&gic, 0, ISPENDR + 4, 4), 1u << 17);
}

CASE(a_disabled_interrupt_in_a_list_register_ends_normally)
{
    start(GIC_V2, 1);
    enable(48);
    gic_set_line(&gic, 0, 48, true);
    CHECK(gic_next(&gic, 0, &got));
    disable(48);
    EQUAL(gicd_read(&gic, 0, ISACTIVER + 4, 4), 1u << 16);
    EQUAL(gic_end(&gic, 0, 0), 48);
    CHECK(!gic_has_work(&gic, 0));
}

CASE(a_reset_keeps_what_the_hardware_still_holds)
{
    start(GIC_V2, 2);
    enable(48);
    gic_set_line(&gic, 0, 48, true);
    CHECK(gic_next(&gic, 0, &got));
    gic_reset(&gic);
    CHECK(gic_holds(&gic, 0));
    CHECK(!gic_holds(&gic, 1));
    EQUAL(gicd_read(&gic, 0, CTLR, 4), 0);
    EQUAL(gicd_read(&gic, 0, ISENABLER + 4, 4), 0);
    EQUAL(gic_end(&gic, 0, 0), 48);
    CHECK(!gic_holds(&gic, 0));
}

CASE(the_end_of_an_empty_list_register_is_nothing)
{
    start(GIC_V2, 1);
    EQUAL(gic_end(&gic, 0, 0), GIC_NONE);
    EQUAL(gic_end(&gic, 0, 99), GIC_NONE);
    EQUAL(gic_end(&gic, 9, 0), GIC_NONE);
}

CASE(the_type_register_tells_what_there_is)
{
    start(GIC_V2, 3);
    EQUAL(gicd_read(&gic, 0, TYPER, 4), 8 | 2u << 5);
    EQUAL(gicd_read(&gic, 0, 0xfe8, 4) >> 4, 2);
    start(GIC_V3, 3);
    EQUAL(gicd_read(&gic, 0, 0xffe8, 4) >> 4, 3);
    EQUAL(gicd_read(&gic, 0, CTLR, 4), 1 | 1u << 4 | 1u << 6);
}

CASE(redistributors_know_their_vcpu_and_the_last_one)
{
    start(GIC_V3, 2);
    EQUAL(gicr_read(&gic, 8, 8), 0);
    EQUAL(gicr_read(&gic, GICR_FRAME + 8, 8), 1ULL << 32 | 1u << 8 | 1u << 4);
    EQUAL(gicr_read(&gic, GICR_FRAME + 12, 4), 1);
}

CASE(a_redistributor_wakes_and_its_children_follow)
{
    start(GIC_V3, 1);
    EQUAL(gicr_read(&gic, 0x14, 4), 6);
    gicr_write(&gic, 0x14, 4, 0);
    EQUAL(gicr_read(&gic, 0x14, 4), 0);
}

CASE(a_redistributor_holds_enables_and_priorities_of_its_vcpu)
{
    start(GIC_V3, 2);
    gicr_write(&gic, GICR_FRAME + 0x10100, 4, 1u << 27);
    gicr_write(&gic, GICR_FRAME + 0x10400 + 24, 4, 0x80a0a0a0);
    EQUAL(gicr_read(&gic, 0x10100, 4), 0);
    EQUAL(gicr_read(&gic, GICR_FRAME + 0x10100, 4), 1u << 27);
    EQUAL(gicr_read(&gic, GICR_FRAME + 0x10400 + 27, 1), 0x80);
    gic_pulse(&gic, 1, 27);
    CHECK(gic_next(&gic, 1, &got));
    EQUAL(got.priority, 0x80 >> 3);
}

CASE(malformed_accesses_are_counted_and_change_nothing)
{
    start(GIC_V3, 2);
    struct gic before = gic;
    gicd_write(&gic, 0, ISENABLER + 1, 4, 0xffffffff);
    gicd_write(&gic, 0, ISENABLER, 3, 0xffffffff);
    gicd_write(&gic, 0, 0x10000, 4, 1);
    gicd_write(&gic, 0, ~0ULL - 3, 4, 1);
    gicd_write(&gic, 9, CTLR, 4, 0);
    gicd_write(&gic, 0, 0xffff000000000000ULL, 4, 1);
    gicr_write(&gic, 2ULL * GICR_FRAME, 4, 1);
    gicr_write(&gic, 0x10100, 8, ~0ULL);
    EQUAL(gicd_read(&gic, 0, IROUTER + 8 * 32 + 2, 4), 0);
    EQUAL(gicr_read(&gic, ~0ULL & ~3ULL, 4), 0);
    EQUAL(gic.bad_accesses, before.bad_accesses + 10);
    gic.bad_accesses = before.bad_accesses;
    CHECK(memcmp(&gic, &before, sizeof(gic)) == 0);
}

CASE(a_wrong_configuration_is_clamped)
{
    gic_init(&gic, GIC_V2, 99, 99);
    EQUAL(gic.vcpus, GIC_MAX_VCPUS);
    EQUAL(gic.lrs, GIC_MAX_LRS);
    gic_init(&gic, GIC_V2, 0, 4);
    EQUAL(gic.vcpus, 1);
    gic_set_line(&gic, 0, 100000, true);
    gic_pulse(&gic, 7, 48);
    CHECK(!gic_has_work(&gic, 0));
}

#define NAMED(name)                                                                                          \
    {                                                                                                        \
#name, name                                                                                          \
    }
static const struct test_case cases[] = {
    NAMED(an_enabled_interrupt_goes_into_a_list_register),
    NAMED(an_interrupt_raised_while_disabled_stays_pending),
    NAMED(an_interrupt_raised_while_the_distributor_is_off_stays_pending),
    NAMED(a_level_interrupt_whose_line_falls_before_delivery_is_gone),
    NAMED(a_level_interrupt_comes_again_while_its_line_is_high),
    NAMED(an_edge_during_the_handler_is_delivered_after_it),
    NAMED(more_interrupts_than_list_registers_wait_and_lose_nothing),
    NAMED(the_most_urgent_interrupt_is_first),
    NAMED(a_refused_injection_is_pending_again),
    NAMED(an_sgi_reaches_the_listed_vcpus_with_its_sender),
    NAMED(an_sgi_to_all_others_spares_the_sender),
    NAMED(an_sgi_to_itself_arrives),
    NAMED(a_pending_sgi_can_be_withdrawn_sender_by_sender),
    NAMED(an_spi_goes_to_its_target_only),
    NAMED(an_spi_is_routed_by_affinity),
    NAMED(private_interrupts_are_each_vcpus_own),
    NAMED(sgis_cannot_be_disabled_or_made_level_with_gicv2),
    NAMED(clearing_pending_forgets_an_edge_but_not_a_high_line),
    NAMED(a_disabled_interrupt_in_a_list_register_ends_normally),
    NAMED(a_reset_keeps_what_the_hardware_still_holds),
    NAMED(the_end_of_an_empty_list_register_is_nothing),
    NAMED(the_type_register_tells_what_there_is),
    NAMED(redistributors_know_their_vcpu_and_the_last_one),
    NAMED(a_redistributor_wakes_and_its_children_follow),
    NAMED(a_redistributor_holds_enables_and_priorities_of_its_vcpu),
    NAMED(malformed_accesses_are_counted_and_change_nothing),
    NAMED(a_wrong_configuration_is_clamped),
    {NULL, NULL},
};

int main(int argc, char **argv)
{
    return run_case(cases, argc, argv);
}
