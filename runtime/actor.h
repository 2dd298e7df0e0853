/* SPDX-License-Identifier: Apache-2.0
 *
 * An actor: state that one worker runs, behind two mailbox lanes.
 *
 * The data lane carries bounded messages, the control lane everything that must get
 * through (completions, acknowledgements, close). Each lane is scheduled by itself: it is
 * in its worker's inbox at most once. A turn of either lane first empties the control
 * lane; a turn of the data lane then hands over at most the worker's budget of messages
 * and yields. The actor's functions run on its worker only, never two at once, and
 * actor_post_…() may be called from any thread as long as the actor is attached.
 *
 * The memory is the owner's. An actor may be freed once nobody can post to it and both
 * lanes are idle: actor_retire() arranges exactly that.
 */
#ifndef PARLEY_RUNTIME_ACTOR_H
#define PARLEY_RUNTIME_ACTOR_H

#include <stdbool.h>
#include <stdint.h>

#include "runtime/mailbox.h"
#include "runtime/worker.h"

struct actor;

struct actor_class {
    /** One control message, oldest first. */
    void (*control)(struct actor *actor, struct mailbox_node *node);
    /** One data message, oldest first. NULL when the data lane is never posted to. */
    void (*receive)(struct actor *actor, struct mailbox_node *node);
    /** After a turn in which either ran. May be NULL. */
    void (*settle)(struct actor *actor);
    /** After actor_retire(): the actor's memory is the owner's alone. */
    void (*retired)(struct actor *actor);
};

/** Control messages handed over in one turn; more of them wait for the next. */
#define ACTOR_CONTROL_MAX 256

/** One schedulable queue: what a worker's inbox holds. */
struct lane {
    struct mailbox queue;
    struct mailbox_node runnable; /* its place in the worker's inbox */
    struct actor *actor;
};

struct actor {
    struct lane control;
    struct lane data;
    const struct actor_class *class;
    struct worker *worker;
    bool retiring;
};

/** Prepares an actor of `worker` and counts it there. Any thread. */
void actor_init(struct actor *actor, const struct actor_class *class, struct worker *worker);

/** Posts a chain of data messages (the bound is the caller's business). Any thread. */
void actor_post(struct actor *actor, struct mailbox_node *first, struct mailbox_node *last);

/** Posts one control message. Any thread. */
void actor_post_control(struct actor *actor, struct mailbox_node *node);

/**
 * Says that nobody will post any more. Once both lanes are empty and idle (a posted
 * message is still handed over) the class's retired() runs, on the worker, never inside
 * this call. On the actor's worker only.
 */
void actor_retire(struct actor *actor);

/** For worker.c: runs one lane taken from the inbox. */
void actor_run_lane(struct mailbox_node *runnable, uint32_t messages_max, uint64_t until_ns);

#endif
