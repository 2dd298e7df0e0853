/* SPDX-License-Identifier: Apache-2.0
 *
 * Worker threads around libev. Each owns everything in its struct worker but the inbox
 * (any thread pushes), the wake-up descriptor (any thread writes), the count of actors and
 * the request to stop. Workers are made one after another, held at a gate until all are
 * initialised, and share nothing afterwards.
 *
 * Sleeping: the worker marks its inbox idle and polls; the push that takes the mark away
 * writes the descriptor. Coming out of the poll it takes the mark back itself, before any
 * callback runs, so that what callbacks post does not cost a write.
 */
#include "runtime/worker.h"

#include <assert.h>
#include <errno.h>
#include <ev.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "runtime/actor.h"
#include "runtime/clock.h"

/* What a turn may run before sockets are looked at again. */
#define TURN_LANES_MAX 256
#define TURN_NS_MAX    (2 * NS_PER_MS)
#define LOCALS         2

struct worker {
    /* other threads write these */
    struct mailbox inbox;
    _Alignas(CACHE_LINE) _Atomic(uint32_t) actors;
    _Atomic(bool) stop;
    /* set once */
    _Alignas(CACHE_LINE) struct worker_pool *pool;
    uint32_t index;
    pthread_t thread;
    int wake_fd;
    struct ev_loop *loop;
    /* the worker's own */
    uint64_t now_ns;
    uint64_t random;
    uint64_t alarm_ns; /* what `alarm` is set to */
    bool asleep;
    ev_io wake;
    ev_timer alarm;
    ev_check polled;
    void *local[LOCALS];
    struct node_return node_return;
    struct timer_wheel wheel;
};

enum gate { GATE_SHUT, GATE_OPEN, GATE_ABANDONED };

struct worker_pool {
    struct alloc alloc;
    const struct log *log;
    struct worker_pool_options options;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint32_t initialised; /* under lock, as the next two */
    parley_status status; /* the last init's */
    enum gate gate;
    pthread_mutex_t fini_lock; /* one fini hook at a time */
    uint32_t size;
    uint32_t started; /* threads to join; the starting thread's business */
    struct worker *workers[];
};

/* Which worker this thread is. Per thread, and written once at its start. */
static _Thread_local struct worker *current_worker;

/* ---- A turn ---- */

/* Takes lanes from the inbox. @return whether there may be more */
static bool run_inbox(struct worker *worker)
{
    const struct worker_pool_options *options = &worker->pool->options;
    const uint64_t end_ns = worker->now_ns + TURN_NS_MAX;
    struct mailbox_node *runnable;

    for (unsigned lanes = 0; lanes < TURN_LANES_MAX; lanes++) {
        const enum mailbox_pop found = mailbox_pop(&worker->inbox, &runnable);
        uint64_t now_ns;

        if (found != MAILBOX_NODE)
            return found == MAILBOX_BUSY;
        now_ns = clock_now_ns();
        actor_run_lane(runnable, options->run_messages_max,
                       now_ns + options->run_time_us * NS_PER_US);
        if (now_ns >= end_ns)
            break;
    }
    return true;
}

static void set_alarm(struct worker *worker)
{
    const uint64_t next_ns = timer_wheel_next_ns(&worker->wheel);
    uint64_t now_ns;

    if (next_ns == worker->alarm_ns && ev_is_active(&worker->alarm))
        return;
    worker->alarm_ns = next_ns;
    ev_timer_stop(worker->loop, &worker->alarm);
    if (next_ns == CLOCK_NEVER)
        return;
    now_ns = clock_now_ns();
    ev_now_update(worker->loop); /* the timer counts from what the loop takes for now */
    ev_timer_set(&worker->alarm,
                 next_ns > now_ns ? (double)(next_ns - now_ns) / (double)NS_PER_S : 0., 0.);
    ev_timer_start(worker->loop, &worker->alarm);
}

static void poll_loop(struct worker *worker, bool more)
{
    /* Not to be marked idle while there is more: a lane in the inbox is our own business. */
    if (more || !mailbox_idle(&worker->inbox)) {
        ev_run(worker->loop, EVRUN_NOWAIT);
        return;
    }
    set_alarm(worker);
    worker->asleep = true;
    ev_run(worker->loop, EVRUN_ONCE);
    if (worker->asleep) { /* the loop returned without polling: nothing took the mark back */
        worker->asleep = false;
        mailbox_wake(&worker->inbox);
    }
}

/* One turn. @return false when it was the last */
static bool turn(struct worker *worker)
{
    const struct worker_hooks *hooks = &worker->pool->options.hooks;
    bool more;

    worker->now_ns = clock_now_ns();
    timer_wheel_advance(&worker->wheel, worker->now_ns);
    more = run_inbox(worker);
    if (hooks->before_wait != NULL)
        hooks->before_wait(worker, hooks->user);
    node_return_flush(&worker->node_return); /* nothing may wait in it while we sleep */
    /* acquire: pairs with the release in ask_to_stop(); what was posted before is in the
     * inbox. Should the flag come after this look, the wake-up after it ends the sleep. */
    if (!more && atomic_load_explicit(&worker->stop, memory_order_acquire) &&
        mailbox_idle(&worker->inbox))
        return false;
    poll_loop(worker, more);
    return true;
}

/* ---- The loop's callbacks ---- */

/* The first callback of every poll. */
static void on_polled(struct ev_loop *loop, ev_check *watcher, int events)
{
    struct worker *worker = watcher->data;

    (void)loop;
    (void)events;
    worker->now_ns = clock_now_ns();
    if (worker->asleep) {
        worker->asleep = false;
        mailbox_wake(&worker->inbox);
    }
}

static void on_wake(struct ev_loop *loop, ev_io *watcher, int events)
{
    uint64_t count;

    (void)loop;
    (void)events;
    /* Non-blocking: there is nothing to do about a failure but to be called again. */
    if (read(watcher->fd, &count, sizeof(count)) < 0)
        assert(errno == EAGAIN || errno == EINTR);
}

static void on_alarm(struct ev_loop *loop, ev_timer *watcher, int events)
{
    (void)loop; /* it has ended the sleep; the turn advances the wheel */
    (void)watcher;
    (void)events;
}

static void wake_up(struct worker *worker)
{
    const uint64_t one = 1;

    /* EAGAIN: the counter is full, so it is readable as it is. */
    while (write(worker->wake_fd, &one, sizeof(one)) < 0 && errno == EINTR)
        continue;
}

void worker_schedule(struct worker *worker, struct mailbox_node *runnable)
{
    if (mailbox_push(&worker->inbox, runnable, runnable))
        wake_up(worker);
}

/* ---- The thread ---- */

static void watch(struct worker *worker)
{
    ev_io_init(&worker->wake, on_wake, worker->wake_fd, EV_READ);
    ev_io_start(worker->loop, &worker->wake);
    ev_timer_init(&worker->alarm, on_alarm, 0., 0.);
    ev_check_init(&worker->polled, on_polled);
    ev_set_priority(&worker->polled, EV_MAXPRI);
    worker->polled.data = worker;
    ev_check_start(worker->loop, &worker->polled);
}

static void pin(struct worker *worker)
{
    const struct log *log = worker->pool->log;
    cpu_set_t allowed;
    cpu_set_t one;
    unsigned wanted;

    if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0)
        return;
    wanted = worker->index % (unsigned)CPU_COUNT(&allowed);
    CPU_ZERO(&one);
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (CPU_ISSET(cpu, &allowed) && wanted-- == 0) {
            CPU_SET(cpu, &one);
            break;
        }
    }
    if (sched_setaffinity(0, sizeof(one), &one) != 0)
        log_warn(log, "worker %u: cannot be pinned to a CPU", worker->index);
}

static parley_status thread_open(struct worker *worker)
{
    const struct worker_pool_options *options = &worker->pool->options;
    char name[16];

    snprintf(name, sizeof(name), "parley-w%u", worker->index);
    pthread_setname_np(pthread_self(), name);
    if (options->thread_pin)
        pin(worker);
    worker->loop = ev_loop_new(EVBACKEND_EPOLL | EVFLAG_NOENV);
    if (worker->loop == NULL)
        return PARLEY_ESYSTEM;
    watch(worker);
    worker->now_ns = clock_now_ns();
    timer_wheel_init(&worker->wheel, worker->now_ns);
    return options->hooks.init != NULL ? options->hooks.init(worker, options->hooks.user)
                                       : PARLEY_OK;
}

static void thread_close(struct worker *worker)
{
    if (worker->loop == NULL)
        return;
    ev_check_stop(worker->loop, &worker->polled);
    ev_timer_stop(worker->loop, &worker->alarm);
    ev_io_stop(worker->loop, &worker->wake);
    ev_loop_destroy(worker->loop);
    worker->loop = NULL;
}

static void run_fini(struct worker *worker)
{
    struct worker_pool *pool = worker->pool;
    const struct worker_hooks *hooks = &pool->options.hooks;

    if (hooks->fini != NULL) {
        pthread_mutex_lock(&pool->fini_lock);
        hooks->fini(worker, hooks->user);
        pthread_mutex_unlock(&pool->fini_lock);
    }
    node_return_flush(&worker->node_return);
}

/* Reports how this worker's start went. @return whether to go on, once all have started */
static bool pass_gate(struct worker *worker, parley_status status)
{
    struct worker_pool *pool = worker->pool;
    bool open;

    pthread_mutex_lock(&pool->lock);
    pool->initialised++;
    pool->status = status;
    pthread_cond_broadcast(&pool->changed);
    while (status == PARLEY_OK && pool->gate == GATE_SHUT)
        pthread_cond_wait(&pool->changed, &pool->lock);
    open = pool->gate == GATE_OPEN;
    pthread_mutex_unlock(&pool->lock);
    return open;
}

static void *thread_main(void *argument)
{
    struct worker *worker = argument;
    parley_status status;

    current_worker = worker;
    status = thread_open(worker);
    if (pass_gate(worker, status)) {
        while (turn(worker))
            continue;
    }
    if (status == PARLEY_OK)
        run_fini(worker);
    thread_close(worker);
    return NULL;
}

/* ---- Starting and stopping ---- */

static int set_attributes(pthread_attr_t *attributes, uint32_t stack_bytes)
{
    const long page = sysconf(_SC_PAGESIZE);
    size_t bytes = stack_bytes;

    if (bytes == 0)
        return 0;
    if (bytes < (size_t)PTHREAD_STACK_MIN)
        bytes = (size_t)PTHREAD_STACK_MIN;
    bytes = (bytes + (size_t)page - 1) / (size_t)page * (size_t)page;
    return pthread_attr_setstacksize(attributes, bytes);
}

/* Creates the thread with every signal blocked from its first instruction on. */
static parley_status thread_create(struct worker *worker)
{
    pthread_attr_t attributes;
    sigset_t all;
    sigset_t before;
    int failed;

    if (pthread_attr_init(&attributes) != 0)
        return PARLEY_ESYSTEM;
    failed = set_attributes(&attributes, worker->pool->options.thread_stack_bytes);
    if (failed == 0) {
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        failed = pthread_create(&worker->thread, &attributes, thread_main, worker);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
    }
    pthread_attr_destroy(&attributes);
    return failed == 0 ? PARLEY_OK : PARLEY_ESYSTEM;
}

static parley_status wait_initialised(struct worker_pool *pool)
{
    parley_status status;

    pthread_mutex_lock(&pool->lock);
    while (pool->initialised < pool->started)
        pthread_cond_wait(&pool->changed, &pool->lock);
    status = pool->status;
    pthread_mutex_unlock(&pool->lock);
    return status;
}

static uint64_t mix(uint64_t z)
{
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9); /* splitmix64 */
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* Makes worker number `started` and waits until its init hook has returned. */
static parley_status worker_start(struct worker_pool *pool)
{
    struct worker *worker = alloc_aligned(&pool->alloc, CACHE_LINE, sizeof(*worker));
    parley_status status;

    if (worker == NULL)
        return PARLEY_ENOMEM;
    worker->pool = pool;
    worker->index = pool->started;
    worker->random = mix(clock_now_ns() ^ (uintptr_t)worker);
    mailbox_init(&worker->inbox);
    pool->workers[worker->index] = worker;
    worker->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    status = worker->wake_fd >= 0 ? thread_create(worker) : PARLEY_ESYSTEM;
    if (status != PARLEY_OK) {
        if (worker->wake_fd >= 0)
            close(worker->wake_fd);
        alloc_free_aligned(&pool->alloc, worker);
        return status;
    }
    pool->started++;
    return wait_initialised(pool);
}

static void set_gate(struct worker_pool *pool, enum gate gate)
{
    pthread_mutex_lock(&pool->lock);
    pool->gate = gate;
    pthread_cond_broadcast(&pool->changed);
    pthread_mutex_unlock(&pool->lock);
}

/* Joins all before it frees any: one may still be writing another's descriptor. */
static void join_and_free(struct worker_pool *pool)
{
    const struct alloc alloc = pool->alloc;

    for (uint32_t i = 0; i < pool->started; i++)
        pthread_join(pool->workers[i]->thread, NULL);
    for (uint32_t i = 0; i < pool->started; i++) {
        close(pool->workers[i]->wake_fd);
        alloc_free_aligned(&alloc, pool->workers[i]);
    }
    pthread_mutex_destroy(&pool->fini_lock);
    pthread_cond_destroy(&pool->changed);
    pthread_mutex_destroy(&pool->lock);
    alloc_free(&alloc, pool);
}

static uint32_t online_cpus(void)
{
    const long online = sysconf(_SC_NPROCESSORS_ONLN);

    return online < 1 ? 1 : online > WORKERS_MAX ? WORKERS_MAX : (uint32_t)online;
}

parley_status worker_pool_start(const struct alloc *alloc, const struct log *log,
                                const struct worker_pool_options *options,
                                struct worker_pool **ret_pool)
{
    const uint32_t workers = options->workers > 0 ? options->workers : online_cpus();
    struct worker_pool *pool;
    parley_status status = PARLEY_OK;

    assert(workers <= WORKERS_MAX);
    pool = alloc_zeroed(alloc, sizeof(*pool) + workers * sizeof(struct worker *));
    if (pool == NULL)
        return PARLEY_ENOMEM;
    pool->alloc = *alloc;
    pool->log = log;
    pool->options = *options;
    pool->size = workers;
    if (pool->options.run_messages_max == 0)
        pool->options.run_messages_max = 1;
    pthread_mutex_init(&pool->lock, NULL); /* these three cannot fail with glibc */
    pthread_cond_init(&pool->changed, NULL);
    pthread_mutex_init(&pool->fini_lock, NULL);
    while (status == PARLEY_OK && pool->started < workers)
        status = worker_start(pool);
    set_gate(pool, status == PARLEY_OK ? GATE_OPEN : GATE_ABANDONED);
    if (status != PARLEY_OK) {
        join_and_free(pool);
        return status;
    }
    *ret_pool = pool;
    return PARLEY_OK;
}

static void ask_to_stop(struct worker *worker)
{
    /* release: pairs with the acquire in turn(). */
    atomic_store_explicit(&worker->stop, true, memory_order_release);
    wake_up(worker);
}

void worker_pool_stop(struct worker_pool *pool)
{
    if (pool == NULL)
        return;
    assert(worker_pool_current(pool) == NULL);
    for (uint32_t i = 0; i < pool->started; i++)
        ask_to_stop(pool->workers[i]);
    join_and_free(pool);
}

/* ---- Small questions ---- */

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
    uint32_t least = UINT32_MAX;

    for (uint32_t i = 0; i < pool->size; i++) {
        /* relaxed: a hint for spreading load; nothing is read on the strength of it. */
        const uint32_t actors =
            atomic_load_explicit(&pool->workers[i]->actors, memory_order_relaxed);

        if (actors < least) {
            least = actors;
            best = pool->workers[i];
        }
    }
    return best;
}

void worker_attach(struct worker *worker)
{
    /* relaxed, as in worker_pool_least_loaded(). */
    atomic_fetch_add_explicit(&worker->actors, 1, memory_order_relaxed);
}

void worker_detach(struct worker *worker)
{
    atomic_fetch_sub_explicit(&worker->actors, 1, memory_order_relaxed); /* the same */
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
    return worker->loop;
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
    worker->now_ns = clock_now_ns();
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
    return mix(worker->random += UINT64_C(0x9e3779b97f4a7c15));
}
