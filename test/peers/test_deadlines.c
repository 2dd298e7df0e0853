/* SPDX-License-Identifier: Apache-2.0
 *
 * Deadlines against a plain array, and how often a timer that follows them has to look.
 */
#include "peers/deadlines.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/clock.h"
#include "test/check.h"

#define ENTRIES 64
#define MANY    16384

struct world {
    struct deadlines deadlines;
    struct deadline entries[ENTRIES];
    bool waits[ENTRIES];
    uint64_t now_ns;
};

/* From nanoseconds to years ahead, and a little behind. */
static uint64_t some_time(struct check_random *random, uint64_t now_ns)
{
    uint64_t span = UINT64_C(1) << check_random_below(random, 56);

    if (check_random_below(random, 16) == 0)
        return now_ns > span ? now_ns - span : 0;
    return now_ns + check_random_below(random, span);
}

static bool earliest_holds(const struct world *world)
{
    uint64_t earliest = deadlines_earliest(&world->deadlines);
    bool any = false;

    for (unsigned i = 0; i < ENTRIES; i++) {
        any = any || world->waits[i];
        if (world->waits[i] && world->entries[i].at_ns < earliest)
            return false;
    }
    return any == (earliest != CLOCK_NEVER);
}

/* Takes what is due; exactly that must come. */
static bool look(struct world *world)
{
    struct deadline *due = deadlines_take_due(&world->deadlines, world->now_ns);

    for (; due != NULL; due = due->next) {
        size_t i = (size_t)(due - world->entries);

        if (!world->waits[i] || due->at_ns > world->now_ns)
            return false;
        world->waits[i] = false;
    }
    for (unsigned i = 0; i < ENTRIES; i++) {
        if (world->waits[i] && world->entries[i].at_ns <= world->now_ns)
            return false;
    }
    return true;
}

static bool random_step(struct world *world, struct check_random *random)
{
    unsigned i = (unsigned)check_random_below(random, ENTRIES);

    switch (check_random_below(random, 8)) {
    case 0: /* as a timer would */
        if (deadlines_earliest(&world->deadlines) == CLOCK_NEVER)
            return true;
        if (deadlines_earliest(&world->deadlines) > world->now_ns)
            world->now_ns = deadlines_earliest(&world->deadlines);
        return look(world);
    case 1: /* a step of any size */
        world->now_ns +=
            check_random_below(random, UINT64_C(1) << check_random_below(random, 50));
        return look(world);
    case 2:
    case 3:
        deadlines_remove(&world->deadlines, &world->entries[i]);
        world->waits[i] = false;
        return true;
    default:
        if (!world->waits[i])
            deadlines_add(&world->deadlines, &world->entries[i],
                          some_time(random, world->now_ns));
        world->waits[i] = true;
        return true;
    }
}

static bool random_run(uint64_t seed)
{
    struct check_random random = {seed};
    struct world world;
    uint64_t waiting = 0;

    memset(&world, 0, sizeof(world));
    deadlines_init(&world.deadlines);
    for (unsigned i = 0; i < 300; i++) {
        bool held = random_step(&world, &random);

        deadlines_check(&world.deadlines);
        if (!held || !earliest_holds(&world))
            return false;
    }
    for (unsigned i = 0; i < ENTRIES; i++)
        waiting += world.waits[i] ? 1 : 0;
    return deadlines_check(&world.deadlines) == waiting;
}

static void random_deadlines(void)
{
    const uint64_t runs = getenv("SEED") != NULL ? 1 : 1000;
    const uint64_t first = check_seed(1);

    for (uint64_t seed = first; seed < first + runs; seed++) {
        if (!random_run(seed)) {
            fprintf(stderr, "    replay: SEED=%" PRIu64 "\n", seed);
            CHECK(!"exactly what is due comes");
            return;
        }
    }
    CHECK(true);
}

static void never_does_not_wait(void)
{
    struct deadlines deadlines;
    struct deadline entry;

    deadlines_init(&deadlines);
    deadlines_add(&deadlines, &entry, CLOCK_NEVER);
    CHECK_U64(deadlines_earliest(&deadlines), CLOCK_NEVER);
    CHECK(deadlines_take_due(&deadlines, CLOCK_NEVER - 1) == NULL);
    deadlines_remove(&deadlines, &entry);
    CHECK_U64(deadlines_check(&deadlines), 0);
}

/* Follows deadlines_earliest() until nothing waits. @return how often it looked */
static uint64_t looks_until_empty(struct deadlines *deadlines, uint64_t expected)
{
    uint64_t looks = 0, came = 0;

    while (deadlines_earliest(deadlines) != CLOCK_NEVER && looks <= 100 * expected) {
        struct deadline *due = deadlines_take_due(deadlines, deadlines_earliest(deadlines));

        looks++;
        for (; due != NULL; due = due->next)
            came++;
    }
    CHECK_U64(came, expected);
    return looks;
}

static void one_deadline_is_one_look(void)
{
    struct deadlines deadlines;
    struct deadline entry;

    deadlines_init(&deadlines);
    deadlines_add(&deadlines, &entry, 60 * NS_PER_S);
    CHECK_U64(looks_until_empty(&deadlines, 1), 1);
}

/* A backlog with mixed lifetimes: never a look that brings nothing. */
static void every_look_brings_something(void)
{
    static struct deadline entries[MANY];
    struct check_random random = {7};
    struct deadlines deadlines;

    deadlines_init(&deadlines);
    for (unsigned i = 0; i < MANY; i++)
        deadlines_add(&deadlines, &entries[i], check_random_below(&random, 300 * NS_PER_S));
    CHECK(looks_until_empty(&deadlines, MANY) <= MANY);
}

/* What was met before its time costs at most a look per bucket it would have gone through. */
static void removed_ones_cost_few_looks(void)
{
    static struct deadline entries[MANY];
    struct check_random random = {9};
    struct deadlines deadlines;
    uint64_t left = 0;

    deadlines_init(&deadlines);
    for (unsigned i = 0; i < MANY; i++)
        deadlines_add(&deadlines, &entries[i], check_random_below(&random, 300 * NS_PER_S));
    for (unsigned i = 0; i < MANY; i++) {
        if (i % 256 == 0)
            left++;
        else
            deadlines_remove(&deadlines, &entries[i]);
    }
    CHECK(looks_until_empty(&deadlines, left) <= left + DEADLINE_BUCKETS);
}

static const struct check_test tests[] = {
    {"exactly what is due comes, at any spread and pace", random_deadlines},
    {"never does not wait", never_does_not_wait},
    {"a single deadline is a single look", one_deadline_is_one_look},
    {"no look at a backlog is in vain", every_look_brings_something},
    {"deadlines that were met cost few looks", removed_ones_cost_few_looks},
};

CHECK_MAIN("deadlines", tests)
