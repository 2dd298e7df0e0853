/* SPDX-License-Identifier: Apache-2.0
 *
 * The limits on senders by themselves, on a clock that the test turns.
 */
#include <stdio.h>

#include "peers/limit.h"
#include "test/check.h"

#define SECOND UINT64_C(1000000000)

struct limits {
    struct alloc alloc;
    parley_options options;
    struct limit_table table;
};

static void begin(struct limits *limits, uint32_t senders_max)
{
    *limits = (struct limits){0};
    alloc_init(&limits->alloc, NULL);
    parley_options_init(&limits->options);
    limits->options.guests_max = senders_max;
    limit_init(&limits->table, &limits->alloc, &limits->options, false);
}

/* How many of a kind get through at this time. */
static unsigned through(struct limits *limits, const char *sender, enum limit_kind kind,
                        uint64_t now_ns)
{
    uint64_t at_ns = 0;
    unsigned count = 0;

    while (limit_take(&limits->table, sender, kind, now_ns, &at_ns))
        count++;
    CHECK(at_ns > now_ns);
    CHECK(!limit_take(&limits->table, sender, kind, at_ns - 1, &at_ns));
    CHECK(limit_take(&limits->table, sender, kind, at_ns, &at_ns));
    return count;
}

static void the_documented_numbers(void)
{
    static const struct {
        enum limit_kind kind;
        unsigned per_min, burst;
    } documented[] = {
        {LIMIT_HANDSHAKE, 5, 10},  {LIMIT_HEARTBEAT, 60, 120}, {LIMIT_TASK, 30, 60},
        {LIMIT_DISCOVERY, 10, 20}, {LIMIT_CHUNK, 120, 240},
    };
    struct limits limits;

    begin(&limits, 8);
    for (size_t i = 0; i < LIMIT_KINDS; i++) {
        unsigned count = 0;
        uint64_t at_ns;

        CHECK_U64(through(&limits, "a", documented[i].kind, SECOND), documented[i].burst);
        for (uint64_t s = 1; s <= 10 * 60 * 10; s++) { /* ten minutes, asked very often */
            if (limit_take(&limits.table, "a", documented[i].kind,
                           1000 * SECOND + s * SECOND / 10, &at_ns))
                count++;
        }
        /* the burst has come back meanwhile */
        CHECK(count <= documented[i].burst + 10 * documented[i].per_min);
        CHECK(count >= 10 * documented[i].per_min);
    }
    limit_fini(&limits.table);
}

static void senders_and_kinds_have_buckets_of_their_own(void)
{
    struct limits limits;

    begin(&limits, 8);
    CHECK_U64(through(&limits, "a", LIMIT_TASK, SECOND), 60);
    CHECK_U64(through(&limits, "b", LIMIT_TASK, SECOND), 60);
    CHECK_U64(through(&limits, "a", LIMIT_CHUNK, SECOND), 240);
    CHECK_U64(through(&limits, "a", LIMIT_TASK, 100000 * SECOND), 60);
    limit_fini(&limits.table);
}

static void the_table_is_bounded(void)
{
    struct limits limits;
    uint64_t at_ns;
    char name[32];

    begin(&limits, 4);
    CHECK_U64(through(&limits, "steady", LIMIT_TASK, SECOND), 60);
    for (unsigned i = 0; i < 1000; i++) {
        snprintf(name, sizeof(name), "s-%u", i);
        CHECK(limit_take(&limits.table, name, LIMIT_TASK, SECOND, &at_ns));
        CHECK(!limit_take(&limits.table, "steady", LIMIT_TASK, SECOND, &at_ns));
        CHECK(limits.table.senders <= 4);
    }
    limit_fini(&limits.table);
}

static void kinds_by_name(void)
{
    CHECK_U64(limit_kind_of("handshake_init"), LIMIT_HANDSHAKE);
    CHECK_U64(limit_kind_of("ping"), LIMIT_HEARTBEAT);
    CHECK_U64(limit_kind_of("capability_exchange"), LIMIT_DISCOVERY);
    CHECK_U64(limit_kind_of("chunk"), LIMIT_CHUNK);
    CHECK_U64(limit_kind_of("task_delegate"), LIMIT_TASK);
    CHECK_U64(limit_kind_of("chunks"), LIMIT_TASK);
    CHECK_U64(limit_kind_of(""), LIMIT_TASK);
}

static void seconds_to_wait(void)
{
    CHECK_U64(limit_wait_s(5 * SECOND, 5 * SECOND), 1);
    CHECK_U64(limit_wait_s(5 * SECOND, 4 * SECOND), 1);
    CHECK_U64(limit_wait_s(5 * SECOND, 6 * SECOND), 1);
    CHECK_U64(limit_wait_s(5 * SECOND, 6 * SECOND + 1), 2);
    CHECK_U64(limit_wait_s(0, UINT64_MAX), UINT32_MAX);
}

static void when_they_are_on(void)
{
    static const struct {
        parley_rates rates;
        bool loopback, on;
    } cases[] = {
        {PARLEY_RATES_AUTO, true, false}, {PARLEY_RATES_AUTO, false, true},
        {PARLEY_RATES_ON, true, true},    {PARLEY_RATES_ON, false, true},
        {PARLEY_RATES_OFF, true, false},  {PARLEY_RATES_OFF, false, false},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct limits limits = {0};

        alloc_init(&limits.alloc, NULL);
        parley_options_init(&limits.options);
        limits.options.rates = cases[i].rates;
        limit_init(&limits.table, &limits.alloc, &limits.options, cases[i].loopback);
        CHECK_U64(limits.table.on, cases[i].on);
        limit_fini(&limits.table);
    }
}

static const struct check_test tests[] = {
    {"the documented numbers hold", the_documented_numbers},
    {"senders and kinds have buckets of their own",
     senders_and_kinds_have_buckets_of_their_own},
    {"the table is bounded, and keeps who is heard of", the_table_is_bounded},
    {"kinds follow from names", kinds_by_name},
    {"Retry-After rounds up", seconds_to_wait},
    {"auto is off on loopback", when_they_are_on},
};

CHECK_MAIN("limits on senders", tests)
