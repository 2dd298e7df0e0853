/* SPDX-License-Identifier: Apache-2.0
 *
 * The histogram that latencies are read from.
 */
#include "bench/histogram.h"

#include <stdlib.h>
#include <string.h>

#include "test/check.h"

static struct histogram *new_histogram(void)
{
    return calloc(1, sizeof(struct histogram));
}

static void every_value_falls_into_a_bucket_that_holds_it(void)
{
    struct check_random random = {check_seed(7)};
    for (unsigned i = 0; i < 100000; i++) {
        uint64_t value = check_random_next(&random) >> check_random_below(&random, 64);
        size_t bucket = histogram_bucket(value);
        if (!CHECK(bucket < HISTOGRAM_BUCKETS) ||
            !CHECK(value <= histogram_bucket_top(bucket)) ||
            !CHECK(bucket == 0 || value > histogram_bucket_top(bucket - 1)))
            return;
    }
    CHECK_U64(histogram_bucket(UINT64_MAX), HISTOGRAM_BUCKETS - 1);
    CHECK_U64(histogram_bucket_top(HISTOGRAM_BUCKETS - 1), UINT64_MAX);
}

static void a_bucket_is_at_most_one_64th_wide(void)
{
    for (size_t bucket = HISTOGRAM_SUB; bucket < HISTOGRAM_BUCKETS; bucket++) {
        uint64_t top = histogram_bucket_top(bucket);
        uint64_t below = histogram_bucket_top(bucket - 1);
        if (!CHECK(top > below) || !CHECK(top - below <= top / HISTOGRAM_SUB + 1))
            return;
    }
}

static void small_values_are_exact(void)
{
    struct histogram *histogram = new_histogram();
    for (uint64_t value = 1; value <= 50; value++)
        histogram_record(histogram, value);
    CHECK_U64(histogram_quantile(histogram, 500), 25);
    CHECK_U64(histogram_quantile(histogram, 1000), 50);
    CHECK_U64(histogram_quantile(histogram, 0), 1);
    free(histogram);
}

static void quantiles_of_a_known_spread_are_near(void)
{
    struct histogram *histogram = new_histogram();
    for (uint64_t i = 1; i <= 100000; i++)
        histogram_record(histogram, i * 1000);
    CHECK_U64(histogram_total(histogram), 100000);
    static const unsigned per_mille[] = {1, 500, 990, 999};
    for (size_t i = 0; i < 4; i++) {
        uint64_t exact = UINT64_C(100000) * per_mille[i];
        uint64_t seen = histogram_quantile(histogram, per_mille[i]);
        CHECK(seen >= exact);
        CHECK(seen <= exact + exact / 60);
    }
    free(histogram);
}

static void one_slow_message_in_a_thousand_shows_only_above_p999(void)
{
    struct histogram *histogram = new_histogram();
    for (unsigned i = 0; i < 999; i++)
        histogram_record(histogram, 10);
    histogram_record(histogram, 1000000);
    CHECK_U64(histogram_quantile(histogram, 999), 10);
    CHECK(histogram_quantile(histogram, 1000) >= 1000000);
    free(histogram);
}

static void nothing_recorded_is_zero(void)
{
    struct histogram *histogram = new_histogram();
    CHECK_U64(histogram_quantile(histogram, 500), 0);
    free(histogram);
}

static void adding_two_is_recording_both(void)
{
    struct check_random random = {check_seed(11)};
    struct histogram *left = new_histogram(), *right = new_histogram();
    struct histogram *both = new_histogram();
    for (unsigned i = 0; i < 20000; i++) {
        uint64_t value = check_random_below(&random, UINT64_C(10000000000));
        histogram_record(i % 3 == 0 ? left : right, value);
        histogram_record(both, value);
    }
    histogram_add(left, right);
    CHECK_U64(histogram_total(left), 20000);
    for (unsigned per_mille = 0; per_mille <= 1000; per_mille++)
        CHECK_U64(histogram_quantile(left, per_mille), histogram_quantile(both, per_mille));
    free(left);
    free(right);
    free(both);
}

static const struct check_test tests[] = {
    {"every value falls into a bucket that holds it",
     every_value_falls_into_a_bucket_that_holds_it},
    {"a bucket is at most one 64th wide", a_bucket_is_at_most_one_64th_wide},
    {"small values are exact", small_values_are_exact},
    {"quantiles of a known spread are near", quantiles_of_a_known_spread_are_near},
    {"one slow message in a thousand shows only above p99.9",
     one_slow_message_in_a_thousand_shows_only_above_p999},
    {"nothing recorded is zero", nothing_recorded_is_zero},
    {"adding two is recording both", adding_two_is_recording_both},
};

CHECK_MAIN("histogram", tests)
