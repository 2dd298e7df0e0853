/* SPDX-License-Identifier: Apache-2.0
 *
 * Actors on real workers: nothing lost, order kept, control first, everybody gets a turn,
 * and memory is given back exactly when nobody uses it any more.
 */
#include "runtime/actor.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/credit.h"
#include "test/check.h"
#include "test/runtime/pool.h"

struct note {
    struct mailbox_node node; /* first */
    uint32_t sender;
    uint32_t number;
};

#define SENDERS 4

/* An actor that writes down what it sees. */
struct diary {
    struct actor actor; /* first */
    struct worker_pool *pool;
    _Atomic(uint64_t) data, control, settled, retired;
    _Atomic(uint64_t) disorder;
    _Atomic(uint64_t) elsewhere; /* calls off the worker, or two at once */
    uint64_t turn;               /* plain: two at once are a data race */
    uint64_t data_at_end;
    uint32_t next[SENDERS];
    /* what a test wants done */
    struct mailbox_node *stop_note;   /* retires the actor when it comes by the control lane */
    _Atomic(uint64_t) *gate;          /* first data message waits for it */
    _Atomic(uint64_t) *entered;       /* told before waiting */
    uint64_t control_seen_by_data[4]; /* control count at the first data messages */
};

static void here(struct diary *diary)
{
    diary->turn++;
    if (worker_pool_current(diary->pool) != diary->actor.worker)
        atomic_fetch_add(&diary->elsewhere, 1);
}

static void diary_receive(struct actor *actor, struct mailbox_node *node)
{
    struct diary *diary = (struct diary *)(void *)actor;
    struct note *note = (struct note *)(void *)node;
    const uint64_t seen = atomic_load(&diary->data);

    here(diary);
    if (seen < 4)
        diary->control_seen_by_data[seen] = atomic_load(&diary->control);
    if (note->number != diary->next[note->sender]++)
        atomic_fetch_add(&diary->disorder, 1);
    if (diary->gate != NULL && seen == 0) {
        atomic_store(diary->entered, 1);
        check_wait(diary->gate, 1);
    }
    atomic_fetch_add(&diary->data, 1);
}

static void diary_control(struct actor *actor, struct mailbox_node *node)
{
    struct diary *diary = (struct diary *)(void *)actor;

    here(diary);
    atomic_fetch_add(&diary->control, 1);
    if (node == diary->stop_note)
        actor_retire(actor);
}

static void diary_settle(struct actor *actor)
{
    struct diary *diary = (struct diary *)(void *)actor;

    here(diary);
    atomic_fetch_add(&diary->settled, 1);
}

static void diary_retired(struct actor *actor)
{
    struct diary *diary = (struct diary *)(void *)actor;

    here(diary);
    diary->data_at_end = atomic_load(&diary->data);
    atomic_fetch_add(&diary->retired, 1);
}

static const struct actor_class diary_class = {diary_control, diary_receive, diary_settle,
                                               diary_retired};

static void diary_open(struct diary *diary, struct worker_pool *pool, uint32_t worker)
{
    memset(diary, 0, sizeof(*diary));
    diary->pool = pool;
    actor_init(&diary->actor, &diary_class, worker_pool_get(pool, worker));
}

static void diary_close(struct diary *diary)
{
    struct mailbox_node stop;

    diary->stop_note = &stop;
    actor_post_control(&diary->actor, &stop);
    CHECK(check_wait(&diary->retired, 1));
    CHECK_U64(diary->retired, 1);
    CHECK_U64(diary->elsewhere, 0);
    CHECK_U64(diary->disorder, 0);
}

/* ---- Many senders ---- */

#define NOTES 20000

struct sender {
    pthread_t thread;
    struct diary *diary;
    struct note *notes;
    uint32_t index;
};

static void *send_notes(void *argument)
{
    struct sender *sender = argument;

    for (uint32_t n = 0; n < NOTES; n++) {
        sender->notes[n] = (struct note){.sender = sender->index, .number = n};
        actor_post(&sender->diary->actor, &sender->notes[n].node, &sender->notes[n].node);
    }
    return NULL;
}

static void test_many_senders(void)
{
    const struct worker_pool_options options = pool_options(1);
    struct worker_pool *pool = pool_start(&options);
    struct diary *diary = aligned_alloc(CACHE_LINE, sizeof(*diary));
    struct sender senders[SENDERS];

    diary_open(diary, pool, 0);
    for (uint32_t i = 0; i < SENDERS; i++) {
        senders[i] = (struct sender){.diary = diary, .index = i};
        senders[i].notes = calloc(NOTES, sizeof(struct note));
        pthread_create(&senders[i].thread, NULL, send_notes, &senders[i]);
    }
    for (uint32_t i = 0; i < SENDERS; i++)
        pthread_join(senders[i].thread, NULL);
    CHECK(check_wait(&diary->data, (uint64_t)SENDERS * NOTES));
    diary_close(diary);
    CHECK_U64(diary->data, SENDERS * NOTES);
    CHECK(diary->settled > 0);
    worker_pool_stop(pool);
    for (uint32_t i = 0; i < SENDERS; i++)
        free(senders[i].notes);
    free(diary);
}

/* ---- Waking: each message finds the worker asleep, or on its way there ---- */

static void *ping_alone(void *argument)
{
    struct sender *sender = argument;

    for (uint32_t n = 0; n < 2000; n++) {
        const uint64_t seen = atomic_load(&sender->diary->data);

        sender->notes[n] = (struct note){.sender = sender->index, .number = n};
        actor_post(&sender->diary->actor, &sender->notes[n].node, &sender->notes[n].node);
        if (!CHECK(check_wait(&sender->diary->data, seen + 1)))
            break;
        for (uint32_t pause = n % 7; pause > 0; pause--)
            sched_yield();
    }
    return NULL;
}

static void test_wakes_every_time(void)
{
    const struct worker_pool_options options = pool_options(2);
    struct worker_pool *pool = pool_start(&options);
    struct diary *diaries = aligned_alloc(CACHE_LINE, 3 * sizeof(*diaries));
    struct sender senders[3];

    for (uint32_t i = 0; i < 3; i++) {
        diary_open(&diaries[i], pool, i % 2);
        senders[i] = (struct sender){.diary = &diaries[i], .index = i};
        senders[i].notes = calloc(2000, sizeof(struct note));
        pthread_create(&senders[i].thread, NULL, ping_alone, &senders[i]);
    }
    for (uint32_t i = 0; i < 3; i++) {
        pthread_join(senders[i].thread, NULL);
        CHECK_U64(diaries[i].data, 2000);
        diary_close(&diaries[i]);
        free(senders[i].notes);
    }
    worker_pool_stop(pool);
    free(diaries);
}

/* ---- Control comes first ---- */

static void test_control_first(void)
{
    struct worker_pool_options options = pool_options(1);
    struct worker_pool *pool;
    struct diary *diary = aligned_alloc(CACHE_LINE, sizeof(*diary));
    _Atomic(uint64_t) gate = 0;
    _Atomic(uint64_t) entered = 0;
    struct note notes[100];
    struct mailbox_node controls[5];

    options.run_messages_max = 2;
    pool = pool_start(&options);
    diary_open(diary, pool, 0);
    diary->gate = &gate;
    diary->entered = &entered;
    for (uint32_t n = 0; n < 100; n++) {
        notes[n] = (struct note){.number = n};
        actor_post(&diary->actor, &notes[n].node, &notes[n].node);
    }
    CHECK(check_wait(&entered, 1)); /* the first message is being handled, 99 wait */
    for (int i = 0; i < 5; i++)
        actor_post_control(&diary->actor, &controls[i]);
    atomic_store(&gate, 1);
    CHECK(check_wait(&diary->data, 100));
    CHECK_U64(diary->control, 5);
    CHECK_U64(diary->control_seen_by_data[0], 0);
    CHECK_U64(diary->control_seen_by_data[2], 5); /* at the next turn, before 98 messages */
    diary_close(diary);
    worker_pool_stop(pool);
    free(diary);
}

/* ---- Nobody is starved ---- */

/* Posts itself two notes for each it gets, up to its number of notes; the lane is never
 * empty until the other actor has been served. */
struct greedy {
    struct actor actor; /* first */
    _Atomic(uint64_t) rounds, retired;
    _Atomic(uint64_t) *until;
    struct mailbox_node again;
    bool control; /* floods its control lane instead */
};

static void greedy_run(struct actor *actor, struct mailbox_node *node)
{
    struct greedy *greedy = (struct greedy *)(void *)actor;

    atomic_fetch_add(&greedy->rounds, 1);
    if (atomic_load(greedy->until) != 0)
        actor_retire(actor);
    else if (greedy->control)
        actor_post_control(actor, node);
    else
        actor_post(actor, node, node);
}

static void greedy_retired(struct actor *actor)
{
    atomic_fetch_add(&((struct greedy *)(void *)actor)->retired, 1);
}

static void share_with(bool control)
{
    static const struct actor_class class = {greedy_run, greedy_run, NULL, greedy_retired};
    const struct worker_pool_options options = pool_options(1);
    struct worker_pool *pool = pool_start(&options);
    struct greedy *greedy = aligned_alloc(CACHE_LINE, sizeof(*greedy));
    struct diary *diary = aligned_alloc(CACHE_LINE, sizeof(*diary));
    _Atomic(uint64_t) served = 0;
    struct note notes[200];

    memset(greedy, 0, sizeof(*greedy));
    greedy->until = &served;
    greedy->control = control;
    actor_init(&greedy->actor, &class, worker_pool_get(pool, 0));
    diary_open(diary, pool, 0);
    if (control)
        actor_post_control(&greedy->actor, &greedy->again);
    else
        actor_post(&greedy->actor, &greedy->again, &greedy->again);
    CHECK(check_wait(&greedy->rounds, 1000));
    for (uint32_t n = 0; n < 200; n++) {
        notes[n] = (struct note){.number = n};
        actor_post(&diary->actor, &notes[n].node, &notes[n].node);
    }
    CHECK(check_wait(&diary->data, 200)); /* although the other never stops */
    CHECK_U64(greedy->retired, 0);
    atomic_store(&served, 1);
    CHECK(check_wait(&greedy->retired, 1));
    diary_close(diary);
    worker_pool_stop(pool);
    free(diary);
    free(greedy);
}

static void test_yields_data(void)
{
    share_with(false);
}

static void test_yields_control(void)
{
    share_with(true);
}

/* ---- Retiring ---- */

/* Retires an idle actor from a second one's turn. */
struct killer {
    struct actor actor; /* first */
    struct diary *victim;
    _Atomic(uint64_t) inside; /* retired() ran inside actor_retire() */
    _Atomic(uint64_t) retired;
};

static void killer_control(struct actor *actor, struct mailbox_node *node)
{
    struct killer *killer = (struct killer *)(void *)actor;

    (void)node;
    actor_retire(&killer->victim->actor);
    if (atomic_load(&killer->victim->retired) != 0)
        atomic_store(&killer->inside, 1);
    actor_retire(actor);
}

static void killer_retired(struct actor *actor)
{
    atomic_store(&((struct killer *)(void *)actor)->retired, 1);
}

static void test_retire_idle(void)
{
    static const struct actor_class class = {killer_control, NULL, NULL, killer_retired};
    const struct worker_pool_options options = pool_options(1);
    struct worker_pool *pool = pool_start(&options);
    struct killer *killer = aligned_alloc(CACHE_LINE, sizeof(*killer));
    struct diary *victim = aligned_alloc(CACHE_LINE, sizeof(*victim));
    struct mailbox_node order;

    memset(killer, 0, sizeof(*killer));
    diary_open(victim, pool, 0);
    killer->victim = victim;
    actor_init(&killer->actor, &class, worker_pool_get(pool, 0));
    actor_post_control(&killer->actor, &order);
    CHECK(check_wait(&victim->retired, 1));
    CHECK(check_wait(&killer->retired, 1));
    CHECK_U64(killer->inside, 0);
    CHECK_U64(victim->retired, 1);
    worker_pool_stop(pool);
    free(killer);
    free(victim);
}

/* What was posted before is still handed over, however many turns it takes. */
static void test_retire_hands_over(void)
{
    struct worker_pool_options options = pool_options(1);
    struct worker_pool *pool;
    struct diary *diary = aligned_alloc(CACHE_LINE, sizeof(*diary));
    _Atomic(uint64_t) gate = 0;
    _Atomic(uint64_t) entered = 0;
    struct note notes[100];
    struct mailbox_node stop;

    options.run_messages_max = 3;
    pool = pool_start(&options);
    diary_open(diary, pool, 0);
    diary->gate = &gate;
    diary->entered = &entered;
    diary->stop_note = &stop;
    for (uint32_t n = 0; n < 100; n++) {
        notes[n] = (struct note){.number = n};
        actor_post(&diary->actor, &notes[n].node, &notes[n].node);
    }
    CHECK(check_wait(&entered, 1));
    actor_post_control(&diary->actor, &stop); /* taken first, with 97 notes to go */
    atomic_store(&gate, 1);
    CHECK(check_wait(&diary->retired, 1));
    CHECK_U64(diary->data_at_end, 100);
    CHECK_U64(diary->disorder, 0);
    worker_pool_stop(pool);
    CHECK_U64(diary->retired, 1);
    free(diary);
}

/* Closing races with sending: senders reserve, the credit word's end retires the actor. */
struct account {
    struct actor actor; /* first */
    struct credit *credit;
    _Atomic(uint64_t) *handled, *freed;
    struct mailbox_node end;
};

static void account_receive(struct actor *actor, struct mailbox_node *node)
{
    struct account *account = (struct account *)(void *)actor;
    bool writable;

    (void)node;
    atomic_fetch_add(account->handled, 1);
    if (credit_release(account->credit, 1, 0, &writable))
        actor_retire(actor);
}

static void account_control(struct actor *actor, struct mailbox_node *node)
{
    (void)node; /* the close found it empty */
    actor_retire(actor);
}

static void account_retired(struct actor *actor)
{
    struct account *account = (struct account *)(void *)actor;
    _Atomic(uint64_t) *freed = account->freed;

    memset(account, 0xdd, sizeof(*account)); /* whoever still uses it will notice */
    free(account);
    atomic_fetch_add(freed, 1);
}

static const struct actor_class account_class = {account_control, account_receive, NULL,
                                                 account_retired};

#define ACCOUNTS 300

/* The credit word outlives its actors, as a registry's slot does: senders that come late ask
 * it, and are refused, while the actor's memory may be gone already. */
struct closing {
    struct account *account;
    struct credit credit;
    uint32_t generation;
    struct note notes[2][64];
    uint64_t accepted[2];
    pthread_barrier_t barrier;
};

struct depositor {
    pthread_t thread;
    struct closing *closing;
    unsigned index;
};

static void *deposit(void *argument)
{
    struct depositor *self = argument;
    struct closing *closing = self->closing;

    for (unsigned round = 0; round < ACCOUNTS; round++) {
        pthread_barrier_wait(&closing->barrier);
        for (unsigned n = 0; n < 64; n++) {
            struct note *note = &closing->notes[self->index][n];

            if (credit_reserve(&closing->credit, closing->generation, 0) != PARLEY_OK)
                break;
            closing->accepted[self->index]++;
            actor_post(&closing->account->actor, &note->node, &note->node);
        }
        pthread_barrier_wait(&closing->barrier);
    }
    return NULL;
}

static void test_close_races_with_send(void)
{
    static struct closing closing;
    const struct worker_pool_options options = pool_options(2);
    struct worker_pool *pool = pool_start(&options);
    struct depositor depositors[2];
    _Atomic(uint64_t) handled = 0;
    _Atomic(uint64_t) freed = 0;

    credit_init(&closing.credit);
    pthread_barrier_init(&closing.barrier, NULL, 3);
    for (unsigned i = 0; i < 2; i++) {
        depositors[i] = (struct depositor){.closing = &closing, .index = i};
        pthread_create(&depositors[i].thread, NULL, deposit, &depositors[i]);
    }
    for (unsigned round = 0; round < ACCOUNTS; round++) {
        struct account *account = aligned_alloc(CACHE_LINE, sizeof(*account));

        account->handled = &handled;
        account->freed = &freed;
        actor_init(&account->actor, &account_class, worker_pool_get(pool, round % 2));
        account->credit = &closing.credit;
        closing.account = account;
        closing.generation = credit_open(&closing.credit, 1000, UINT64_MAX);
        pthread_barrier_wait(&closing.barrier);
        for (unsigned pause = round % 5; pause > 0; pause--)
            sched_yield();
        if (credit_close(&closing.credit)) /* otherwise the last message's release says it */
            actor_post_control(&account->actor, &account->end);
        CHECK(check_wait(&freed, round + 1));
        pthread_barrier_wait(&closing.barrier);
    }
    for (unsigned i = 0; i < 2; i++)
        pthread_join(depositors[i].thread, NULL);
    CHECK_U64(freed, ACCOUNTS);
    CHECK_U64(handled, closing.accepted[0] + closing.accepted[1]);
    pthread_barrier_destroy(&closing.barrier);
    worker_pool_stop(pool);
}

static const struct check_test tests[] = {
    {"many senders: nothing lost, order kept", test_many_senders},
    {"a sleeping worker is woken every time", test_wakes_every_time},
    {"control is served before a full data lane", test_control_first},
    {"an actor that never empties yields to others", test_yields_data},
    {"a flooded control lane yields to others", test_yields_control},
    {"retiring an idle actor answers later, once", test_retire_idle},
    {"retiring hands over what was posted before", test_retire_hands_over},
    {"closing races with sending: all handled, freed once", test_close_races_with_send},
};
CHECK_MAIN("actor", tests)
