/* SPDX-License-Identifier: Apache-2.0
 *
 * parley-bench mailbox: messages through actors' mailboxes without a network.
 *
 * Producer threads do what parley_send() does per message (a node from the pool, a credit
 * reservation, a copy, a push); the actors' workers sum up the bytes, check each producer's
 * order, and give node and credit back. Nothing here is a short cut past the runtime's own
 * functions. An actor retires once it has seen all it should, which ends the measurement.
 */
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/commands.h"
#include "bench/options.h"
#include "bench/usage.h"
#include "runtime/actor.h"
#include "runtime/credit.h"

#define MAILBOX_PAYLOAD_BYTES 32
#define MAILBOX_PAYLOAD_WORDS (MAILBOX_PAYLOAD_BYTES / 8)

struct parcel {
    struct node node; /* first */
    uint32_t producer;
    uint64_t number; /* from 1 per producer and actor */
    uint64_t words[MAILBOX_PAYLOAD_WORDS];
};

struct latch {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint64_t left;
};

struct consumer {
    struct actor actor; /* first */
    struct credit credit;
    uint32_t generation;
    struct latch *done;
    uint64_t expected;
    /* the actor's worker */
    uint64_t handled, sum, violations;
    uint32_t settled_messages;
    uint64_t settled_units;
    uint64_t *last; /* per producer */
};

struct mailbox_bench {
    uint64_t producers, actors, messages, workers;
    bool json;
    struct node_pool *pool;
    struct consumer *consumers;
    struct latch start, done;
};

struct producer {
    struct mailbox_bench *bench;
    pthread_t thread;
    uint32_t index;
    uint64_t share;
    uint64_t *numbers; /* per actor */
    uint64_t sum, eagain;
    parley_status status;
};

/* ---- consumers ---- */

/* All bytes, eight at a time, modulo 2^64. */
static uint64_t sum_words(const uint64_t *words)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < MAILBOX_PAYLOAD_WORDS; i++)
        sum += words[i];
    return sum;
}

static void latch_down(struct latch *latch)
{
    pthread_mutex_lock(&latch->lock);
    latch->left--;
    pthread_cond_broadcast(&latch->changed);
    pthread_mutex_unlock(&latch->lock);
}

static void latch_wait(struct latch *latch)
{
    pthread_mutex_lock(&latch->lock);
    while (latch->left > 0)
        pthread_cond_wait(&latch->changed, &latch->lock);
    pthread_mutex_unlock(&latch->lock);
}

static void consume(struct actor *actor, struct mailbox_node *node)
{
    struct consumer *consumer = (struct consumer *)actor;
    struct parcel *parcel = (struct parcel *)node;
    uint64_t *last = &consumer->last[parcel->producer];
    consumer->violations += parcel->number != *last + 1;
    *last = parcel->number;
    consumer->sum += sum_words(parcel->words);
    consumer->handled++;
    consumer->settled_messages++;
    consumer->settled_units += credit_units(sizeof(*parcel));
    node_free(worker_node_return(actor->worker), &parcel->node);
}

static void settle(struct actor *actor)
{
    struct consumer *consumer = (struct consumer *)actor;
    if (consumer->settled_messages == 0)
        return;
    bool writable = false;
    credit_release(&consumer->credit, consumer->settled_messages, consumer->settled_units,
                   &writable);
    consumer->settled_messages = 0;
    consumer->settled_units = 0;
    if (consumer->handled == consumer->expected)
        actor_retire(actor);
}

static void no_control(struct actor *actor, struct mailbox_node *node)
{
    (void)actor;
    (void)node;
}

static void retired(struct actor *actor)
{
    latch_down(((struct consumer *)actor)->done);
}

static const struct actor_class consumer_class = {
    .control = no_control, .receive = consume, .settle = settle, .retired = retired};

/* ---- producers ---- */

/* Full: let the consumers run; they may share this CPU. */
static void give_way(struct producer *producer, unsigned *tries)
{
    producer->eagain++;
    if (++*tries % 16 != 0) {
        sched_yield();
        return;
    }
    struct timespec wait = {.tv_nsec = 50000};
    nanosleep(&wait, NULL);
}

static parley_status produce_one(struct producer *producer, uint64_t number)
{
    struct mailbox_bench *bench = producer->bench;
    uint64_t index = number % bench->actors;
    struct consumer *consumer = &bench->consumers[index];
    struct node *node = NULL;
    parley_status status;
    unsigned tries = 0;
    while ((status = node_alloc(bench->pool, sizeof(struct parcel), &node)) == PARLEY_EAGAIN)
        give_way(producer, &tries);
    if (status != PARLEY_OK)
        return status;
    while (credit_reserve(&consumer->credit, consumer->generation, sizeof(struct parcel)) !=
           PARLEY_OK)
        give_way(producer, &tries);
    struct parcel *parcel = (struct parcel *)node;
    uint64_t words[MAILBOX_PAYLOAD_WORDS] = {number, ~number, number * 31, number << 7};
    parcel->producer = producer->index;
    parcel->number = ++producer->numbers[index];
    memcpy(parcel->words, words, sizeof(words));
    producer->sum += sum_words(words);
    actor_post(&consumer->actor, &node->link, &node->link);
    return PARLEY_OK;
}

static void *produce(void *user)
{
    struct producer *producer = user;
    latch_wait(&producer->bench->start);
    for (uint64_t i = 0; i < producer->share && producer->status == PARLEY_OK; i++)
        producer->status = produce_one(producer, i);
    return NULL;
}

/* ---- setting up and reporting ---- */

static uint64_t part(uint64_t whole, uint64_t parts, uint64_t index)
{
    return whole / parts + (index < whole % parts);
}

/* How many of each producer's messages go to one actor: they take turns from actor 0 on. */
static uint64_t expected_of(const struct mailbox_bench *bench, uint64_t actor)
{
    uint64_t expected = 0;
    for (uint64_t i = 0; i < bench->producers; i++)
        expected += part(part(bench->messages, bench->producers, i), bench->actors, actor);
    return expected;
}

static bool consumers_start(struct mailbox_bench *bench, const struct alloc *alloc,
                            struct worker_pool *workers)
{
    bench->consumers =
        alloc_aligned(alloc, CACHE_LINE, bench->actors * sizeof(struct consumer));
    if (!bench->consumers)
        return false;
    for (uint64_t i = 0; i < bench->actors; i++) {
        struct consumer *consumer = &bench->consumers[i];
        consumer->done = &bench->done;
        consumer->expected = expected_of(bench, i);
        consumer->last = calloc(bench->producers, sizeof(uint64_t));
        if (!consumer->last)
            return false;
        credit_init(&consumer->credit);
        consumer->generation = credit_open(&consumer->credit, 16384, UINT64_C(16) << 20);
        uint32_t worker = (uint32_t)(i % worker_pool_size(workers));
        actor_init(&consumer->actor, &consumer_class, worker_pool_get(workers, worker));
    }
    return true;
}

static bool producers_start(struct mailbox_bench *bench, struct producer *producers)
{
    for (uint64_t i = 0; i < bench->producers; i++) {
        producers[i].bench = bench;
        producers[i].index = (uint32_t)i;
        producers[i].share = part(bench->messages, bench->producers, i);
        producers[i].numbers = calloc(bench->actors, sizeof(uint64_t));
        if (!producers[i].numbers ||
            pthread_create(&producers[i].thread, NULL, produce, &producers[i]) != 0)
            return false;
    }
    return true;
}

static void print_row(const struct mailbox_bench *bench, const char *name, double value,
                      int decimals)
{
    if (bench->json)
        printf(",\"%s\":%.*f", name, decimals, value);
    else
        printf("  %-24s %16.*f\n", name, decimals, value);
}

static int report(const struct mailbox_bench *bench, const struct producer *producers,
                  double seconds, double cpu_s)
{
    uint64_t handled = 0, sum_in = 0, sum_out = 0, violations = 0, eagain = 0;
    for (uint64_t i = 0; i < bench->actors; i++) {
        handled += bench->consumers[i].handled;
        sum_out += bench->consumers[i].sum;
        violations += bench->consumers[i].violations;
    }
    for (uint64_t i = 0; i < bench->producers; i++) {
        sum_in += producers[i].sum;
        eagain += producers[i].eagain;
    }
    printf(bench->json ? "{\"producers\":%" PRIu64 ",\"actors\":%" PRIu64
                         ",\"workers\":%" PRIu64 ",\"payload_bytes\":%d"
                       : "%" PRIu64 " producers to %" PRIu64 " actors on %" PRIu64
                         " workers, %d bytes copied per message\n",
           bench->producers, bench->actors, bench->workers, MAILBOX_PAYLOAD_BYTES);
    print_row(bench, "messages", (double)bench->messages, 0);
    print_row(bench, "handled", (double)handled, 0);
    print_row(bench, "order_violations", (double)violations, 0);
    print_row(bench, "sum_match", sum_in == sum_out, 0);
    print_row(bench, "eagain", (double)eagain, 0);
    print_row(bench, "seconds", seconds, 6);
    print_row(bench, "messages_per_s", (double)handled / seconds, 0);
    print_row(bench, "ns_per_message", seconds * 1e9 / (double)handled, 1);
    print_row(bench, "cpu_s_per_million", cpu_s * 1e6 / (double)handled, 4);
    if (bench->json)
        puts("}");
    if (handled == bench->messages && violations == 0 && sum_in == sum_out)
        return EXIT_OK;
    fprintf(stderr,
            "parley-bench: handled %" PRIu64 " of %" PRIu64 ", %" PRIu64
            " out of order, sum %" PRIu64 " (expected %" PRIu64 ")\n",
            handled, bench->messages, violations, sum_out, sum_in);
    return EXIT_FAILED;
}

/* A failure to set up ends the process at once: its memory goes with it. */
static int give_up(const char *what)
{
    fprintf(stderr, "parley-bench: cannot start: %s\n", what);
    exit(EXIT_FAILED);
}

static int measure(struct mailbox_bench *bench)
{
    struct alloc alloc;
    alloc_init(&alloc, NULL);
    struct log log = {0};
    struct worker_pool_options options = {
        .workers = (uint32_t)bench->workers, .run_messages_max = 1024, .run_time_us = 1000};
    struct worker_pool *workers = NULL;
    struct producer *producers = calloc(bench->producers, sizeof(*producers));
    if (!producers || worker_pool_start(&alloc, &log, &options, &workers) != PARLEY_OK ||
        node_pool_new(&alloc, UINT64_C(1) << 30, &bench->pool) != PARLEY_OK)
        return give_up("no memory or no threads");
    if (!consumers_start(bench, &alloc, workers) || !producers_start(bench, producers))
        return give_up("no memory or no threads");

    double cpu_s = usage_cpu_s();
    uint64_t start_ns = usage_now_ns();
    latch_down(&bench->start);
    for (uint64_t i = 0; i < bench->producers; i++) {
        pthread_join(producers[i].thread, NULL);
        if (producers[i].status != PARLEY_OK)
            return give_up(parley_strerror(producers[i].status));
    }
    latch_wait(&bench->done);
    double seconds = (double)(usage_now_ns() - start_ns) / 1e9;
    cpu_s = usage_cpu_s() - cpu_s;
    worker_pool_stop(workers);
    int code = report(bench, producers, seconds, cpu_s);

    node_pool_free(bench->pool);
    for (uint64_t i = 0; i < bench->actors; i++)
        free(bench->consumers[i].last);
    alloc_free_aligned(&alloc, bench->consumers);
    for (uint64_t i = 0; i < bench->producers; i++)
        free(producers[i].numbers);
    free(producers);
    return code;
}

int command_mailbox(int argc, char **argv)
{
    struct mailbox_bench bench = {.producers = 1, .actors = 1, .messages = 5000000};
    const struct option_spec specs[] = {
        {"producers", "P", OPTION_NUMBER, &bench.producers, 1, 256, "threads that post"},
        {"actors", "N", OPTION_NUMBER, &bench.actors, 1, 100000,
         "mailboxes, spread over the workers"},
        {"messages", "M", OPTION_NUMBER, &bench.messages, 1, UINT64_C(100000000000),
         "messages in all"},
        {"workers", "N", OPTION_NUMBER, &bench.workers, 0, WORKERS_MAX,
         "threads that consume; 0: 1 for one actor, otherwise 2"},
        {"json", NULL, OPTION_FLAG, &bench.json, 0, 0, "one JSON object on stdout"},
    };
    int code = options_parse("usage: parley-bench mailbox [OPTIONS]\n\n"
                             "Posts 32-byte messages to actors through the runtime's own push "
                             "and checks order and bytes.\n",
                             specs, sizeof(specs) / sizeof(specs[0]), argc, argv);
    if (code >= 0)
        return code;
    if (bench.messages < bench.producers * bench.actors)
        return options_wrong("--messages: at least producers times actors (%" PRIu64 ")",
                             bench.producers * bench.actors);
    if (bench.workers == 0)
        bench.workers = bench.actors == 1 ? 1 : 2;
    bench.start = (struct latch){PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 1};
    bench.done =
        (struct latch){PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, bench.actors};
    return measure(&bench);
}
