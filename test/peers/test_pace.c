/* SPDX-License-Identifier: Apache-2.0
 *
 * The pace towards older receivers: never more than burst + rate × window in any window, and
 * never too much for a simulated receiver of the older kinds.
 */
#include <inttypes.h>
#include <stdio.h>

#include "peers/pace.h"
#include "test/check.h"

#define SECOND UINT64_C(1000000000)
#define MINUTE (60 * SECOND)
#define HOUR   (60 * MINUTE)
#define TAKES  2048 /* messages of one run */

/* How many go out at once, now. */
static unsigned burst_at(struct pace *pace, uint64_t now_ns, unsigned most)
{
    uint64_t at_ns;
    unsigned count = 0;

    while (count < most && pace_take(pace, now_ns, &at_ns))
        count++;
    return count;
}

static void a_burst_then_the_rate(void)
{
    struct pace pace;
    uint64_t at_ns = 0;

    pace_init(&pace, 10, 15);
    CHECK_U64(burst_at(&pace, 5 * SECOND, 100), 10);
    CHECK(!pace_take(&pace, 5 * SECOND, &at_ns));
    CHECK_U64(at_ns, 9 * SECOND);
    CHECK(!pace_take(&pace, 9 * SECOND - 1, &at_ns));
    CHECK_U64(at_ns, 9 * SECOND);
    CHECK_U64(burst_at(&pace, 9 * SECOND, 100), 1);
    CHECK_U64(burst_at(&pace, 17 * SECOND, 100), 2);
    CHECK_U64(burst_at(&pace, 17 * SECOND + HOUR, 100), 10);
}

static void a_clock_that_stands_or_steps_back(void)
{
    struct pace pace;
    uint64_t at_ns = 0;

    pace_init(&pace, 3, 60);
    CHECK_U64(burst_at(&pace, 0, 100), 3);
    for (unsigned i = 0; i < 100; i++)
        CHECK(!pace_take(&pace, 0, &at_ns) && at_ns == SECOND);
    CHECK_U64(burst_at(&pace, 10 * SECOND, 100), 3);
    CHECK_U64(burst_at(&pace, 2 * SECOND, 100), 0);
    CHECK_U64(burst_at(&pace, 11 * SECOND, 100), 1);
}

static void the_ends_of_the_ranges(void)
{
    struct pace pace;
    uint64_t at_ns = 0;

    pace_init(&pace, UINT32_MAX, 1);
    CHECK_U64(burst_at(&pace, UINT64_MAX / 4, 1000), 1000);
    pace_init(&pace, 1, UINT32_MAX);
    CHECK_U64(burst_at(&pace, 7, 10), 1);
    CHECK(!pace_take(&pace, 7, &at_ns) && at_ns > 7 && at_ns < 7 + 20);
    pace_init(&pace, 1, 1); /* near the end of time it saturates and does not wrap around */
    CHECK_U64(burst_at(&pace, UINT64_MAX - 1, 1), 1);
    CHECK(!pace_take(&pace, SECOND, &at_ns));
    pace_hold(&pace, UINT64_MAX);
    CHECK(!pace_take(&pace, SECOND, &at_ns));
}

static void a_hold_leaves_no_burst(void)
{
    struct pace pace;
    uint64_t at_ns = 0;

    pace_init(&pace, 10, 15);
    CHECK_U64(burst_at(&pace, SECOND, 1), 1);
    pace_hold(&pace, 300 * SECOND);
    CHECK(!pace_take(&pace, 299 * SECOND, &at_ns));
    CHECK_U64(at_ns, 300 * SECOND);
    CHECK_U64(burst_at(&pace, 300 * SECOND, 100), 1);
    CHECK_U64(burst_at(&pace, 304 * SECOND, 100), 1);
    pace_hold(&pace, 10 * SECOND); /* gone by: nothing is given back */
    CHECK_U64(burst_at(&pace, 304 * SECOND, 100), 0);
}

/* ---- A greedy sender: as much as the pace allows, with pauses ---- */

static size_t greedy(struct pace *pace, struct check_random *random, uint64_t *times)
{
    uint64_t now_ns = check_random_below(random, HOUR), at_ns = 0;
    size_t count = 0;

    while (count < TAKES) {
        if (check_random_below(random, 97) == 0)
            now_ns += check_random_below(random, 5 * MINUTE);
        if (pace_take(pace, now_ns, &at_ns))
            times[count++] = now_ns;
        else if (at_ns <= now_ns)
            return 0;
        else
            now_ns = at_ns;
    }
    return count;
}

static void any_window(void)
{
    static uint64_t times[TAKES];
    struct check_random random = {check_seed(1)};

    for (unsigned run = 0; run < 40; run++) {
        uint32_t burst = 1 + (uint32_t)check_random_below(&random, 50);
        uint32_t per_min = 1 + (uint32_t)check_random_below(&random, run % 2 ? 100 : 100000);
        struct pace pace;
        size_t count;

        pace_init(&pace, burst, per_min);
        count = greedy(&pace, &random, times);
        if (!CHECK_U64(count, TAKES))
            return;
        for (size_t i = 0; i < count; i++) {
            for (size_t k = i; k < count; k += 1 + k / 64) {
                uint64_t window_ns = times[k] - times[i];
                uint64_t most = burst + window_ns / MINUTE * per_min +
                                window_ns % MINUTE * per_min / MINUTE;

                if (k - i + 1 > most) {
                    fprintf(stderr, "    burst %u, %u a minute: %zu in %" PRIu64 " ns\n",
                            burst, per_min, k - i + 1, window_ns);
                    CHECK(!"more than burst + rate x window");
                    return;
                }
            }
        }
    }
    CHECK(true);
}

/* ---- Against the older receivers, whose clock sees each message later than we sent it ----
 */

static bool within(const uint64_t *times, size_t count, uint64_t window_ns, size_t most)
{
    for (size_t i = most; i < count; i++) {
        if (times[i] - times[i - most] < window_ns)
            return false;
    }
    return true;
}

/* Burst 10, then 1 a second. */
static bool token_bucket(const uint64_t *times, size_t count)
{
    uint64_t tokens = 10 * SECOND, last_ns = count > 0 ? times[0] : 0;

    for (size_t i = 0; i < count; i++) {
        tokens += times[i] - last_ns;
        if (tokens > 10 * SECOND)
            tokens = 10 * SECOND;
        if (tokens < SECOND)
            return false;
        tokens -= SECOND;
        last_ns = times[i];
    }
    return true;
}

/* In order, each up to 40 ms late. */
static void delay(struct check_random *random, uint64_t *times, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        times[i] += check_random_below(random, 40 * SECOND / 1000);
        if (i > 0 && times[i] < times[i - 1])
            times[i] = times[i - 1];
    }
}

static void old_http_receiver(void)
{
    static uint64_t times[TAKES];
    struct check_random random = {check_seed(2)};

    for (unsigned run = 0; run < 40; run++) {
        struct pace pace;
        size_t count;

        pace_init(&pace, 10, 15);
        count = greedy(&pace, &random, times);
        delay(&random, times, count);
        CHECK_U64(count, TAKES);
        CHECK(token_bucket(times, count));
        CHECK(within(times, count, MINUTE, 60));
        CHECK(within(times, count, HOUR, 1000));
    }
}

static void old_websocket_receiver(void)
{
    static uint64_t times[TAKES];
    struct check_random random = {check_seed(3)};

    for (unsigned run = 0; run < 40; run++) {
        struct pace pace;
        size_t count;

        pace_init(&pace, 40, 55);
        count = greedy(&pace, &random, times);
        delay(&random, times, count);
        CHECK_U64(count, TAKES);
        CHECK(within(times, count, MINUTE, 100));
    }
}

static const struct check_test tests[] = {
    {"a burst goes out at once, then one message an interval", a_burst_then_the_rate},
    {"a clock that stands still or steps back gives nothing away",
     a_clock_that_stands_or_steps_back},
    {"no number overflows", the_ends_of_the_ranges},
    {"after a hold there is no burst", a_hold_leaves_no_burst},
    {"any window holds at most burst + rate x window", any_window},
    {"the defaults over HTTP suit the older receiver", old_http_receiver},
    {"the defaults over WebSocket suit the older receiver", old_websocket_receiver},
};

CHECK_MAIN("pace", tests)
