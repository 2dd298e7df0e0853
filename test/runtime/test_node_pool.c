/* SPDX-License-Identifier: Apache-2.0
 *
 * Message memory: bounded, reused across threads, never handed out twice, all freed.
 */
#include "runtime/node_pool.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

#include "test/check.h"
#include "test/runtime/fail_alloc.h"

static struct node_pool *pool_of(const struct alloc *alloc, uint64_t bytes_max)
{
    struct node_pool *pool = NULL;

    CHECK_STATUS(node_pool_new(alloc, bytes_max, &pool), OK);
    return pool;
}

static void test_sizes(void)
{
    struct fail_alloc state;
    const struct alloc alloc = fail_alloc_init(&state, -1);
    struct node_pool *pool = pool_of(&alloc, UINT64_MAX);
    struct node_return ret = {0};
    uint64_t used = 0;

    for (size_t bytes = sizeof(struct node); bytes < 10000; bytes += 37) {
        struct node *node = NULL;

        if (node_alloc(pool, bytes, &node) != PARLEY_OK || node->bytes < bytes ||
            ((uintptr_t)node & 15) != 0) {
            CHECK_U64(bytes, 0);
            break;
        }
        memset(node + 1, 0xee, node->bytes - sizeof(*node));
        used += node->bytes;
        if (node_pool_used(pool) != used)
            CHECK_U64(node_pool_used(pool), used);
        if (bytes % 3 == 0 || bytes > 4096) {
            used -= node->bytes;
            node_free(&ret, node);
            node_return_flush(&ret);
        }
    }
    CHECK_U64(node_pool_used(pool), used);
    node_return_flush(&ret);
    node_pool_free(pool);
    node_pool_free(NULL);
    CHECK_U64(state.out, 0); /* small nodes in use go with the pool */
}

static void test_large_nodes(void)
{
    struct fail_alloc state;
    const struct alloc alloc = fail_alloc_init(&state, -1);
    struct node_pool *pool = pool_of(&alloc, 1 << 20);
    struct node_return ret = {0};
    struct node *node = NULL;
    struct node *second = NULL;

    CHECK_STATUS(node_alloc(pool, 900000, &node), OK);
    CHECK_STATUS(node_alloc(pool, 900000, &second), EAGAIN);
    CHECK_STATUS(node_alloc(pool, SIZE_MAX, &second), ENOMEM);
    node_free(&ret, node);
    node_return_flush(&ret);
    CHECK_U64(node_pool_used(pool), 0);
    CHECK_STATUS(node_alloc(pool, 900000, &second), OK);
    node_free(&ret, second);
    node_return_flush(&ret);
    node_pool_free(pool);
    CHECK_U64(state.out, 0);
}

static void test_bound(void)
{
    enum { MAX = 1000 };
    struct fail_alloc state;
    const struct alloc alloc = fail_alloc_init(&state, -1);
    struct node_pool *pool = pool_of(&alloc, MAX * 256);
    struct node_return ret = {0};
    struct node *nodes[MAX];
    struct node *refused = NULL;

    for (unsigned round = 0; round < 3; round++) {
        unsigned got = 0;

        while (got < MAX && node_alloc(pool, 250, &nodes[got]) == PARLEY_OK)
            got++;
        CHECK_U64(got, MAX); /* one thread uses all of the bound, and not a node more */
        CHECK_STATUS(node_alloc(pool, 250, &refused), EAGAIN);
        CHECK_STATUS(node_alloc(pool, 40, &refused), EAGAIN);
        CHECK(refused == NULL);
        node_free(&ret, nodes[--got]);
        node_return_flush(&ret);
        CHECK_STATUS(node_alloc(pool, 250, &nodes[got]), OK); /* it recovers at once */
        got++;
        while (got > 0)
            node_free(&ret, nodes[--got]);
        node_return_flush(&ret);
        CHECK_U64(node_pool_used(pool), 0);
    }
    CHECK(state.out < 12); /* heap and slabs: the rounds reused the same memory */
    node_pool_free(pool);
    CHECK_U64(state.out, 0);
}

static void test_out_of_memory(void)
{
    for (int64_t successes = 0; successes < 8; successes++) {
        struct fail_alloc state;
        const struct alloc alloc = fail_alloc_init(&state, successes);
        struct node_pool *pool = NULL;
        struct node_return ret = {0};
        struct node *nodes[300];
        unsigned got = 0;
        parley_status status = node_pool_new(&alloc, UINT64_MAX, &pool);

        if (status == PARLEY_OK) {
            CHECK(node_pool_number(pool) != node_pool_number(pool));
            while (got < 300 && (status = node_alloc(pool, 4096, &nodes[got])) == PARLEY_OK)
                got++;
            CHECK_U64(got, successes < 2 ? 0 : (successes - 2) * 15);
        }
        CHECK_STATUS(status, ENOMEM);
        if (pool != NULL && got > 0) { /* what was handed out still works */
            node_free(&ret, nodes[--got]);
            node_return_flush(&ret);
            CHECK_STATUS(node_alloc(pool, 4096, &nodes[got]), OK);
        }
        node_pool_free(pool);
        CHECK_U64(state.out, 0);
    }
}

/* ---- Threads ---- */

struct visit {
    struct node_pool *pool;
    struct node *node;
    uint64_t number;
};

static void *visit_pool(void *argument)
{
    struct visit *visit = argument;

    if (node_alloc(visit->pool, 200, &visit->node) == PARLEY_OK)
        visit->number = node_pool_number(visit->pool);
    return NULL;
}

static void test_heaps_are_inherited(void)
{
    struct fail_alloc state;
    const struct alloc alloc = fail_alloc_init(&state, -1);
    struct node_pool *pool = pool_of(&alloc, UINT64_MAX);
    struct node_return ret = {0};
    struct node_heap *heap = NULL;
    uint64_t number = 0;

    for (unsigned i = 0; i < 300; i++) {
        struct visit visit = {.pool = pool};
        pthread_t thread;

        pthread_create(&thread, NULL, visit_pool, &visit);
        pthread_join(thread, NULL);
        CHECK(visit.node != NULL);
        if (visit.node == NULL)
            break;
        CHECK(visit.number != number);
        CHECK(heap == NULL || heap == visit.node->heap);
        heap = visit.node->heap;
        number = visit.number;
        node_free(&ret, visit.node);
        node_return_flush(&ret);
    }
    CHECK_U64(state.out, 3); /* pool, one heap, one slab */
    node_pool_free(pool);
    CHECK_U64(state.out, 0);
}

/* Several threads allocate, one other takes everything, checks and frees it. */
#define POSTERS 3
#define POSTS   30000

struct exchange {
    struct node_pool *pool;
    struct mailbox box;
    _Atomic(uint64_t) refused;
    _Atomic(uint64_t) failed;
};

struct message {
    struct node node; /* first */
    uint64_t number;
    uint64_t fill[2];
};

static void *post_many(void *argument)
{
    struct exchange *exchange = argument;

    for (unsigned n = 0; n < POSTS;) {
        const size_t bytes = sizeof(struct message) + n % 700;
        struct node *node;
        const parley_status status = node_alloc(exchange->pool, bytes, &node);
        struct message *message = (struct message *)(void *)node;

        if (status != PARLEY_OK) {
            atomic_fetch_add(status == PARLEY_EAGAIN ? &exchange->refused : &exchange->failed,
                             1);
            sched_yield();
            continue;
        }
        message->number = node_pool_number(exchange->pool);
        message->fill[0] = message->fill[1] = message->number;
        mailbox_push(&exchange->box, &node->link, &node->link);
        n++;
    }
    return NULL;
}

static int ascending(const void *a, const void *b)
{
    const uint64_t left = *(const uint64_t *)a;
    const uint64_t right = *(const uint64_t *)b;

    return left < right ? -1 : left > right;
}

static void test_exchange(void)
{
    static struct exchange exchange;
    static uint64_t numbers[POSTERS * POSTS];
    struct fail_alloc state;
    const struct alloc alloc = fail_alloc_init(&state, -1);
    const uint64_t bytes_max = 512 * 1024;
    struct node_return ret = {0};
    struct mailbox_node *link;
    pthread_t threads[POSTERS];
    uint64_t broken = 0;
    uint64_t over = 0;
    size_t got = 0;

    exchange.pool = pool_of(&alloc, bytes_max);
    mailbox_init(&exchange.box);
    for (unsigned i = 0; i < POSTERS; i++)
        pthread_create(&threads[i], NULL, post_many, &exchange);
    while (got < POSTERS * POSTS) {
        struct message *message;

        if (mailbox_pop(&exchange.box, &link) != MAILBOX_NODE) {
            node_return_flush(&ret);
            sched_yield();
            continue;
        }
        message = (struct message *)(void *)link;
        broken += message->fill[0] != message->number || message->fill[1] != message->number;
        numbers[got++] = message->number;
        message->fill[0] = 0;
        node_free(&ret, &message->node);
        if (got % 1000 == 0)
            over += node_pool_used(exchange.pool) > bytes_max + POSTERS * NODE_POOL_STEP;
    }
    for (unsigned i = 0; i < POSTERS; i++)
        pthread_join(threads[i], NULL);
    node_return_flush(&ret);
    qsort(numbers, got, sizeof(numbers[0]), ascending);
    for (size_t i = 1; i < got; i++)
        broken += numbers[i] == numbers[i - 1];
    CHECK_U64(broken, 0);
    CHECK_U64(over, 0);
    CHECK_U64(exchange.failed, 0);
    CHECK_U64(node_pool_used(exchange.pool), 0);
    CHECK(state.out < 120); /* bounded memory for 90,000 messages */
    node_pool_free(exchange.pool);
    CHECK_U64(state.out, 0);
}

static const struct check_test tests[] = {
    {"nodes of every size are as large as asked and counted", test_sizes},
    {"large nodes go back to the allocator", test_large_nodes},
    {"the bound refuses, and recovers", test_bound},
    {"a failing allocator is a status and leaks nothing", test_out_of_memory},
    {"a thread that ends leaves its heap to the next", test_heaps_are_inherited},
    {"nodes freed by another thread are reused within the bound", test_exchange},
};
CHECK_MAIN("node pool", tests)
