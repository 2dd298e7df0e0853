/* SPDX-License-Identifier: Apache-2.0 */
#include "peers/pace.h"

#include <assert.h>
#include <stddef.h>

#define MINUTE_NS UINT64_C(60000000000)

static uint64_t add(uint64_t a, uint64_t b)
{
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

void pace_init(struct pace *pace, uint32_t burst, uint32_t per_min)
{
    uint64_t ahead;

    assert(burst > 0 && per_min > 0);
    /* Rounded up: a minute never holds one too many. */
    pace->interval_ns = (MINUTE_NS + per_min - 1) / per_min;
    ahead = burst - 1;
    if (ahead > UINT64_MAX / 2 / pace->interval_ns)
        ahead = UINT64_MAX / 2 / pace->interval_ns; /* centuries */
    pace->tolerance_ns = ahead * pace->interval_ns;
    pace->full_at_ns = 0;
}

bool pace_take(struct pace *pace, uint64_t now_ns, uint64_t *ret_at_ns)
{
    uint64_t from_ns = pace->full_at_ns > now_ns ? pace->full_at_ns : now_ns;

    assert(ret_at_ns != NULL);
    if (from_ns - now_ns > pace->tolerance_ns) {
        *ret_at_ns = from_ns - pace->tolerance_ns;
        return false;
    }
    pace->full_at_ns = add(from_ns, pace->interval_ns);
    return true;
}

void pace_return(struct pace *pace)
{
    assert(pace->full_at_ns >= pace->interval_ns);
    pace->full_at_ns -= pace->interval_ns;
}

void pace_hold(struct pace *pace, uint64_t until_ns)
{
    uint64_t full_at_ns = add(until_ns, pace->tolerance_ns);

    if (pace->full_at_ns < full_at_ns)
        pace->full_at_ns = full_at_ns;
}
