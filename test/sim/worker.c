/* SPDX-License-Identifier: Apache-2.0
 *
 * runtime/worker.h without threads: each worker keeps its inbox and its timers, and has its
 * turn when the simulator says so, some time after there is something to do. As the library
 * counts on it: an actor's lane is in an inbox at most once, timers belong to the worker,
 * and what is one worker's is touched on that worker only, which is asserted here.
 */
#include "runtime/worker.h"

#include <assert.h>
#include <string.h>

#include "runtime/actor.h"
#include "test/sim/sim.h"

#define POOLS_MAX 16
#define LOCALS    2
#define LANES_MAX 6 /* in a turn */

struct worker {
    struct mailbox inbox; /* first: aligned */
    struct worker_pool *pool;
    uint32_t index, actors;
    uint64_t now_ns;
    uint64_t turn_ns; /* CLOCK_NEVER: the inbox is empty */
    uint64_t paused_until;
    struct chance chance;
    void *local[LOCALS];
    struct node_return node_return;
    struct timer_wheel wheel;
};

struct worker_pool {
    struct alloc alloc;
    const struct log *log;
    struct worker_pool_options options;
    uint32_t size;
    struct worker *workers[];
};

static struct worker_pool *pools[POOLS_MAX];
static unsigned pools_len;
static struct worker *current_worker;
static uint64_t workers_made;

/* ---- For the simulator ---- */

void workers_reset(void)
{
    pools_len = 0;
    current_worker = NULL;
    workers_made = 0;
}

static uint64_t due_ns(const struct worker *worker)
{
    uint64_t next = timer_wheel_next_ns(&worker->wheel);

    next = next < worker->turn_ns ? next : worker->turn_ns;
    return next > worker->paused_until ? next : worker->paused_until;
}

struct worker *workers_next(uint64_t *ret_when_ns)
{
    struct worker *first = NULL;
    uint64_t first_ns = CLOCK_NEVER;

    for (unsigned i = 0; i < pools_len; i++) {
        for (uint32_t j = 0; j < pools[i]->size; j++) {
            uint64_t due = due_ns(pools[i]->workers[j]);

            if (due < first_ns) {
                first_ns = due;
                first = pools[i]->workers[j];
            }
        }
    }
    *ret_when_ns = first_ns;
    return first;
}

void worker_enter(struct worker *worker)
{
    assert(current_worker == NULL);
    current_worker = worker;
    worker->now_ns = sim.now_ns;
}

void worker_leave(void)
{
    struct worker *worker = current_worker;

    node_return_flush(&worker->node_return);
    current_worker = NULL;
    promise_check(worker);
}

struct worker *worker_entered(void)
{
    return current_worker;
}

uint64_t worker_paused_until(const struct worker *worker)
{
    return worker->paused_until;
}

void workers_pause(struct worker_pool *pool, uint64_t until_ns)
{
    for (uint32_t i = 0; i < pool->size; i++)
        pool->workers[i]->paused_until = until_ns;
}

void workers_forget(struct worker_pool *pool)
{
    for (unsigned i = 0; i < pools_len; i++) {
        if (pools[i] == pool) {
            memmove(&pools[i], &pools[i + 1],
                    (--pools_len - i) * sizeof(struct worker_pool *));
            return;
        }
    }
}

static uint64_t soon_ns(struct worker *worker)
{
    return sim.now_ns + chance_between(&worker->chance, 0, sim.setup.turn_us) * NS_PER_US;
}

void worker_turn(struct worker *worker)
{
    const struct worker_pool_options *options = &worker->pool->options;
    unsigned lanes = 1 + chance_below(&worker->chance, LANES_MAX);
    struct mailbox_node *runnable;

    worker_enter(worker);
    worker->turn_ns = CLOCK_NEVER;
    timer_wheel_advance(&worker->wheel, worker->now_ns);
    while (lanes-- > 0 && mailbox_pop(&worker->inbox, &runnable) == MAILBOX_NODE)
        actor_run_lane(runnable, options->run_messages_max, CLOCK_NEVER);
    if (options->hooks.before_wait != NULL)
        options->hooks.before_wait(worker, options->hooks.user);
    if (!mailbox_idle(&worker->inbox))
        worker->turn_ns = soon_ns(worker);
    worker_leave();
}

/* ---- runtime/worker.h ---- */

void worker_schedule(struct worker *worker, struct mailbox_node *runnable)
{
    if (mailbox_push(&worker->inbox, runnable, runnable))
        worker->turn_ns = soon_ns(worker);
}

static struct worker *make(struct worker_pool *pool, uint32_t index)
{
    struct worker *worker = alloc_aligned(&pool->alloc, CACHE_LINE, sizeof(*worker));

    worker->pool = pool;
    worker->index = index;
    worker->turn_ns = CLOCK_NEVER;
    worker->now_ns = sim.now_ns;
    worker->chance = chance_for("worker", workers_made++);
    mailbox_init(&worker->inbox);
    timer_wheel_init(&worker->wheel, sim.now_ns);
    return worker;
}

parley_status worker_pool_start(const struct alloc *alloc, const struct log *log,
                                const struct worker_pool_options *options,
                                struct worker_pool **ret_pool)
{
    struct worker_pool *pool =
        alloc_zeroed(alloc, sizeof(*pool) + options->workers * sizeof(struct worker *));

    assert(pools_len < POOLS_MAX && options->workers > 0);
    pool->alloc = *alloc;
    pool->log = log;
    pool->options = *options;
    process_of(alloc)->pool = pool;
    while (pool->size < options->workers) {
        struct worker *worker = make(pool, pool->size);
        parley_status status;

        pool->workers[pool->size++] = worker;
        current_worker = worker;
        status = options->hooks.init(worker, options->hooks.user);
        current_worker = NULL;
        assert(status == PARLEY_OK);
        (void)status;
    }
    pools[pools_len++] = pool;
    *ret_pool = pool;
    return PARLEY_OK;
}

void worker_pool_stop(struct worker_pool *pool)
{
    struct alloc alloc;

    if (pool == NULL)
        return;
    assert(current_worker == NULL);
    workers_forget(pool);
    process_of(&pool->alloc)->pool = NULL;
    for (uint32_t i = 0; i < pool->size; i++) {
        while (!mailbox_idle(&pool->workers[i]->inbox))
            worker_turn(pool->workers[i]);
        current_worker = pool->workers[i];
        pool->options.hooks.fini(pool->workers[i], pool->options.hooks.user);
        node_return_flush(&pool->workers[i]->node_return);
        current_worker = NULL;
    }
    alloc = pool->alloc;
    for (uint32_t i = 0; i < pool->size; i++)
        alloc_free_aligned(&alloc, pool->workers[i]);
    alloc_free(&alloc, pool);
}

uint32_t worker_pool_size(const struct worker_pool *pool)
{
    return pool->size;
}

struct worker *worker_pool_get(struct worker_pool *pool, uint32_t index)
{
    assert(index < pool->size);
    return pool->workers[index];
}

struct worker *worker_pool_least_loaded(struct worker_pool *pool)
{
    struct worker *best = pool->workers[0];

    for (uint32_t i = 1; i < pool->size; i++) {
        if (pool->workers[i]->actors < best->actors)
            best = pool->workers[i];
    }
    return best;
}

struct worker *worker_pool_current(struct worker_pool *pool)
{
    return current_worker != NULL && current_worker->pool == pool ? current_worker : NULL;
}

uint32_t worker_index(const struct worker *worker)
{
    return worker->index;
}

struct worker_pool *worker_get_pool(struct worker *worker)
{
    return worker->pool;
}

struct ev_loop *worker_loop(struct worker *worker)
{
    (void)worker;
    return NULL;
}

const struct log *worker_log(const struct worker *worker)
{
    return worker->pool->log;
}

uint64_t worker_now_ns(const struct worker *worker)
{
    return worker->now_ns;
}

uint64_t worker_now_exact_ns(struct worker *worker)
{
    assert(current_worker == worker);
    worker->now_ns = sim.now_ns;
    return worker->now_ns;
}

void worker_timer_start(struct worker *worker, struct timer *timer, uint64_t expires_ns)
{
    assert(current_worker == worker);
    timer_start(&worker->wheel, timer, expires_ns);
}

void worker_timer_stop(struct worker *worker, struct timer *timer)
{
    assert(current_worker == worker);
    timer_stop(&worker->wheel, timer);
}

struct node_return *worker_node_return(struct worker *worker)
{
    return &worker->node_return;
}

void *worker_get_local(const struct worker *worker, unsigned slot)
{
    assert(slot < LOCALS);
    return worker->local[slot];
}

void worker_set_local(struct worker *worker, unsigned slot, void *value)
{
    assert(slot < LOCALS);
    worker->local[slot] = value;
}

uint64_t worker_random(struct worker *worker)
{
    return chance_draw(&worker->chance);
}

void worker_attach(struct worker *worker)
{
    worker->actors++;
}

void worker_detach(struct worker *worker)
{
    worker->actors--;
}
