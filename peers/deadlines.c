/* SPDX-License-Identifier: Apache-2.0
 *
 * Why a look is cheap: while the time passes from tick `t` to tick `n`, let h be the highest
 * bit in which the two differ. Buckets above h + 1 stay right as they are. What stands in
 * buckets below h + 1 is before `n`, so it is due. Only bucket h + 1 has to be sorted anew,
 * each of its entries into a lower one, so an entry moves at most once per bucket.
 */
#include "peers/deadlines.h"

#include <assert.h>
#include <stddef.h>
#include <string.h>

#include "runtime/clock.h"

#define TICK_SHIFT 20 /* 1.05 ms */
#define LAST       (DEADLINE_BUCKETS - 1)

static uint32_t bucket_of(const struct deadlines *deadlines, uint64_t at_ns)
{
    uint64_t tick = at_ns >> TICK_SHIFT;
    uint32_t bucket;

    if (tick <= deadlines->tick)
        return 0;
    bucket = 64 - (uint32_t)__builtin_clzll(tick ^ deadlines->tick);
    return bucket < LAST ? bucket : LAST;
}

static void put(struct deadlines *deadlines, struct deadline *entry)
{
    uint32_t bucket = bucket_of(deadlines, entry->at_ns);
    struct deadline *next = deadlines->first[bucket];

    if (next == NULL || entry->at_ns < deadlines->earliest_ns[bucket])
        deadlines->earliest_ns[bucket] = entry->at_ns;
    if (next != NULL)
        next->link = &entry->next;
    entry->next = next;
    entry->link = &deadlines->first[bucket];
    entry->bucket = bucket;
    deadlines->first[bucket] = entry;
    deadlines->used |= UINT32_C(1) << bucket;
}

/* Empties a bucket. @return its entries, chained */
static struct deadline *detach(struct deadlines *deadlines, uint32_t bucket)
{
    struct deadline *list = deadlines->first[bucket];

    deadlines->first[bucket] = NULL;
    deadlines->used &= ~(UINT32_C(1) << bucket);
    return list;
}

static void put_all(struct deadlines *deadlines, struct deadline *list)
{
    for (struct deadline *next; list != NULL; list = next) {
        next = list->next;
        put(deadlines, list);
    }
}

static void advance(struct deadlines *deadlines, uint64_t now_ns)
{
    uint32_t top = bucket_of(deadlines, now_ns);
    uint32_t entered = deadlines->used & ((UINT32_C(2) << top) - 1) & ~UINT32_C(1);

    if (top == 0)
        return;
    deadlines->tick = now_ns >> TICK_SHIFT;
    for (; entered != 0; entered &= entered - 1)
        put_all(deadlines, detach(deadlines, (uint32_t)__builtin_ctz(entered)));
}

void deadlines_init(struct deadlines *deadlines)
{
    memset(deadlines, 0, sizeof(*deadlines));
}

void deadlines_add(struct deadlines *deadlines, struct deadline *entry, uint64_t at_ns)
{
    entry->next = NULL;
    entry->link = NULL;
    entry->at_ns = at_ns;
    if (at_ns != CLOCK_NEVER)
        put(deadlines, entry);
}

void deadlines_remove(struct deadlines *deadlines, struct deadline *entry)
{
    if (entry->link == NULL)
        return;
    *entry->link = entry->next;
    if (entry->next != NULL)
        entry->next->link = entry->link;
    entry->link = NULL;
    entry->next = NULL;
    if (deadlines->first[entry->bucket] == NULL)
        deadlines->used &= ~(UINT32_C(1) << entry->bucket);
}

uint64_t deadlines_earliest(const struct deadlines *deadlines)
{
    /* What stands in a lower bucket is earlier. */
    return deadlines->used == 0 ? CLOCK_NEVER
                                : deadlines->earliest_ns[__builtin_ctz(deadlines->used)];
}

struct deadline *deadlines_take_due(struct deadlines *deadlines, uint64_t now_ns)
{
    struct deadline *due = NULL, *list, *next;

    if (deadlines_earliest(deadlines) > now_ns)
        return NULL;
    advance(deadlines, now_ns);
    for (list = detach(deadlines, 0); list != NULL; list = next) {
        next = list->next;
        if (list->at_ns > now_ns) {
            put(deadlines, list);
            continue;
        }
        list->link = NULL;
        list->next = due;
        due = list;
    }
    return due;
}

uint64_t deadlines_check(const struct deadlines *deadlines)
{
    uint64_t count = 0;

    for (uint32_t i = 0; i < DEADLINE_BUCKETS; i++) {
        struct deadline *const *link = &deadlines->first[i];

        assert((*link != NULL) == ((deadlines->used >> i & 1) != 0));
        for (; *link != NULL; link = &(*link)->next) {
            assert((*link)->link == link);
            assert((*link)->bucket == i && bucket_of(deadlines, (*link)->at_ns) == i);
            assert((*link)->at_ns >= deadlines->earliest_ns[i]);
            count++;
        }
    }
    return count;
}
