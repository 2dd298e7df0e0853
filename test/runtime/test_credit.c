/* SPDX-License-Identifier: Apache-2.0
 *
 * The bound's promises: never exceeded, writability told once, "closed and empty" told once
 * and only when nobody can be using the owner. The source is included so that its race
 * windows yield.
 */
#include "test/runtime/yield.h"

#include <pthread.h>
#include <stdlib.h>

#define YIELD_POINT() yield_point()
#include "runtime/credit.c" /* NOLINT(bugprone-suspicious-include) */

static struct credit opened(uint32_t messages_max, uint64_t bytes_max, uint32_t *generation)
{
    struct credit credit;

    credit_init(&credit);
    *generation = credit_open(&credit, messages_max, bytes_max);
    return credit;
}

static void test_bounds(void)
{
    uint32_t generation;
    struct credit credit = opened(4, 640, &generation);
    bool writable;

    CHECK_STATUS(credit_reserve(&credit, generation, 100), OK); /* 2 units of 10 */
    CHECK_U64(credit_usage(&credit).bytes, 128);
    CHECK_STATUS(credit_reserve(&credit, generation, 513), EAGAIN); /* 9 units: too many */
    CHECK_STATUS(credit_reserve(&credit, generation, 512), OK);
    CHECK_STATUS(credit_reserve(&credit, generation, 1), EAGAIN);
    CHECK_STATUS(credit_reserve(&credit, generation, 0), OK);
    CHECK_STATUS(credit_reserve(&credit, generation, 0), OK);
    CHECK_STATUS(credit_reserve(&credit, generation, 0), EAGAIN); /* the fifth message */
    CHECK_STATUS(credit_reserve(&credit, generation, UINT32_MAX), EAGAIN);
    CHECK_U64(credit_usage(&credit).messages, 4);
    CHECK(!credit_release(&credit, 4, 10, &writable));
    CHECK(writable);
    CHECK_U64(credit_usage(&credit).messages, 0);
    CHECK_U64(credit_usage(&credit).bytes, 0);
}

static void test_writable_once(void)
{
    uint32_t generation;
    struct credit credit = opened(8, 8 * 64, &generation);
    bool writable;

    for (int i = 0; i < 8; i++)
        CHECK_STATUS(credit_reserve(&credit, generation, 64), OK);
    credit_release(&credit, 1, 1, &writable);
    CHECK(!writable); /* nobody was refused */
    CHECK_STATUS(credit_reserve(&credit, generation, 64), OK);
    CHECK_STATUS(credit_reserve(&credit, generation, 64), EAGAIN);
    CHECK_STATUS(credit_reserve(&credit, generation, 64), EAGAIN);
    for (int i = 0; i < 4; i++) {
        credit_release(&credit, 1, 1, &writable);
        CHECK(!writable); /* 4 of 8 is not under half */
    }
    credit_release(&credit, 1, 1, &writable);
    CHECK(writable);
    credit_release(&credit, 1, 1, &writable);
    CHECK(!writable);
    credit_wait(&credit);
    credit_release(&credit, 1, 1, &writable);
    CHECK(writable);
}

static void test_generations(void)
{
    uint32_t generation;
    struct credit credit = opened(1, 64, &generation);
    bool writable;

    CHECK_STATUS(credit_reserve(&credit, generation, 1), OK);
    CHECK(!credit_close(&credit));
    CHECK_STATUS(credit_reserve(&credit, generation, 1), ECLOSED);
    CHECK(credit_release(&credit, 1, 1, &writable));
    CHECK(!writable);
    CHECK(!credit_close(&credit)); /* told already */
    CHECK(!credit_release(&credit, 0, 0, &writable));
    for (uint32_t i = 0; i < 70000; i++) {
        const uint32_t next = credit_open(&credit, 1, 64);

        if (next == 0 || next == generation || next > 65535)
            CHECK_U64(next, i);
        if (credit_reserve(&credit, generation, 1) != PARLEY_ECLOSED)
            CHECK_U64(i, UINT64_MAX);
        generation = next;
        if (!credit_close(&credit))
            CHECK_U64(i, UINT64_MAX);
    }
    CHECK(credit_usage(&credit).closed);
}

static void test_clamped(void)
{
    uint32_t generation;
    struct credit credit = opened(UINT32_MAX, UINT64_MAX, &generation);
    bool writable;

    CHECK_STATUS(credit_reserve(&credit, generation, UINT32_MAX), EAGAIN);
    CHECK_STATUS(credit_reserve(&credit, generation, UINT32_MAX - 64), OK);
    CHECK_STATUS(credit_reserve(&credit, generation, 1), EAGAIN);
    CHECK_U64(credit_usage(&credit).bytes, CREDIT_BYTES_MAX);
    CHECK(!credit_release(&credit, 1, credit_units(UINT32_MAX - 64), &writable));
    for (uint32_t i = 0; i < CREDIT_MESSAGES_MAX; i++) {
        if (credit_reserve(&credit, generation, 0) != PARLEY_OK)
            CHECK_U64(i, CREDIT_MESSAGES_MAX);
    }
    CHECK_STATUS(credit_reserve(&credit, generation, 0), EAGAIN);
    CHECK_U64(credit_usage(&credit).messages, CREDIT_MESSAGES_MAX);
    CHECK(!credit_release(&credit, CREDIT_MESSAGES_MAX, 0, &writable));
    CHECK(credit_close(&credit));
}

/* ---- Random steps against a model ---- */

struct model {
    struct credit credit;
    uint32_t generation, messages_max, units_max;
    uint32_t messages, units;
    uint32_t sizes[64]; /* units of each reservation, in order */
    bool closed, waiting;
};

static bool model_reserve(struct model *model, struct check_random *random)
{
    const uint32_t bytes = (uint32_t)check_random_below(random, 700);
    const uint32_t units = (bytes + 63) / 64;
    const bool stale = check_random_below(random, 20) == 0;
    parley_status expected = PARLEY_OK;

    if (model->closed || stale)
        expected = PARLEY_ECLOSED;
    else if (model->messages == model->messages_max || model->units + units > model->units_max)
        expected = PARLEY_EAGAIN;
    if (expected == PARLEY_OK) {
        model->sizes[model->messages++] = units;
        model->units += units;
    }
    model->waiting |= expected == PARLEY_EAGAIN;
    return credit_reserve(&model->credit, model->generation - stale, bytes) == expected;
}

static bool model_release(struct model *model, struct check_random *random)
{
    const uint32_t count = (uint32_t)check_random_below(random, model->messages + 1);
    uint32_t units = 0;
    bool writable;
    bool expected;
    bool last;

    for (uint32_t i = 0; i < count; i++)
        units += model->sizes[--model->messages];
    model->units -= units;
    expected = model->waiting && !model->closed && model->messages * 2 < model->messages_max &&
               model->units * 2 < model->units_max;
    if (expected)
        model->waiting = false;
    last = credit_release(&model->credit, count, units, &writable);
    return writable == expected &&
           last == (model->closed && model->messages == 0 && count > 0);
}

static bool model_step(struct model *model, struct check_random *random)
{
    switch (check_random_below(random, 16)) {
    case 0:
        if (model->closed && model->messages == 0) {
            model->messages_max = 1 + (uint32_t)check_random_below(random, 64);
            model->units_max = 1 + (uint32_t)check_random_below(random, 200);
            model->closed = model->waiting = false;
            model->generation = credit_open(&model->credit, model->messages_max,
                                            (uint64_t)model->units_max * CREDIT_UNIT);
        }
        return true;
    case 1:
        if (check_random_below(random, 8) == 0) {
            const bool expected = !model->closed && model->messages == 0;

            model->closed = true;
            return credit_close(&model->credit) == expected;
        }
        return true;
    case 2:
    case 3:
    case 4:
    case 5:
        return model_release(model, random);
    default:
        return model_reserve(model, random);
    }
}

static void test_model(void)
{
    struct check_random random = {yield_seed()};
    struct model model = {.closed = true};

    credit_init(&model.credit);
    for (unsigned step = 0; step < 1000000; step++) {
        const bool held = model_step(&model, &random);
        const struct credit_usage usage = credit_usage(&model.credit);

        if (!held || usage.messages != model.messages || usage.closed != model.closed ||
            usage.bytes != (uint64_t)model.units * CREDIT_UNIT) {
            CHECK_U64(step, UINT64_MAX); /* tells which step went wrong */
            return;
        }
    }
    CHECK_U64(credit_usage(&model.credit).messages, model.messages);
}

/* ---- Threads: reserving, releasing and closing race ---- */

#define PRODUCERS 3
#define ROUNDS    400

struct race {
    struct credit credit;
    uint32_t generation;
    uint64_t seed;
    pthread_barrier_t barrier;
    _Atomic(uint64_t) ended;     /* times "closed and empty" was told this round */
    _Atomic(uint64_t) after_end; /* uses of the owner after it */
    _Atomic(uint64_t) over;      /* bound seen exceeded */
    _Atomic(uint64_t) accepted;
    uint64_t owner; /* plain on purpose: only who is told of the end may write it */
};

struct racer {
    pthread_t thread;
    struct race *race;
    unsigned index;
};

static void use_owner(struct race *race)
{
    if (atomic_load_explicit(&race->ended, memory_order_relaxed) != 0 || race->owner != 0)
        atomic_fetch_add(&race->after_end, 1);
    if (credit_usage(&race->credit).messages > 8)
        atomic_fetch_add(&race->over, 1);
}

static void end_owner(struct race *race)
{
    race->owner = 1; /* a data race here would be one on freed memory in real life */
    atomic_fetch_add(&race->ended, 1);
}

static void race_round(struct race *race)
{
    bool writable;

    for (unsigned n = 0; n < 1000; n++) {
        const parley_status status = credit_reserve(&race->credit, race->generation, 64);

        if (status == PARLEY_ECLOSED)
            return;
        if (status != PARLEY_OK)
            continue;
        atomic_fetch_add(&race->accepted, 1);
        use_owner(race);
        if (credit_release(&race->credit, 1, 1, &writable))
            end_owner(race);
    }
}

static void *race_producer(void *argument)
{
    struct racer *self = argument;

    yield_random.state = self->race->seed + self->index + 1;
    for (unsigned round = 0; round < ROUNDS; round++) {
        pthread_barrier_wait(&self->race->barrier);
        race_round(self->race);
        pthread_barrier_wait(&self->race->barrier);
    }
    yield_random.state = 0;
    return NULL;
}

static void test_close_race(void)
{
    static struct race race;
    struct racer racers[PRODUCERS];
    struct check_random random;
    uint64_t wrong = 0;

    race.seed = yield_seed();
    random.state = race.seed;
    credit_init(&race.credit);
    pthread_barrier_init(&race.barrier, NULL, PRODUCERS + 1);
    for (unsigned i = 0; i < PRODUCERS; i++) {
        racers[i] = (struct racer){.race = &race, .index = i};
        pthread_create(&racers[i].thread, NULL, race_producer, &racers[i]);
    }
    for (unsigned round = 0; round < ROUNDS; round++) {
        race.generation = credit_open(&race.credit, 2, UINT64_MAX);
        race.owner = 0;
        atomic_store(&race.ended, 0);
        pthread_barrier_wait(&race.barrier);
        for (uint64_t spin = check_random_below(&random, 50); spin > 0; spin--)
            sched_yield();
        if (credit_close(&race.credit))
            end_owner(&race);
        pthread_barrier_wait(&race.barrier);
        wrong += atomic_load(&race.ended) != 1;
    }
    for (unsigned i = 0; i < PRODUCERS; i++)
        pthread_join(racers[i].thread, NULL);
    pthread_barrier_destroy(&race.barrier);
    CHECK_U64(wrong, 0);
    CHECK_U64(race.after_end, 0);
    CHECK_U64(race.over, 0);
    CHECK(race.accepted > 0);
}

/* ---- Threads: whoever is refused is told ---- */

#define SENDS 20000

struct flow {
    struct credit credit;
    uint32_t generation;
    _Atomic(uint64_t) writable; /* times it was told */
    _Atomic(uint64_t) queued;
    _Atomic(uint64_t) stuck;
    uint64_t seed;
};

static void *flow_send(void *argument)
{
    struct flow *flow = argument;

    yield_random.state = flow->seed;
    for (unsigned n = 0; n < SENDS;) {
        const uint64_t before = atomic_load(&flow->writable);
        const parley_status status = credit_reserve(&flow->credit, flow->generation, 64);

        if (status == PARLEY_OK) {
            atomic_fetch_add(&flow->queued, 1);
            n++;
        } else if (!check_wait(&flow->writable, before + 1)) {
            atomic_fetch_add(&flow->stuck, 1);
            break;
        }
    }
    yield_random.state = 0;
    return NULL;
}

static void test_nobody_waits_forever(void)
{
    static struct flow flow;
    pthread_t threads[2];
    uint64_t released = 0;

    flow.seed = yield_seed();
    credit_init(&flow.credit);
    flow.generation = credit_open(&flow.credit, 64, UINT64_MAX);
    for (int i = 0; i < 2; i++)
        pthread_create(&threads[i], NULL, flow_send, &flow);
    while (released < 2 * SENDS && atomic_load(&flow.stuck) == 0) {
        const uint64_t queued = atomic_load(&flow.queued);
        bool writable;

        if (queued == released) {
            sched_yield();
            continue;
        }
        credit_release(&flow.credit, 1, 1, &writable);
        released++;
        atomic_fetch_add(&flow.writable, writable);
    }
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    CHECK_U64(flow.stuck, 0);
    CHECK_U64(credit_usage(&flow.credit).messages, 0);
}

static const struct check_test tests[] = {
    {"messages and bytes are bounded", test_bounds},
    {"writability is told once, under half", test_writable_once},
    {"a stale generation is refused", test_generations},
    {"bounds are clamped to what the word holds", test_clamped},
    {"a million random steps agree with a model", test_model},
    {"closed and empty is told once, under a racing close", test_close_race},
    {"whoever is refused is told when there is room", test_nobody_waits_forever},
};
CHECK_MAIN("credit", tests)
