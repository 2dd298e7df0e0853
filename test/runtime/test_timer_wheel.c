/* SPDX-License-Identifier: Apache-2.0
 *
 * The wheel against a plain array of timers, and its promises about callbacks and waiting.
 */
#include "runtime/timer_wheel.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/clock.h"
#include "test/check.h"

#define START_NS (UINT64_C(123456789) * NS_PER_MS + 321)

struct probe {
    struct timer timer; /* first */
    struct timer_wheel *wheel;
    struct probe *other;
    uint64_t at_ns;
    unsigned fired;
};

static void count(struct timer *timer)
{
    ((struct probe *)(void *)timer)->fired++;
}

static void test_never_early(void)
{
    static struct timer_wheel wheel;
    static const uint64_t delays_ms[] = {
        0,        1,        2,       63,       64,
        65,       4095,     4096,    262143,   262144,
        16777216, 86400000, 4000000, 1u << 30, UINT64_C(1) << 31};

    for (size_t i = 0; i < sizeof(delays_ms) / sizeof(delays_ms[0]); i++) {
        const uint64_t due_ns = START_NS + delays_ms[i] * NS_PER_MS;
        const uint64_t rounded_ns = (due_ns / NS_PER_MS + 1) * NS_PER_MS;
        struct probe probe = {.fired = 0};

        timer_wheel_init(&wheel, START_NS);
        timer_init(&probe.timer, count);
        CHECK(!timer_started(&probe.timer));
        timer_start(&wheel, &probe.timer, due_ns);
        timer_wheel_check(&wheel);
        CHECK(timer_started(&probe.timer));
        CHECK_U64(timer_wheel_advance(&wheel, due_ns), 0); /* its tick is not over yet */
        timer_wheel_check(&wheel);
        CHECK_U64(timer_wheel_advance(&wheel, rounded_ns - 1), 0);
        CHECK_U64(timer_wheel_advance(&wheel, rounded_ns), 1);
        CHECK_U64(probe.fired, 1);
        CHECK(!timer_started(&probe.timer));
        CHECK_U64(timer_wheel_next_ns(&wheel), CLOCK_NEVER);
    }
}

static void test_far_and_back(void)
{
    static struct timer_wheel wheel;
    struct probe far = {.fired = 0};
    struct probe never = {.fired = 0};

    timer_wheel_init(&wheel, START_NS);
    timer_init(&far.timer, count);
    timer_init(&never.timer, count);
    timer_start(&wheel, &never.timer, CLOCK_NEVER);
    timer_start(&wheel, &far.timer, START_NS + 40 * 86400 * NS_PER_S);
    CHECK_U64(timer_wheel_advance(&wheel, START_NS + 39 * 86400 * NS_PER_S), 0);
    timer_wheel_check(&wheel);
    CHECK_U64(timer_wheel_advance(&wheel, START_NS), 0); /* time never goes back */
    CHECK_U64(timer_wheel_advance(&wheel, START_NS + 41 * 86400 * NS_PER_S), 1);
    CHECK_U64(far.fired, 1);
    CHECK_U64(wheel.count, 1);
    timer_stop(&wheel, &never.timer);
    timer_stop(&wheel, &never.timer);
    CHECK_U64(wheel.count, 0);
    timer_wheel_check(&wheel);
}

/* Going from one next_ns to the next must reach a timer on time, in few steps. */
static void test_next(void)
{
    static struct timer_wheel wheel;
    struct check_random random = {check_seed(5)};

    for (unsigned round = 0; round < 2000; round++) {
        const uint64_t delay_ms = check_random_below(&random, UINT64_C(1) << (1 + round % 33));
        const uint64_t due_ns = START_NS + delay_ms * NS_PER_MS;
        struct probe probe = {.fired = 0};
        uint64_t now_ns = START_NS;
        unsigned steps = 0;

        timer_wheel_init(&wheel, START_NS);
        timer_init(&probe.timer, count);
        timer_start(&wheel, &probe.timer, due_ns);
        while (probe.fired == 0 && steps < 20) {
            const uint64_t next_ns = timer_wheel_next_ns(&wheel);

            if (next_ns <= now_ns || next_ns > due_ns + NS_PER_MS)
                CHECK_U64(next_ns, due_ns);
            now_ns = next_ns;
            timer_wheel_advance(&wheel, now_ns);
            steps++;
        }
        if (probe.fired != 1 || now_ns < due_ns)
            CHECK_U64(now_ns, due_ns);
    }
    CHECK_U64(wheel.count, 0);
}

/* ---- Callbacks ---- */

static void restart_self(struct timer *timer)
{
    struct probe *probe = (struct probe *)(void *)timer;

    probe->fired++;
    timer_start(probe->wheel, timer, probe->at_ns);
    timer_wheel_check(probe->wheel);
}

static void stop_other(struct timer *timer)
{
    struct probe *probe = (struct probe *)(void *)timer;

    probe->fired++;
    timer_stop(probe->wheel, &probe->other->timer);
    timer_wheel_check(probe->wheel);
}

static void move_other(struct timer *timer)
{
    struct probe *probe = (struct probe *)(void *)timer;

    probe->fired++;
    timer_start(probe->wheel, &probe->other->timer, probe->at_ns);
    timer_wheel_check(probe->wheel);
}

static void test_restart_in_the_past(void)
{
    static struct timer_wheel wheel;
    struct probe probe = {.wheel = &wheel, .at_ns = START_NS - NS_PER_S};

    timer_wheel_init(&wheel, START_NS);
    timer_init(&probe.timer, restart_self);
    timer_start(&wheel, &probe.timer, START_NS - NS_PER_S);
    CHECK(timer_wheel_next_ns(&wheel) <= START_NS + NS_PER_MS);
    for (unsigned i = 1; i <= 5; i++) {
        /* ends, although the timer is due again at once; also when time stands still */
        CHECK_U64(timer_wheel_advance(&wheel, START_NS + i / 3 * 100 * NS_PER_MS), 1);
        CHECK_U64(probe.fired, i);
        timer_wheel_check(&wheel);
    }
}

static void test_callbacks_touch_others(void)
{
    static struct timer_wheel wheel;
    struct probe first = {.wheel = &wheel, .at_ns = START_NS + NS_PER_S};
    struct probe second = {.wheel = &wheel, .other = &first};

    first.other = &second;
    timer_wheel_init(&wheel, START_NS);
    timer_init(&first.timer, stop_other);
    timer_init(&second.timer, stop_other);
    timer_start(&wheel, &first.timer, START_NS + 3 * NS_PER_MS);
    timer_start(&wheel, &second.timer, START_NS + 3 * NS_PER_MS);
    CHECK_U64(timer_wheel_advance(&wheel, START_NS + 10 * NS_PER_MS), 1);
    CHECK_U64(first.fired + second.fired, 1); /* the other was stopped while due */

    timer_init(&first.timer, move_other);
    timer_init(&second.timer, count);
    first.fired = second.fired = 0;
    timer_start(&wheel, &first.timer, START_NS + 20 * NS_PER_MS);
    timer_start(&wheel, &second.timer, START_NS + 21 * NS_PER_MS);
    CHECK_U64(timer_wheel_advance(&wheel, START_NS + 30 * NS_PER_MS), 1);
    CHECK_U64(second.fired, 0); /* moved while due */
    CHECK_U64(timer_wheel_advance(&wheel, START_NS + 2 * NS_PER_S), 1);
    CHECK_U64(second.fired, 1);
}

/* ---- Random steps against a model ---- */

#define TIMERS 48
#define STEPS  1000000

struct model {
    struct timer_wheel wheel;
    struct probe probes[TIMERS];
    uint64_t due_tick[TIMERS]; /* UINT64_MAX: not started */
    uint64_t now_ns;
};

/* Delays of every magnitude, some in the past. */
static uint64_t random_time(struct model *model, struct check_random *random)
{
    const uint64_t span = UINT64_C(1) << (10 + check_random_below(random, 42));
    const uint64_t delay = check_random_below(random, span);

    return check_random_below(random, 10) == 0 ? model->now_ns - delay % NS_PER_S
                                               : model->now_ns + delay;
}

static bool model_advance(struct model *model, uint64_t now_ns)
{
    uint64_t expected = 0;
    uint64_t fired;

    model->now_ns = now_ns;
    for (unsigned i = 0; i < TIMERS; i++)
        expected += model->due_tick[i] <= now_ns / TIMER_TICK_NS;
    fired = timer_wheel_advance(&model->wheel, now_ns);
    for (unsigned i = 0; i < TIMERS; i++) {
        const bool due = model->due_tick[i] <= now_ns / TIMER_TICK_NS;

        if (model->probes[i].fired != due)
            return false;
        model->probes[i].fired = 0;
        if (due)
            model->due_tick[i] = UINT64_MAX;
    }
    return fired == expected;
}

static bool model_next_holds(const struct model *model)
{
    const uint64_t next_ns = timer_wheel_next_ns(&model->wheel);
    const uint64_t floor_tick = model->now_ns / TIMER_TICK_NS;
    uint64_t earliest = UINT64_MAX;

    for (unsigned i = 0; i < TIMERS; i++) {
        if (model->due_tick[i] < earliest)
            earliest = model->due_tick[i];
    }
    if (earliest == UINT64_MAX)
        return next_ns == CLOCK_NEVER;
    if (earliest <= floor_tick)
        earliest = floor_tick + 1;
    return next_ns <= earliest * TIMER_TICK_NS && next_ns >= (floor_tick + 1) * TIMER_TICK_NS;
}

static bool model_step(struct model *model, struct check_random *random)
{
    const unsigned i = (unsigned)check_random_below(random, TIMERS);
    const uint64_t action = check_random_below(random, 8);

    if (action < 4) {
        const uint64_t time_ns = random_time(model, random);

        timer_start(&model->wheel, &model->probes[i].timer, time_ns);
        model->due_tick[i] = (time_ns + TIMER_TICK_NS - 1) / TIMER_TICK_NS;
        return true;
    }
    if (action < 6) {
        timer_stop(&model->wheel, &model->probes[i].timer);
        model->due_tick[i] = UINT64_MAX;
        return true;
    }
    return model_advance(
        model, model->now_ns + check_random_below(random, UINT64_C(1) << (10 + action * 5)));
}

static void test_model(void)
{
    struct check_random random = {check_seed(11)};
    struct model *model = calloc(1, sizeof(*model));
    unsigned step = 0;

    model->now_ns = START_NS;
    timer_wheel_init(&model->wheel, START_NS);
    for (unsigned i = 0; i < TIMERS; i++) {
        timer_init(&model->probes[i].timer, count);
        model->due_tick[i] = UINT64_MAX;
    }
    while (step < STEPS && model_step(model, &random) && model_next_holds(model)) {
        timer_wheel_check(&model->wheel);
        step++;
    }
    CHECK_U64(step, STEPS); /* SEED=… replays it */
    free(model);
}

static const struct check_test tests[] = {
    {"a timer fires at its tick, never before its time", test_never_early},
    {"timers beyond the wheel's range wait", test_far_and_back},
    {"waiting for the next time reaches a timer in few steps", test_next},
    {"a timer restarted for the past waits for the next advance", test_restart_in_the_past},
    {"a callback may stop and move timers that are due", test_callbacks_touch_others},
    {"a million random steps agree with a model", test_model},
};
CHECK_MAIN("timer wheel", tests)
