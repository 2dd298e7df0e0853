/* SPDX-License-Identifier: Apache-2.0
 *
 * The caller brings the random bits, so that a worker's generator is used and a test can
 * ask for the exact edges.
 */
#include "transport/backoff.h"

#include <assert.h>

#define JITTER_PARTS 5 /* a fifth either way: ±20 % */

void backoff_init(struct backoff *backoff, uint64_t min_ns, uint64_t max_ns)
{
    assert(max_ns <= UINT64_MAX / 2); /* room for the jitter */
    backoff->min_ns = min_ns < max_ns ? min_ns : max_ns;
    backoff->max_ns = max_ns;
    backoff->failures = 0;
}

void backoff_reset(struct backoff *backoff)
{
    backoff->failures = 0;
}

/* min_ns doubled once per earlier failure, never above max_ns. */
static uint64_t doubled(const struct backoff *backoff)
{
    uint32_t doublings = backoff->failures;

    if (doublings >= 63 || backoff->min_ns > backoff->max_ns >> doublings)
        return backoff->max_ns;
    return backoff->min_ns << doublings;
}

uint64_t backoff_next_ns(struct backoff *backoff, uint64_t random)
{
    uint64_t base_ns = doubled(backoff);
    uint64_t jitter_ns = base_ns / JITTER_PARTS;

    if (backoff->failures < UINT32_MAX)
        backoff->failures++;
    /* the modulo's bias is below one in 2^64 / jitter_ns: nobody can notice */
    return base_ns - jitter_ns + random % (2 * jitter_ns + 1);
}
