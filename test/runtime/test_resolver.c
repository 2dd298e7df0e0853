/* SPDX-License-Identifier: Apache-2.0
 *
 * Names to addresses without a network: numeric, localhost, a name that cannot exist. The
 * answer always comes to the asking actor, exactly once, also when the resolver stops.
 */
#include "runtime/resolver.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "test/check.h"
#include "test/runtime/fail_alloc.h"
#include "test/runtime/pool.h"

#define QUERIES 64

struct asker {
    struct actor actor; /* first */
    struct worker_pool *pool;
    _Atomic(uint64_t) answers, retired, elsewhere;
    _Atomic(uint64_t) stop;
    struct mailbox_node end;
    struct resolver_query queries[QUERIES];
};

static void asker_control(struct actor *actor, struct mailbox_node *node)
{
    struct asker *asker = (struct asker *)(void *)actor;

    if (node == &asker->end) {
        actor_retire(actor);
        return;
    }
    if (worker_pool_current(asker->pool) != actor->worker)
        atomic_fetch_add(&asker->elsewhere, 1);
    atomic_fetch_add(&asker->answers, 1);
}

static void asker_retired(struct actor *actor)
{
    atomic_store(&((struct asker *)(void *)actor)->retired, 1);
}

static struct asker *asker_open(void)
{
    static const struct actor_class class = {asker_control, NULL, NULL, asker_retired};
    const struct worker_pool_options options = pool_options(1);
    struct asker *asker = aligned_alloc(CACHE_LINE, sizeof(*asker));

    memset(asker, 0, sizeof(*asker));
    asker->pool = pool_start(&options);
    actor_init(&asker->actor, &class, worker_pool_get(asker->pool, 0));
    return asker;
}

static void asker_close(struct asker *asker)
{
    actor_post_control(&asker->actor, &asker->end);
    CHECK(check_wait(&asker->retired, 1));
    CHECK_U64(asker->elsewhere, 0);
    worker_pool_stop(asker->pool);
    free(asker);
}

static struct resolver *resolver_of(const struct alloc *alloc, uint32_t entries_max)
{
    struct resolver *resolver = NULL;

    /* without a network a name service may be configured and never answer */
    setenv("RES_OPTIONS", "timeout:1 attempts:1", 1);
    CHECK_STATUS(resolver_start(alloc, 60000, 60000, entries_max, &resolver), OK);
    return resolver;
}

static void ask(struct resolver *resolver, struct asker *asker, unsigned at, const char *host)
{
    struct resolver_query *query = &asker->queries[at];

    memset(query, 0, sizeof(*query));
    query->reply_to = &asker->actor;
    snprintf(query->host, sizeof(query->host), "%s", host);
    resolver_lookup(resolver, query);
}

static void test_numeric(void)
{
    static const struct {
        const char *host, *address; /* NULL: not numeric */
    } cases[] = {
        {"127.0.0.1", "127.0.0.1"},
        {"::1", "::1"},
        {"0:0:0:0:0:0:0:1", "::1"},
        {"2001:DB8::a", "2001:db8::a"},
        {"localhost", NULL},
        {"127.1", NULL},
        {"1.2.3.4.5", NULL},
        {"[::1]", NULL},
        {"", NULL},
        {"0x7f.0.0.1", NULL},
        {"256.0.0.1", NULL},
        {"1.2.3.4 ", NULL},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct resolver_query query = {.status = PARLEY_EINVAL};

        if (!CHECK_U64(resolver_numeric(cases[i].host, &query), cases[i].address != NULL) ||
            cases[i].address == NULL)
            continue;
        CHECK_STATUS(query.status, OK);
        CHECK_U64(query.count, 1);
        CHECK_TEXT(query.addresses[0], cases[i].address);
        CHECK_TEXT(query.detail, "");
    }
}

static void test_answers(void)
{
    struct fail_alloc state;
    const struct alloc alloc = fail_alloc_init(&state, -1);
    struct resolver *resolver = resolver_of(&alloc, 16);
    struct asker *asker = asker_open();
    struct resolver_query *query = asker->queries;
    bool loopback = false;

    ask(resolver, asker, 0, "localhost");
    ask(resolver, asker, 1, "does-not-exist.invalid");
    ask(resolver, asker, 2, "127.0.0.1");
    ask(resolver, asker, 3, "");
    CHECK(check_wait(&asker->answers, 4));
    CHECK_STATUS(query[0].status, OK);
    for (uint32_t i = 0; i < query[0].count; i++)
        loopback |= strcmp(query[0].addresses[i], "127.0.0.1") == 0 ||
                    strcmp(query[0].addresses[i], "::1") == 0;
    CHECK(loopback);
    CHECK(query[1].status == PARLEY_EADDR || query[1].status == PARLEY_ETIMEDOUT);
    CHECK_U64(query[1].count, 0);
    CHECK(query[1].detail != NULL && query[1].detail[0] != '\0');
    CHECK_STATUS(query[2].status, OK);
    CHECK_TEXT(query[2].addresses[0], "127.0.0.1");
    CHECK_STATUS(query[3].status, EADDR);
    resolver_stop(resolver);
    asker_close(asker);
    CHECK_U64(state.out, 0);
}

/* A name that is remembered is answered without new memory, and before lookup returns. */
static void test_cache(void)
{
    struct fail_alloc state;
    const struct alloc alloc = fail_alloc_init(&state, -1);
    struct resolver *resolver = resolver_of(&alloc, 2);
    struct asker *asker = asker_open();

    ask(resolver, asker, 0, "localhost");
    CHECK(check_wait(&asker->answers, 1));
    CHECK_U64(state.out, 2); /* the resolver and one name */
    atomic_store(&state.left, 0);
    ask(resolver, asker, 1, "localhost");
    CHECK(check_wait(&asker->answers, 2));
    CHECK_STATUS(asker->queries[1].status, OK);
    CHECK_U64(asker->queries[1].count, asker->queries[0].count);
    ask(resolver, asker, 2, "another.invalid");
    CHECK(check_wait(&asker->answers, 3));
    CHECK_STATUS(asker->queries[2].status, ENOMEM);
    atomic_store(&state.left, -1);
    for (unsigned i = 0; i < 6; i++) {
        char host[32];

        snprintf(host, sizeof(host), "name-%u.invalid", i);
        ask(resolver, asker, 3 + i, host);
    }
    CHECK(check_wait(&asker->answers, 9));
    CHECK_U64(state.out, 3); /* two names remembered, as allowed */
    resolver_stop(resolver);
    asker_close(asker);
    CHECK_U64(state.out, 0);
}

static void test_expired(void)
{
    struct fail_alloc state;
    const struct alloc alloc = fail_alloc_init(&state, -1);
    struct resolver *resolver = NULL;
    struct asker *asker = asker_open();

    CHECK_STATUS(resolver_start(&alloc, 0, 0, 8, &resolver), OK); /* all expire at once */
    for (unsigned i = 0; i < 20; i++) {
        ask(resolver, asker, i,
            i % 3 == 0   ? "localhost"
            : i % 3 == 1 ? "a.invalid"
                         : "b.invalid");
        if (i % 2 == 0)
            CHECK(check_wait(&asker->answers, i + 1));
    }
    CHECK(check_wait(&asker->answers, 20));
    for (unsigned i = 0; i < 20; i++)
        CHECK_U64(asker->queries[i].status == PARLEY_OK, i % 3 == 0);
    resolver_stop(resolver);
    asker_close(asker);
    CHECK_U64(state.out, 0);
}

static void test_stop_answers_all(void)
{
    for (unsigned round = 0; round < 10; round++) {
        struct fail_alloc state;
        const struct alloc alloc = fail_alloc_init(&state, -1);
        struct resolver *resolver = resolver_of(&alloc, 4);
        struct asker *asker = asker_open();

        for (unsigned i = 0; i < QUERIES; i++) {
            char host[32];

            snprintf(host, sizeof(host), "pending-%u.invalid", i % 40); /* some asked twice */
            ask(resolver, asker, i, host);
        }
        resolver_stop(resolver);
        CHECK(check_wait(&asker->answers, QUERIES));
        for (unsigned i = 0; i < QUERIES; i++)
            CHECK(asker->queries[i].status != PARLEY_OK);
        asker_close(asker);
        CHECK_U64(state.out, 0);
    }
    resolver_stop(NULL);
}

struct asking {
    pthread_t thread;
    struct resolver *resolver;
    struct asker *asker;
    unsigned from;
};

static void *ask_many(void *argument)
{
    struct asking *asking = argument;

    for (unsigned i = 0; i < 16; i++)
        ask(asking->resolver, asking->asker, asking->from + i,
            i % 2 == 0 ? "localhost" : "same.invalid");
    return NULL;
}

static void test_many_threads(void)
{
    struct fail_alloc state;
    const struct alloc alloc = fail_alloc_init(&state, -1);
    struct resolver *resolver = resolver_of(&alloc, 4);
    struct asker *asker = asker_open();
    struct asking askings[4];

    for (unsigned i = 0; i < 4; i++) {
        askings[i] = (struct asking){.resolver = resolver, .asker = asker, .from = i * 16};
        pthread_create(&askings[i].thread, NULL, ask_many, &askings[i]);
    }
    for (unsigned i = 0; i < 4; i++)
        pthread_join(askings[i].thread, NULL);
    CHECK(check_wait(&asker->answers, QUERIES));
    for (unsigned i = 0; i < QUERIES; i++)
        CHECK_U64(asker->queries[i].status == PARLEY_OK, i % 2 == 0);
    CHECK_U64(state.out, 3); /* one entry per name, however many asked */
    resolver_stop(resolver);
    asker_close(asker);
}

static void test_out_of_memory(void)
{
    struct fail_alloc state;
    const struct alloc alloc = fail_alloc_init(&state, 0);
    struct resolver *resolver = NULL;

    CHECK_STATUS(resolver_start(&alloc, 1, 1, 1, &resolver), ENOMEM);
    CHECK(resolver == NULL);
    CHECK_U64(state.out, 0);
}

static const struct check_test tests[] = {
    {"numeric addresses need no resolver", test_numeric},
    {"localhost is found, an impossible name fails", test_answers},
    {"answers are remembered, within the bound", test_cache},
    {"expired answers are asked again", test_expired},
    {"stopping answers every pending query", test_stop_answers_all},
    {"many threads ask for equal names", test_many_threads},
    {"starting without memory is a status", test_out_of_memory},
};
CHECK_MAIN("resolver", tests)
