/* SPDX-License-Identifier: Apache-2.0
 *
 * Workers: hooks, starting and failing to start, timers, and what a thread of ours may do
 * to its process.
 */
#include "runtime/worker.h"

#include <ev.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/clock.h"
#include "test/check.h"
#include "test/runtime/fail_alloc.h"
#include "test/runtime/pool.h"

/* What the hooks saw. */
struct journal {
    _Atomic(uint64_t) inits, finis, waits, overlaps, inside;
    _Atomic(uint64_t) turns_before_start; /* before_wait before the last init */
    uint32_t workers;
    uint32_t fail_at; /* the init that fails; UINT32_MAX: none */
    sigset_t masks[8];
    char names[8][16];
    cpu_set_t cpus[8];
    size_t stack_bytes[8];
};

static void enter(struct journal *journal)
{
    if (atomic_fetch_add(&journal->inside, 1) != 0)
        atomic_fetch_add(&journal->overlaps, 1);
    sched_yield();
}

static void leave(struct journal *journal)
{
    atomic_fetch_sub(&journal->inside, 1);
}

static parley_status on_init(struct worker *worker, void *user)
{
    struct journal *journal = user;
    const uint32_t index = worker_index(worker);
    pthread_attr_t attributes;

    enter(journal);
    pthread_sigmask(SIG_BLOCK, NULL, &journal->masks[index]);
    pthread_getname_np(pthread_self(), journal->names[index], sizeof(journal->names[index]));
    sched_getaffinity(0, sizeof(cpu_set_t), &journal->cpus[index]);
    pthread_getattr_np(pthread_self(), &attributes);
    pthread_attr_getstacksize(&attributes, &journal->stack_bytes[index]);
    pthread_attr_destroy(&attributes);
    worker_set_local(worker, 0, journal);
    worker_set_local(worker, 1, worker);
    if (worker_pool_current(worker_get_pool(worker)) != worker)
        atomic_fetch_add(&journal->overlaps, 100);
    atomic_fetch_add(&journal->inits, 1);
    leave(journal);
    return index == journal->fail_at ? PARLEY_EADDRINUSE : PARLEY_OK;
}

static void on_wait(struct worker *worker, void *user)
{
    struct journal *journal = user;

    (void)worker;
    if (atomic_load(&journal->inits) < journal->workers)
        atomic_fetch_add(&journal->turns_before_start, 1);
    atomic_fetch_add(&journal->waits, 1);
}

static void on_fini(struct worker *worker, void *user)
{
    struct journal *journal = user;

    enter(journal);
    if (worker_get_local(worker, 0) == journal && worker_get_local(worker, 1) == worker)
        atomic_fetch_add(&journal->finis, 1);
    leave(journal);
}

static struct worker_pool_options journal_options(struct journal *journal, uint32_t workers)
{
    struct worker_pool_options options = pool_options(workers);

    memset(journal, 0, sizeof(*journal));
    journal->workers = workers;
    journal->fail_at = UINT32_MAX;
    options.hooks = (struct worker_hooks){on_init, on_wait, on_fini, journal};
    return options;
}

static void test_hooks(void)
{
    static struct journal journal;
    struct worker_pool_options options = journal_options(&journal, 4);
    struct worker_pool *pool;

    options.thread_stack_bytes = 300 * 1024 + 5;
    pool = pool_start(&options);
    CHECK_U64(journal.inits, 4);
    CHECK_U64(worker_pool_size(pool), 4);
    CHECK(worker_pool_current(pool) == NULL);
    for (uint32_t i = 0; i < 4; i++) {
        char name[16];

        snprintf(name, sizeof(name), "parley-w%u", i);
        CHECK_TEXT(journal.names[i], name);
        CHECK(sigismember(&journal.masks[i], SIGTERM) == 1);
        CHECK(sigismember(&journal.masks[i], SIGPIPE) == 1);
        CHECK(journal.stack_bytes[i] >= 300 * 1024);
        CHECK_U64(worker_index(worker_pool_get(pool, i)), i);
    }
    CHECK(check_wait(&journal.waits, 4));
    worker_pool_stop(pool);
    CHECK_U64(journal.finis, 4);
    CHECK_U64(journal.overlaps, 0);
    CHECK_U64(journal.turns_before_start, 0);
}

static void test_init_fails(void)
{
    for (uint32_t at = 0; at < 3; at++) {
        static struct journal journal;
        struct worker_pool_options options = journal_options(&journal, 3);
        struct worker_pool *pool = NULL;
        struct fail_alloc state;
        const struct alloc alloc = fail_alloc_init(&state, -1);

        journal.fail_at = at;
        CHECK_STATUS(worker_pool_start(&alloc, &pool_silent, &options, &pool), EADDRINUSE);
        CHECK(pool == NULL);
        CHECK_U64(journal.inits, at + 1);
        CHECK_U64(journal.finis, at); /* those that had been initialised */
        CHECK_U64(journal.waits, 0);
        CHECK_U64(state.out, 0);
    }
}

static void test_out_of_memory(void)
{
    for (int64_t successes = 0; successes < 4; successes++) {
        static struct journal journal;
        const struct worker_pool_options options = journal_options(&journal, 3);
        struct worker_pool *pool = NULL;
        struct fail_alloc state;
        const struct alloc alloc = fail_alloc_init(&state, successes);

        CHECK_STATUS(worker_pool_start(&alloc, &pool_silent, &options, &pool), ENOMEM);
        CHECK_U64(journal.finis, journal.inits);
        CHECK_U64(state.out, 0);
    }
    worker_pool_stop(NULL);
}

static void test_leaves_the_process_alone(void)
{
    static struct journal journal;
    struct worker_pool_options options = journal_options(&journal, 2);
    struct sigaction pipe_before, pipe_after;
    sigset_t before = {0}, after = {0};
    struct worker_pool *pool;

    options.thread_pin = true;
    sigaction(SIGPIPE, NULL, &pipe_before);
    pthread_sigmask(SIG_BLOCK, NULL, &before);
    pool = pool_start(&options);
    pthread_sigmask(SIG_BLOCK, NULL, &after);
    sigaction(SIGPIPE, NULL, &pipe_after);
    CHECK(memcmp(&before, &after, sizeof(before)) == 0);
    CHECK(pipe_before.sa_handler == pipe_after.sa_handler);
    CHECK_U64(CPU_COUNT(&journal.cpus[0]), CPU_COUNT(&journal.cpus[1])); /* set at init */
    CHECK_U64(CPU_COUNT(&journal.cpus[0]), 1);
    worker_pool_stop(pool);
}

/* ---- Timers and the loop ---- */

struct ticking {
    struct timer timer; /* first */
    struct worker *worker;
    uint64_t due_ns;
    uint64_t round;
    _Atomic(uint64_t) fired, early;
};

static void tick(struct timer *timer)
{
    struct ticking *ticking = (struct ticking *)(void *)timer;

    if (worker_now_ns(ticking->worker) < ticking->due_ns ||
        worker_now_exact_ns(ticking->worker) < ticking->due_ns)
        atomic_fetch_add(&ticking->early, 1);
    if (++ticking->round < 20) {
        ticking->due_ns = worker_now_ns(ticking->worker) + ticking->round % 4 * NS_PER_MS / 2;
        worker_timer_start(ticking->worker, timer, ticking->due_ns);
    }
    atomic_fetch_add(&ticking->fired, 1);
}

static parley_status start_ticking(struct worker *worker, void *user)
{
    struct ticking *ticking = user;

    ticking->worker = worker;
    ticking->due_ns = worker_now_ns(worker) + NS_PER_MS;
    timer_init(&ticking->timer, tick);
    worker_timer_start(worker, &ticking->timer, worker_now_ns(worker) + 3600 * NS_PER_S);
    worker_timer_start(worker, &ticking->timer, ticking->due_ns); /* moved earlier */
    return PARLEY_OK;
}

static void stop_ticking(struct worker *worker, void *user)
{
    worker_timer_stop(worker, &((struct ticking *)user)->timer);
}

/* Nothing happens on this worker but its timers: they must end its sleep. */
static void test_timers_wake(void)
{
    static struct ticking ticking;
    struct worker_pool_options options = pool_options(1);
    struct worker_pool *pool;

    options.hooks = (struct worker_hooks){start_ticking, NULL, stop_ticking, &ticking};
    pool = pool_start(&options);
    CHECK(check_wait(&ticking.fired, 20));
    CHECK_U64(ticking.early, 0);
    worker_pool_stop(pool);
}

/* A pipe stands for any socket of the layers above. */
struct reading {
    ev_io io; /* first */
    int fds[2];
    struct worker *worker;
    _Atomic(uint64_t) written_ns, bytes, stale;
};

static void on_readable(struct ev_loop *loop, ev_io *io, int events)
{
    struct reading *reading = (struct reading *)(void *)io;
    char byte;

    (void)loop;
    (void)events;
    if (read(io->fd, &byte, 1) != 1)
        return;
    /* the time must be this poll's, not that of the turn before a sleep */
    if (worker_now_ns(reading->worker) < atomic_load(&reading->written_ns))
        atomic_fetch_add(&reading->stale, 1);
    atomic_fetch_add(&reading->bytes, 1);
}

static parley_status start_reading(struct worker *worker, void *user)
{
    struct reading *reading = user;

    reading->worker = worker;
    ev_io_init(&reading->io, on_readable, reading->fds[0], EV_READ);
    ev_io_start(worker_loop(worker), &reading->io);
    return PARLEY_OK;
}

static void stop_reading(struct worker *worker, void *user)
{
    ev_io_stop(worker_loop(worker), &((struct reading *)user)->io);
}

/* An actor that never goes idle until told. */
struct busy {
    struct actor actor; /* first */
    struct mailbox_node node, end;
    bool once; /* does not post itself again */
    _Atomic(uint64_t) runs, stop, retired;
};

static void busy_run(struct actor *actor, struct mailbox_node *node)
{
    struct busy *busy = (struct busy *)(void *)actor;

    atomic_fetch_add(&busy->runs, 1);
    if (atomic_load(&busy->stop))
        actor_retire(actor);
    else if (!busy->once)
        actor_post(actor, node, node);
}

static void busy_retired(struct actor *actor)
{
    atomic_store(&((struct busy *)(void *)actor)->retired, 1);
}

static void test_sockets_under_load(void)
{
    static const struct actor_class class = {busy_run, busy_run, NULL, busy_retired};
    static struct reading reading;
    struct worker_pool_options options = pool_options(1);
    struct busy *busy = aligned_alloc(CACHE_LINE, sizeof(*busy));
    struct worker_pool *pool;

    CHECK(pipe(reading.fds) == 0);
    options.hooks = (struct worker_hooks){start_reading, NULL, stop_reading, &reading};
    pool = pool_start(&options);
    memset(busy, 0, sizeof(*busy));
    actor_init(&busy->actor, &class, worker_pool_get(pool, 0));
    for (uint64_t n = 0; n < 10; n++) { /* asleep */
        atomic_store(&reading.written_ns, clock_now_ns());
        CHECK(write(reading.fds[1], "x", 1) == 1);
        CHECK(check_wait(&reading.bytes, n + 1));
    }
    atomic_store(&reading.written_ns, 0);
    actor_post(&busy->actor, &busy->node, &busy->node);
    CHECK(check_wait(&busy->runs, 100));
    for (uint64_t n = 10; n < 20; n++) { /* never asleep */
        CHECK(write(reading.fds[1], "x", 1) == 1);
        CHECK(check_wait(&reading.bytes, n + 1));
    }
    CHECK_U64(reading.stale, 0);
    atomic_store(&busy->stop, 1);
    CHECK(check_wait(&busy->retired, 1));
    worker_pool_stop(pool);
    free(busy);
    close(reading.fds[0]);
    close(reading.fds[1]);
}

/* Each message finds the worker asleep; it must not turn more often than it is woken. */
static void test_sleeps_when_idle(void)
{
    static const struct actor_class class = {busy_run, busy_run, NULL, busy_retired};
    static struct journal journal;
    const struct worker_pool_options options = journal_options(&journal, 1);
    struct worker_pool *pool = pool_start(&options);
    struct busy *busy = aligned_alloc(CACHE_LINE, sizeof(*busy));
    uint64_t before;

    memset(busy, 0, sizeof(*busy));
    busy->once = true;
    actor_init(&busy->actor, &class, worker_pool_get(pool, 0));
    CHECK(check_wait(&journal.waits, 1));
    before = atomic_load(&journal.waits);
    for (uint64_t n = 0; n < 100; n++) {
        actor_post(&busy->actor, &busy->node, &busy->node);
        if (!CHECK(check_wait(&busy->runs, n + 1)))
            break;
    }
    CHECK(atomic_load(&journal.waits) - before <= 300);
    atomic_store(&busy->stop, 1);
    actor_post_control(&busy->actor, &busy->end);
    CHECK(check_wait(&busy->retired, 1));
    worker_pool_stop(pool);
    free(busy);
}

static void nothing(struct actor *actor, struct mailbox_node *node)
{
    (void)actor;
    (void)node;
}

static void test_least_loaded(void)
{
    static const struct actor_class class = {nothing, nothing, NULL, busy_retired};
    const struct worker_pool_options options = pool_options(3);
    struct worker_pool *pool = pool_start(&options);
    struct actor *actors = aligned_alloc(CACHE_LINE, 9 * sizeof(*actors));
    unsigned per_worker[3] = {0};

    for (int i = 0; i < 9; i++) {
        struct worker *worker = worker_pool_least_loaded(pool);

        per_worker[worker_index(worker)]++;
        actor_init(&actors[i], &class, worker);
    }
    for (int i = 0; i < 3; i++)
        CHECK_U64(per_worker[i], 3);
    CHECK(worker_random(worker_pool_get(pool, 0)) != worker_random(worker_pool_get(pool, 1)));
    worker_pool_stop(pool);
    free(actors);
}

static const struct check_test tests[] = {
    {"hooks run on named threads, one worker after another", test_hooks},
    {"a failing init hook stops what was started", test_init_fails},
    {"running out of memory at the start leaks nothing", test_out_of_memory},
    {"signals and dispositions of the process stay", test_leaves_the_process_alone},
    {"timers end a worker's sleep, never early", test_timers_wake},
    {"sockets are served asleep and under load", test_sockets_under_load},
    {"an idle worker sleeps", test_sleeps_when_idle},
    {"actors are spread over workers", test_least_loaded},
};
CHECK_MAIN("worker", tests)
