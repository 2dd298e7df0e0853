/* SPDX-License-Identifier: Apache-2.0 */
#include "peers/breaker.h"

#include <assert.h>
#include <stddef.h>

void breaker_init(struct breaker *breaker)
{
    *breaker = (struct breaker){.state = BREAKER_CLOSED};
}

static bool trials_taken(const struct breaker *breaker, const struct breaker_limits *limits)
{
    return breaker->trials >= limits->trials;
}

bool breaker_blocks(const struct breaker *breaker, const struct breaker_limits *limits,
                    uint64_t now_ns)
{
    switch (breaker->state) {
    case BREAKER_CLOSED:
        break;
    case BREAKER_OPEN:
        return now_ns < breaker->until_ns;
    case BREAKER_HALF_OPEN:
        return trials_taken(breaker, limits);
    }
    return false;
}

static void half_open(struct breaker *breaker)
{
    breaker->state = BREAKER_HALF_OPEN;
    breaker->trials = 0;
    breaker->successes = 0;
}

bool breaker_take(struct breaker *breaker, const struct breaker_limits *limits,
                  uint64_t now_ns, uint64_t *ret_at_ns)
{
    assert(ret_at_ns != NULL);
    if (breaker_blocks(breaker, limits, now_ns)) {
        *ret_at_ns = breaker->state == BREAKER_OPEN ? breaker->until_ns : UINT64_MAX;
        return false;
    }
    if (breaker->state == BREAKER_OPEN)
        half_open(breaker);
    if (breaker->state == BREAKER_HALF_OPEN)
        breaker->trials++;
    return true;
}

/* A call that had begun before it became half-open is no trial. */
static void trial_ended(struct breaker *breaker)
{
    if (breaker->state == BREAKER_HALF_OPEN && breaker->trials > 0)
        breaker->trials--;
}

void breaker_succeeded(struct breaker *breaker, const struct breaker_limits *limits)
{
    breaker->failures = 0;
    if (breaker->state == BREAKER_CLOSED)
        return;
    if (breaker->state == BREAKER_OPEN)
        half_open(breaker);
    trial_ended(breaker);
    if (++breaker->successes >= limits->successes)
        breaker_close(breaker);
}

static void open(struct breaker *breaker, const struct breaker_limits *limits, uint64_t now_ns)
{
    breaker->state = BREAKER_OPEN;
    breaker->failures = 0;
    breaker->trials = 0;
    breaker->successes = 0;
    breaker->until_ns =
        now_ns > UINT64_MAX - 1 - limits->open_ns ? UINT64_MAX - 1 : now_ns + limits->open_ns;
    breaker->opens++;
}

void breaker_failed(struct breaker *breaker, const struct breaker_limits *limits,
                    uint64_t now_ns)
{
    if (limits->failures == 0 || breaker->state == BREAKER_OPEN)
        return;
    breaker->failures++;
    if (breaker->state == BREAKER_HALF_OPEN || breaker->failures >= limits->failures)
        open(breaker, limits, now_ns);
}

void breaker_undone(struct breaker *breaker)
{
    trial_ended(breaker);
}

void breaker_close(struct breaker *breaker)
{
    breaker->state = BREAKER_CLOSED;
    breaker->failures = 0;
    breaker->trials = 0;
    breaker->successes = 0;
}

void breaker_check(const struct breaker *breaker, const struct breaker_limits *limits)
{
    assert(limits->trials > 0 && limits->successes > 0);
    assert(limits->failures > 0 || breaker->state == BREAKER_CLOSED);
    switch (breaker->state) {
    case BREAKER_CLOSED:
        assert(breaker->trials == 0 && breaker->successes == 0);
        assert(limits->failures == 0 || breaker->failures < limits->failures);
        break;
    case BREAKER_OPEN:
        assert(breaker->opens > 0 && breaker->failures == 0 && breaker->trials == 0);
        break;
    case BREAKER_HALF_OPEN:
        assert(breaker->opens > 0 && breaker->failures == 0);
        assert(breaker->trials <= limits->trials && breaker->successes < limits->successes);
        break;
    }
}
