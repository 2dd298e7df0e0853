/* SPDX-License-Identifier: Apache-2.0
 *
 * Actors: posting from any thread, turns on the worker. A lane is in one of three states:
 * idle (its queue carries the idle mark), in the inbox, or having its turn; the push that
 * takes the mark away brings it from the first to the second, so a lane is never in the
 * inbox twice. Only a lane's own turn may mark it idle again, although the data lane's turn
 * may empty the control lane's queue: so "both are idle" means that no thread is anywhere
 * between a push and the inbox, which is what retiring waits for.
 */
#include "runtime/actor.h"

#include <assert.h>

#include "runtime/clock.h"

/* Messages between two looks at the clock: it costs as much as a light message. */
#define CLOCK_INTERVAL 8

static void lane_init(struct lane *lane, struct actor *actor)
{
    mailbox_init(&lane->queue);
    /* relaxed: published with the actor. */
    atomic_store_explicit(&lane->runnable.next, NULL, memory_order_relaxed);
    lane->actor = actor;
}

void actor_init(struct actor *actor, const struct actor_class *class, struct worker *worker)
{
    assert(class->control != NULL && class->retired != NULL);
    lane_init(&actor->control, actor);
    lane_init(&actor->data, actor);
    actor->class = class;
    actor->worker = worker;
    actor->retiring = false;
    worker_attach(worker);
}

void actor_post(struct actor *actor, struct mailbox_node *first, struct mailbox_node *last)
{
    /* After a push that returned false the actor may be gone: nothing of it is read. */
    if (mailbox_push(&actor->data.queue, first, last))
        worker_schedule(actor->worker, &actor->data.runnable);
}

void actor_post_control(struct actor *actor, struct mailbox_node *node)
{
    if (mailbox_push(&actor->control.queue, node, node))
        worker_schedule(actor->worker, &actor->control.runnable);
}

void actor_retire(struct actor *actor)
{
    assert(!actor->retiring);
    actor->retiring = true;
    /* A lane that is not idle has a turn ahead of it, at whose end lane_rest() looks. */
    if (mailbox_is_idle(&actor->data.queue) && mailbox_wake(&actor->control.queue))
        worker_schedule(actor->worker, &actor->control.runnable);
}

/* Hands messages over until there are none, or the turn's share is used up. */
static bool hand_over(struct actor *actor, struct mailbox *queue,
                      void (*handle)(struct actor *actor, struct mailbox_node *node),
                      uint32_t messages_max, uint64_t until_ns)
{
    struct mailbox_node *node;
    uint32_t count = 0;

    while (count < messages_max && mailbox_pop(queue, &node) == MAILBOX_NODE) {
        handle(actor, node);
        count++;
        if (count % CLOCK_INTERVAL == 0 && clock_now_ns() >= until_ns)
            break;
    }
    return count > 0;
}

/* The end of a lane's turn: back into the inbox, idle, or the end of its actor. */
static void lane_rest(struct lane *lane)
{
    struct actor *actor = lane->actor;
    struct worker *worker = actor->worker;

    if (!mailbox_idle(&lane->queue)) {
        worker_schedule(worker, &lane->runnable);
    } else if (actor->retiring && mailbox_is_idle(&actor->control.queue) &&
               mailbox_is_idle(&actor->data.queue)) {
        worker_detach(worker);
        actor->class->retired(actor);
    }
}

void actor_run_lane(struct mailbox_node *runnable, uint32_t messages_max, uint64_t until_ns)
{
    struct lane *lane =
        (struct lane *)(void *)((char *)runnable - offsetof(struct lane, runnable));
    struct actor *actor = lane->actor;
    bool ran = hand_over(actor, &actor->control.queue, actor->class->control,
                         ACTOR_CONTROL_MAX, until_ns);

    if (lane == &actor->data)
        ran |= hand_over(actor, &actor->data.queue, actor->class->receive, messages_max,
                         until_ns);
    if (ran && actor->class->settle != NULL)
        actor->class->settle(actor);
    lane_rest(lane);
}
