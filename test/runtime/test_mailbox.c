/* SPDX-License-Identifier: Apache-2.0
 *
 * The mailbox's promises: order, nothing lost, exactly one scheduling per idle mark. The
 * source is included so that its race windows yield.
 */
#include "test/runtime/yield.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define YIELD_POINT() yield_point()
#include "runtime/mailbox.c" /* NOLINT(bugprone-suspicious-include) */

struct item {
    struct mailbox_node node; /* first */
    uint32_t producer;
    uint32_t number;
};

static struct item *item_of(struct mailbox_node *node)
{
    return (struct item *)(void *)node;
}

static void test_new(void)
{
    struct mailbox box;
    struct mailbox_node *node;
    struct item item = {.number = 7};

    mailbox_init(&box);
    mailbox_check(&box);
    CHECK(mailbox_is_idle(&box));
    CHECK_U64(mailbox_pop(&box, &node), MAILBOX_EMPTY);
    CHECK(mailbox_push(&box, &item.node, &item.node));
    CHECK(!mailbox_is_idle(&box));
    CHECK(!mailbox_idle(&box));
    CHECK_U64(mailbox_pop(&box, &node), MAILBOX_NODE);
    CHECK(node == &item.node);
    CHECK_U64(mailbox_pop(&box, &node), MAILBOX_EMPTY);
    CHECK(mailbox_idle(&box));
    CHECK(mailbox_idle(&box)); /* once more is harmless */
    mailbox_check(&box);
}

/* Links items[from … from+count) into a chain. */
static void chain(struct item *items, size_t from, size_t count)
{
    for (size_t i = from; i + 1 < from + count; i++)
        atomic_store_explicit(&items[i].node.next, &items[i + 1].node, memory_order_relaxed);
}

static void test_chain(void)
{
    struct mailbox box;
    struct mailbox_node *node;
    struct item items[100];

    mailbox_init(&box);
    for (uint32_t i = 0; i < 100; i++)
        items[i].number = i;
    chain(items, 0, 40);
    chain(items, 40, 60);
    CHECK(mailbox_push(&box, &items[0].node, &items[39].node));
    CHECK(!mailbox_push(&box, &items[40].node, &items[99].node));
    for (uint32_t i = 0; i < 100; i++) {
        CHECK_U64(mailbox_pop(&box, &node), MAILBOX_NODE);
        CHECK_U64(item_of(node)->number, i);
    }
    CHECK_U64(mailbox_pop(&box, &node), MAILBOX_EMPTY);
}

static void test_wake(void)
{
    struct mailbox box;
    struct mailbox_node *node;
    struct item item;

    mailbox_init(&box);
    CHECK(mailbox_wake(&box));
    CHECK(!mailbox_wake(&box));
    CHECK(!mailbox_push(&box, &item.node, &item.node)); /* the consumer is scheduled */
    CHECK_U64(mailbox_pop(&box, &node), MAILBOX_NODE);
    CHECK(mailbox_idle(&box));
    CHECK(mailbox_push(&box, &item.node, &item.node));
    CHECK(!mailbox_wake(&box)); /* the push took it */
}

/* ---- Scripted interleavings ---- */

struct scene {
    struct mailbox box;
    struct item items[3];
    unsigned seen;
};

/* The consumer looks while a push of items[0] stands between its exchange and its link. */
static void consumer_in_push(void *user)
{
    struct scene *scene = user;
    struct mailbox_node *node = NULL;

    CHECK_U64(mailbox_pop(&scene->box, &node), MAILBOX_BUSY);
    CHECK(!mailbox_idle(&scene->box));
    CHECK_U64(mailbox_pop(&scene->box, &node), MAILBOX_BUSY);
    /* and a second producer overtakes */
    CHECK(!mailbox_push(&scene->box, &scene->items[1].node, &scene->items[1].node));
    CHECK_U64(mailbox_pop(&scene->box, &node), MAILBOX_BUSY);
    mailbox_check(&scene->box);
    scene->seen++;
}

static void test_half_linked(void)
{
    struct scene scene = {.seen = 0};
    struct mailbox_node *node;

    mailbox_init(&scene.box);
    yield_user = &scene;
    yield_hook = consumer_in_push;
    CHECK(mailbox_push(&scene.box, &scene.items[0].node, &scene.items[0].node));
    CHECK_U64(scene.seen, 1);
    CHECK_U64(mailbox_pop(&scene.box, &node), MAILBOX_NODE);
    CHECK(node == &scene.items[0].node);
    CHECK_U64(mailbox_pop(&scene.box, &node), MAILBOX_NODE);
    CHECK(node == &scene.items[1].node);
    CHECK(mailbox_idle(&scene.box));
}

/* A producer comes just before the stub is put behind the last message. */
static void producer_in_pop(void *user)
{
    struct scene *scene = user;

    CHECK(!mailbox_push(&scene->box, &scene->items[1].node, &scene->items[1].node));
    scene->seen++;
}

static void test_push_during_pop(void)
{
    struct scene scene = {.seen = 0};
    struct mailbox_node *node;

    mailbox_init(&scene.box);
    mailbox_push(&scene.box, &scene.items[0].node, &scene.items[0].node);
    yield_user = &scene;
    yield_hook = producer_in_pop;
    CHECK_U64(mailbox_pop(&scene.box, &node), MAILBOX_NODE);
    CHECK(node == &scene.items[0].node);
    CHECK_U64(scene.seen, 1);
    CHECK(!mailbox_idle(&scene.box));
    CHECK_U64(mailbox_pop(&scene.box, &node), MAILBOX_NODE);
    CHECK(node == &scene.items[1].node);
    CHECK_U64(mailbox_pop(&scene.box, &node), MAILBOX_EMPTY);
    CHECK(mailbox_idle(&scene.box));
}

static void test_push_during_idle(void)
{
    struct scene scene = {.seen = 0};
    struct mailbox_node *node;

    mailbox_init(&scene.box);
    CHECK(mailbox_wake(&scene.box));
    yield_user = &scene;
    yield_hook = producer_in_pop;
    CHECK(!mailbox_idle(&scene.box)); /* it must notice what came meanwhile */
    CHECK_U64(scene.seen, 1);
    CHECK_U64(mailbox_pop(&scene.box, &node), MAILBOX_NODE);
    CHECK(mailbox_idle(&scene.box));
}

/* ---- Random steps against a model ---- */

#define MODEL_ITEMS 64

struct model {
    struct mailbox box;
    struct item items[MODEL_ITEMS];
    uint32_t spare[MODEL_ITEMS]; /* items not in the box */
    uint32_t spare_len;
    uint32_t queue[MODEL_ITEMS]; /* what the box must hold, oldest first */
    uint32_t queue_len;
    bool idle;
};

static bool model_push(struct model *model, uint32_t count)
{
    struct item *first = NULL;
    struct item *last = NULL;
    bool told;

    for (uint32_t i = 0; i < count && model->spare_len > 0; i++) {
        const uint32_t at = model->spare[--model->spare_len];

        model->queue[model->queue_len++] = at;
        if (last != NULL)
            atomic_store_explicit(&last->node.next, &model->items[at].node,
                                  memory_order_relaxed);
        last = &model->items[at];
        if (first == NULL)
            first = last;
    }
    if (first == NULL)
        return true;
    told = mailbox_push(&model->box, &first->node, &last->node);
    if (told != model->idle)
        return false;
    model->idle = false;
    return true;
}

static bool model_pop(struct model *model)
{
    struct mailbox_node *node;

    if (model->queue_len == 0)
        return mailbox_pop(&model->box, &node) == MAILBOX_EMPTY;
    if (mailbox_pop(&model->box, &node) != MAILBOX_NODE ||
        node != &model->items[model->queue[0]].node)
        return false;
    model->spare[model->spare_len++] = model->queue[0];
    model->queue_len--;
    memmove(model->queue, model->queue + 1, model->queue_len * sizeof(model->queue[0]));
    return true;
}

static bool model_step(struct model *model, struct check_random *random)
{
    switch (check_random_below(random, 6)) {
    case 0:
        return model_push(model, 1);
    case 1:
        return model_push(model, 1 + (uint32_t)check_random_below(random, 8));
    case 2: {
        const bool became = mailbox_idle(&model->box);

        /* With the stub elsewhere in the chain an empty box may need a pop first. */
        model->idle = became;
        return !became || model->queue_len == 0;
    }
    case 3:
        if (mailbox_wake(&model->box) != model->idle)
            return false;
        model->idle = false;
        return true;
    default:
        return model_pop(model);
    }
}

static void test_model(void)
{
    struct check_random random = {yield_seed()};
    struct model *model = calloc(1, sizeof(*model) + CACHE_LINE);
    struct model *aligned =
        (struct model *)(((uintptr_t)model + CACHE_LINE - 1) & ~(uintptr_t)(CACHE_LINE - 1));

    mailbox_init(&aligned->box);
    aligned->idle = true;
    for (uint32_t i = 0; i < MODEL_ITEMS; i++)
        aligned->spare[aligned->spare_len++] = i;
    for (unsigned step = 0; step < 1000000; step++) {
        if (!model_step(aligned, &random)) {
            CHECK_U64(step, UINT64_MAX); /* tells which step went wrong */
            break;
        }
        mailbox_check(&aligned->box);
    }
    CHECK_U64(aligned->queue_len + aligned->spare_len, MODEL_ITEMS);
    free(model);
}

/* ---- Threads ---- */

#define PRODUCERS    4
#define PER_PRODUCER 50000

struct race {
    struct mailbox box;
    _Atomic(uint64_t) tokens; /* consumers scheduled now: 0 or 1 */
    _Atomic(uint64_t) doubles;
    _Atomic(uint64_t) schedulings;
    uint64_t seed;
};

struct producer {
    pthread_t thread;
    struct race *race;
    struct item *items;
    uint32_t index;
};

static void *produce(void *argument)
{
    struct producer *self = argument;
    struct race *race = self->race;
    struct check_random random = {race->seed + self->index};
    size_t at = 0;

    yield_random.state = race->seed * 31 + self->index + 1;
    while (at < PER_PRODUCER) {
        size_t count = 1 + check_random_below(&random, 4);

        if (count > PER_PRODUCER - at)
            count = PER_PRODUCER - at;
        for (size_t i = at; i < at + count; i++) { /* plain writes: the push publishes them */
            self->items[i].producer = self->index;
            self->items[i].number = (uint32_t)i;
        }
        chain(self->items, at, count);
        if (mailbox_push(&race->box, &self->items[at].node,
                         &self->items[at + count - 1].node)) {
            atomic_fetch_add(&race->schedulings, 1);
            if (atomic_exchange(&race->tokens, 1) != 0)
                atomic_fetch_add(&race->doubles, 1);
        }
        at += count;
    }
    yield_random.state = 0;
    return NULL;
}

struct tally {
    uint64_t total;
    uint64_t disorder;
    uint64_t idles;
    uint32_t next[PRODUCERS];
};

/* One scheduling of the consumer: drains until the mark is back. */
static void consume_turn(struct race *race, struct tally *tally)
{
    struct mailbox_node *node;

    for (;;) {
        switch (mailbox_pop(&race->box, &node)) {
        case MAILBOX_NODE:
            tally->disorder += item_of(node)->number != tally->next[item_of(node)->producer]++;
            tally->total++;
            break;
        case MAILBOX_BUSY:
            sched_yield();
            break;
        case MAILBOX_EMPTY:
            atomic_store(&race->tokens, 0); /* before the mark: after it, it is not ours */
            if (mailbox_idle(&race->box)) {
                tally->idles++;
                return;
            }
            atomic_store(&race->tokens, 1);
            break;
        }
    }
}

static void test_race(void)
{
    static struct race race;
    struct producer producers[PRODUCERS];
    struct tally tally = {0};

    race.seed = yield_seed();
    mailbox_init(&race.box);
    yield_random.state = race.seed + 99;
    for (uint32_t i = 0; i < PRODUCERS; i++) {
        producers[i] = (struct producer){.race = &race, .index = i};
        producers[i].items = calloc(PER_PRODUCER, sizeof(struct item));
        pthread_create(&producers[i].thread, NULL, produce, &producers[i]);
    }
    while (tally.total < PRODUCERS * PER_PRODUCER && CHECK(check_wait(&race.tokens, 1)))
        consume_turn(&race, &tally);
    for (uint32_t i = 0; i < PRODUCERS; i++)
        pthread_join(producers[i].thread, NULL);
    yield_random.state = 0;
    CHECK_U64(tally.total, PRODUCERS * PER_PRODUCER);
    CHECK_U64(tally.disorder, 0);
    CHECK_U64(race.doubles, 0);
    CHECK_U64(race.schedulings, tally.idles); /* true and idle alternate */
    CHECK(mailbox_is_idle(&race.box));
    for (uint32_t i = 0; i < PRODUCERS; i++)
        free(producers[i].items);
}

static const struct check_test tests[] = {
    {"a new mailbox is empty and its first push schedules", test_new},
    {"a chain is one push and keeps its order", test_chain},
    {"waking takes the idle mark exactly once", test_wake},
    {"a half-linked push reads as busy, never as empty", test_half_linked},
    {"a push during a pop is not lost", test_push_during_pop},
    {"a push while going idle is noticed", test_push_during_idle},
    {"a million random steps agree with a model", test_model},
    {"many producers: nothing lost, order kept, scheduled exactly once", test_race},
};
CHECK_MAIN("mailbox", tests)
