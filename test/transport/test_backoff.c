/* SPDX-License-Identifier: Apache-2.0 */
#include "test/check.h"
#include "transport/backoff.h"

#include <inttypes.h>
#include <stdio.h>

#define S UINT64_C(1000000000)

/* The wait of the backoff's next failure with the jitter's lowest and highest draw. */
static void next_range(struct backoff *backoff, uint64_t base_ns, uint64_t *ret_low,
                       uint64_t *ret_high)
{
    struct backoff copy = *backoff;

    *ret_low = backoff_next_ns(&copy, 0);
    *ret_high = backoff_next_ns(backoff, 2 * (base_ns / 5));
}

static void doubles_up_to_the_maximum(void)
{
    static const uint64_t bases[] = {1, 2, 4, 8, 16, 32, 60, 60, 60};
    struct backoff backoff;

    backoff_init(&backoff, 1 * S, 60 * S);
    for (size_t i = 0; i < sizeof(bases) / sizeof(bases[0]); i++) {
        uint64_t low, high;

        next_range(&backoff, bases[i] * S, &low, &high);
        CHECK_U64(low, bases[i] * S - bases[i] * S / 5);
        CHECK_U64(high, bases[i] * S + bases[i] * S / 5);
        CHECK_U64(backoff.failures, i + 1);
    }
}

static void jitter_stays_within_a_fifth_and_spreads(void)
{
    uint64_t seed = check_seed(7);
    struct check_random random = {seed};
    unsigned below = 0, above = 0;

    for (unsigned i = 0; i < 10000; i++) {
        struct backoff backoff;
        uint64_t wait_ns;

        backoff_init(&backoff, 10 * S, 60 * S);
        wait_ns = backoff_next_ns(&backoff, check_random_next(&random));
        if (!CHECK(wait_ns >= 8 * S && wait_ns <= 12 * S)) {
            fprintf(stderr, "SEED=%" PRIu64 "\n", seed);
            return;
        }
        below += wait_ns < 9 * S;
        above += wait_ns > 11 * S;
    }
    CHECK(below > 1500 && below < 3500); /* a quarter each, give or take */
    CHECK(above > 1500 && above < 3500);
}

static void success_starts_over(void)
{
    struct backoff backoff;

    backoff_init(&backoff, 1 * S, 60 * S);
    for (unsigned i = 0; i < 5; i++)
        backoff_next_ns(&backoff, 0);
    backoff_reset(&backoff);
    CHECK_U64(backoff.failures, 0);
    CHECK_U64(backoff_next_ns(&backoff, 0), S - S / 5);
}

static void endless_failures_stay_at_the_maximum(void)
{
    struct backoff backoff;

    backoff_init(&backoff, 3, 60 * S);
    for (unsigned i = 0; i < 200; i++)
        CHECK(backoff_next_ns(&backoff, UINT64_MAX) <= 72 * S);
    CHECK_U64(backoff_next_ns(&backoff, 0), 48 * S);
    backoff.failures = UINT32_MAX;
    CHECK_U64(backoff_next_ns(&backoff, 0), 48 * S);
    CHECK_U64(backoff.failures, UINT32_MAX);
}

static void extreme_bounds_do_not_overflow(void)
{
    struct backoff backoff;

    backoff_init(&backoff, 0, 0);
    CHECK_U64(backoff_next_ns(&backoff, UINT64_MAX), 0);
    CHECK_U64(backoff_next_ns(&backoff, UINT64_MAX), 0);

    backoff_init(&backoff, 1, UINT64_MAX / 2);
    for (unsigned i = 0; i < 100; i++)
        backoff_next_ns(&backoff, 0);
    CHECK(backoff_next_ns(&backoff, 0) > UINT64_MAX / 3);

    backoff_init(&backoff, 60 * S, 1 * S); /* a minimum above the maximum: the maximum */
    CHECK_U64(backoff_next_ns(&backoff, 0), S - S / 5);
}

static const struct check_test tests[] = {
    {"waits double up to the maximum", doubles_up_to_the_maximum},
    {"jitter stays within a fifth and spreads", jitter_stays_within_a_fifth_and_spreads},
    {"success starts over", success_starts_over},
    {"endless failures stay at the maximum", endless_failures_stay_at_the_maximum},
    {"extreme bounds do not overflow", extreme_bounds_do_not_overflow},
};

CHECK_MAIN("backoff", tests)
