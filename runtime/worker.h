/* SPDX-License-Identifier: Apache-2.0
 *
 * Workers: the threads that run actors, each around one event loop.
 *
 * A worker's turn: fire due timers, run the actors in its inbox (a mailbox of lanes, each
 * in it at most once), then poll the loop: without waiting while the inbox has more, or
 * until an event, the next timer or a wake-up. Going to sleep is mailbox_idle() on the
 * inbox, so of all pushes into a sleeping worker's inbox exactly one learns that it must
 * write the eventfd; a worker that is awake costs its senders no system call.
 *
 * Layers above hang their per-worker state on the hooks: init runs on the worker's thread
 * before its first turn, one worker after another; fini after its last.
 */
#ifndef PARLEY_RUNTIME_WORKER_H
#define PARLEY_RUNTIME_WORKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "parley.h"
#include "runtime/alloc.h"
#include "runtime/log.h"
#include "runtime/mailbox.h"
#include "runtime/node_pool.h"
#include "runtime/timer_wheel.h"

#define WORKERS_MAX 256

struct ev_loop;
struct worker;
struct worker_pool;

struct worker_hooks {
    /** On the worker's thread; no worker takes a turn before every init has returned. A
     *  failure stops the pool's start with this status. May be NULL. */
    parley_status (*init)(struct worker *worker, void *user);
    /** Once a turn, before the loop is polled and may block: a chance to flush. It may post.
     *  May be NULL. */
    void (*before_wait)(struct worker *worker, void *user);
    /** On the worker's thread, one worker after another, also after another worker's init
     *  failed, but not when its own did. May be NULL. */
    void (*fini)(struct worker *worker, void *user);
    void *user;
};

struct worker_pool_options {
    uint32_t workers; /* 0: one per online CPU */
    uint32_t run_messages_max;
    uint32_t run_time_us;
    uint32_t thread_stack_bytes;
    bool thread_pin;
    struct worker_hooks hooks;
};

/**
 * Starts the threads; returns when every init hook has returned.
 *
 * @return PARLEY_OK; PARLEY_ENOMEM; PARLEY_ESYSTEM (threads, eventfd, epoll); an init hook's
 */
parley_status worker_pool_start(const struct alloc *alloc, const struct log *log,
                                const struct worker_pool_options *options,
                                struct worker_pool **ret_pool);

/** Asks every worker to stop once its inbox is empty, joins them, frees the pool. Actors
 *  must have gone idle for good. NULL is allowed. Not on a worker. */
void worker_pool_stop(struct worker_pool *pool);

uint32_t worker_pool_size(const struct worker_pool *pool);
struct worker *worker_pool_get(struct worker_pool *pool, uint32_t index);

/** The worker with the fewest actors attached. Any thread. */
struct worker *worker_pool_least_loaded(struct worker_pool *pool);

/** The worker whose thread calls, NULL on any other thread. */
struct worker *worker_pool_current(struct worker_pool *pool);

/* ---- On the worker's own thread ---- */

uint32_t worker_index(const struct worker *worker);
struct worker_pool *worker_get_pool(struct worker *worker);
struct ev_loop *worker_loop(struct worker *worker);
const struct log *worker_log(const struct worker *worker);

/** The time this turn began, or its poll returned; one clock reading serves all until then. */
uint64_t worker_now_ns(const struct worker *worker);

/** Reads the clock again, for what must be exact. */
uint64_t worker_now_exact_ns(struct worker *worker);

void worker_timer_start(struct worker *worker, struct timer *timer, uint64_t expires_ns);
void worker_timer_stop(struct worker *worker, struct timer *timer);

/** Where this worker collects message nodes it has finished with; flushed every turn. */
struct node_return *worker_node_return(struct worker *worker);

/** One pointer per worker for the layer that owns `slot` (0: transport, 1: peers). */
void *worker_get_local(const struct worker *worker, unsigned slot);
void worker_set_local(struct worker *worker, unsigned slot, void *value);

/** A 64-bit number for jitter; not for secrets. */
uint64_t worker_random(struct worker *worker);

/* ---- For actor.c ---- */

/** Puts a lane into the inbox, and wakes the worker if it sleeps. Any thread. */
void worker_schedule(struct worker *worker, struct mailbox_node *runnable);

/** Counts an actor in or out. Any thread. */
void worker_attach(struct worker *worker);
void worker_detach(struct worker *worker);

#endif
