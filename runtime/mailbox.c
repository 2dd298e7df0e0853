/* SPDX-License-Identifier: Apache-2.0
 *
 * Dmitry Vyukov's intrusive queue of many producers and one consumer, with the "idle" bit
 * in the low bit of `last`. See mailbox.h for the problem and who may call what.
 *
 * Invariant: the chain from `first` to `last` holds every message, and the stub when
 * nothing else would be left in it. A node is the consumer's only after its `next` has been
 * seen, because the producer behind it writes that link once and then never again.
 */
#include "runtime/mailbox.h"

#define IDLE ((uintptr_t)1)

/* A window between two steps that another thread may fall into; tests define it. */
#ifndef YIELD_POINT
#define YIELD_POINT()
#endif

static struct mailbox_node *node_of(uintptr_t word)
{
    return (struct mailbox_node *)(word & ~IDLE);
}

void mailbox_init(struct mailbox *mailbox)
{
    /* relaxed: nobody else knows the mailbox yet; whoever publishes it orders these. */
    atomic_store_explicit(&mailbox->stub.next, NULL, memory_order_relaxed);
    mailbox->first = &mailbox->stub;
    atomic_store_explicit(&mailbox->last, (uintptr_t)&mailbox->stub | IDLE,
                          memory_order_relaxed);
}

bool mailbox_push(struct mailbox *mailbox, struct mailbox_node *first,
                  struct mailbox_node *last)
{
    uintptr_t before;

    assert(((uintptr_t)last & IDLE) == 0);
    /* relaxed: ordered before the next producer's link by the exchanges on `last`, and
     * before the consumer by the link to this chain below. */
    atomic_store_explicit(&last->next, NULL, memory_order_relaxed);

    /* release: hands last->next == NULL to the producer that comes next, whose acquire this
     * is the partner of: it writes last->next, and must do so after us. acquire: the same
     * from the producer before, and from the release in mailbox_idle(), so that whoever
     * gets the idle bit schedules after all the consumer did before it went idle. */
    before = atomic_exchange_explicit(&mailbox->last, (uintptr_t)last, memory_order_acq_rel);
    YIELD_POINT();

    /* release: publishes the chain's nodes and messages; pairs with the acquire loads of
     * `next` in mailbox_pop(). */
    atomic_store_explicit(&node_of(before)->next, first, memory_order_release);
    return (before & IDLE) != 0;
}

/* acquire: pairs with the release store of the link in mailbox_push(). */
static struct mailbox_node *next_of(struct mailbox_node *node)
{
    return atomic_load_explicit(&node->next, memory_order_acquire);
}

/* relaxed: only compared. Equal means that no push has been made since; a push that is
 * missed here is found by the exchange or compare-and-swap that follows, or next time. */
static bool is_last(const struct mailbox *mailbox, const struct mailbox_node *node)
{
    return node_of(atomic_load_explicit(&mailbox->last, memory_order_relaxed)) == node;
}

enum mailbox_pop mailbox_pop(struct mailbox *mailbox, struct mailbox_node **ret_node)
{
    struct mailbox_node *first = mailbox->first;
    struct mailbox_node *next = next_of(first);

    if (first == &mailbox->stub) {
        if (next == NULL)
            return is_last(mailbox, first) ? MAILBOX_EMPTY : MAILBOX_BUSY;
        first = mailbox->first = next; /* the stub leaves the chain */
        next = next_of(first);
    }
    if (next == NULL) {
        /* The last message may go only when something stands behind it: the stub. */
        if (!is_last(mailbox, first))
            return MAILBOX_BUSY;
        YIELD_POINT();
        mailbox_push(mailbox, &mailbox->stub, &mailbox->stub);
        next = next_of(first);
        if (next == NULL)
            return MAILBOX_BUSY; /* a producer was faster, and has not linked yet */
    }
    mailbox->first = next;
    *ret_node = first;
    return MAILBOX_NODE;
}

bool mailbox_idle(struct mailbox *mailbox)
{
    uintptr_t seen = (uintptr_t)&mailbox->stub;

    if (mailbox->first != &mailbox->stub)
        return false;
    YIELD_POINT();
    /* release: what the consumer did so far happens before the scheduling by the producer
     * whose exchange (acquire) takes the bit. Failing needs no order: nothing is read. */
    return atomic_compare_exchange_strong_explicit(&mailbox->last, &seen, seen | IDLE,
                                                   memory_order_release,
                                                   memory_order_relaxed) ||
           seen == ((uintptr_t)&mailbox->stub | IDLE);
}

bool mailbox_wake(struct mailbox *mailbox)
{
    /* relaxed: a read-modify-write stays in the release sequence of whoever wrote `last`, so
     * the next producer's acquire still pairs with that; nothing is published here, and
     * only the consumer's own release in mailbox_idle() can have set the bit. */
    return (atomic_fetch_and_explicit(&mailbox->last, ~IDLE, memory_order_relaxed) & IDLE) !=
           0;
}

bool mailbox_is_idle(const struct mailbox *mailbox)
{
    /* relaxed: the bit is the caller's own doing, as only the consumer sets it. */
    return (atomic_load_explicit(&mailbox->last, memory_order_relaxed) & IDLE) != 0;
}

void mailbox_check(const struct mailbox *mailbox)
{
    /* acquire: pairs with the exchange in mailbox_push(), for the reads below. */
    const uintptr_t word = atomic_load_explicit(&mailbox->last, memory_order_acquire);

    assert(mailbox->first != NULL);
    assert(node_of(word) != NULL);
    if ((word & IDLE) != 0) {
        assert(node_of(word) == &mailbox->stub);
        assert(mailbox->first == &mailbox->stub);
    }
}
