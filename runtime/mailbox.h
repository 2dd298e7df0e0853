/* SPDX-License-Identifier: Apache-2.0
 *
 * An intrusive, unbounded, lock-free queue of many producers and one consumer, which also
 * says who must schedule the consumer.
 *
 * The queue is a chain from the consumer's end (`first`) to the producers' end (`last`).
 * A push is one atomic exchange on `last`; the link from the node before is stored after
 * it, so for a moment the chain is broken in front of the new node. The consumer treats a
 * broken chain as "not empty, come back", never as empty, and never spins on it.
 *
 * The low bit of `last` means "empty, and nobody has scheduled the consumer". The exchange
 * of the next push takes the bit away and returns it to exactly one producer, which must
 * then schedule the consumer. The consumer puts it back with mailbox_idle(), which fails
 * when something has been pushed since.
 *
 * Who may call what:  push: any thread.  pop, idle, wake, is_idle: the consumer only.
 *                     init, fini: nobody else may be using it.
 *
 * The same queue serves as an actor's lanes and as a worker's inbox. Bounds are credit.h's.
 */
#ifndef PARLEY_RUNTIME_MAILBOX_H
#define PARLEY_RUNTIME_MAILBOX_H

#include <assert.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CACHE_LINE 64

struct mailbox_node {
    _Atomic(struct mailbox_node *) next;
};

struct mailbox {
    /* written by producers */
    _Alignas(CACHE_LINE) _Atomic(uintptr_t) last; /* node, low bit: idle */
    /* written by the consumer */
    _Alignas(CACHE_LINE) struct mailbox_node *first;
    struct mailbox_node stub; /* stands in the chain when nothing else does */
};

static_assert(offsetof(struct mailbox, first) == CACHE_LINE, "consumer line");

enum mailbox_pop {
    MAILBOX_NODE,  /* *ret_node is the oldest message, now the consumer's */
    MAILBOX_EMPTY, /* nothing there: try mailbox_idle() */
    MAILBOX_BUSY,  /* a producer is between its exchange and its link: come back later */
};

/** Makes an empty, idle queue. */
void mailbox_init(struct mailbox *mailbox);

/**
 * Appends the chain first … last, linked through `next`; for one node both are the same.
 *
 * @return true for exactly one push after each successful mailbox_idle() (and the first
 *         ever): the caller must schedule the consumer
 */
bool mailbox_push(struct mailbox *mailbox, struct mailbox_node *first,
                  struct mailbox_node *last);

/** Takes the oldest message. */
enum mailbox_pop mailbox_pop(struct mailbox *mailbox, struct mailbox_node **ret_node);

/**
 * Marks the queue "empty, not scheduled" if it is empty. Calling it again is harmless.
 *
 * @return false: it is not empty (or a push is half done); the consumer stays scheduled
 */
bool mailbox_idle(struct mailbox *mailbox);

/**
 * Takes the mark of mailbox_idle() back, as a push of nothing would: the consumer runs
 * again for a reason of its own, and pushes need not schedule it.
 *
 * @return true: the mark was there, and being scheduled is now the consumer's own business;
 *         false: it was scheduled anyway, or a producer is about to
 */
bool mailbox_wake(struct mailbox *mailbox);

/** Tells whether the mark of mailbox_idle() is there. */
bool mailbox_is_idle(const struct mailbox *mailbox);

/** Asserts what must hold between two calls of the consumer. Consumer only. */
void mailbox_check(const struct mailbox *mailbox);

#endif
