/* SPDX-License-Identifier: Apache-2.0
 *
 * What the tests of the HTTP worker stand on: a server on loopback, the HTTP worker, and a
 * real actor on a real worker that takes the completions.
 */
#ifndef PARLEY_TEST_HTTP_FIXTURE_H
#define PARLEY_TEST_HTTP_FIXTURE_H

#include <curl/curl.h>

#include "test/check.h"
#include "test/transport/http_server.h"
#include "transport/http_worker.h"

#define CALLS_MAX 2048

/* An actor that notes the calls handed back, in order. */
struct client {
    struct actor actor; /* first */
    struct mailbox_node quit;
    struct http_call *order[CALLS_MAX];
    _Atomic(uint64_t) completed;
    _Atomic(uint64_t) retired;
};

struct fixture {
    struct alloc alloc;
    struct log log;
    _Atomic(bool) out_of_memory;
    struct worker_pool *pool;
    struct server *server;
    struct http_worker *http;
    struct client *client;
};

static void client_control(struct actor *actor, struct mailbox_node *node)
{
    struct client *client = (struct client *)actor;
    uint64_t completed = atomic_load(&client->completed);

    if (node == &client->quit) {
        actor_retire(actor);
        return;
    }
    if (completed < CALLS_MAX)
        client->order[completed] = (struct http_call *)node;
    atomic_store(&client->completed, completed + 1);
}

static void client_retired(struct actor *actor)
{
    atomic_store(&((struct client *)actor)->retired, 1);
}

static const struct actor_class client_class = {.control = client_control,
                                                .retired = client_retired};

static void *allocate(size_t bytes, void *user)
{
    struct fixture *fixture = user;

    return atomic_load(&fixture->out_of_memory) ? NULL : malloc(bytes);
}

static void *resize(void *memory, size_t bytes, void *user)
{
    struct fixture *fixture = user;

    return atomic_load(&fixture->out_of_memory) ? NULL : realloc(memory, bytes);
}

static void release(void *memory, void *user)
{
    (void)user;
    free(memory);
}

static const struct http_worker_options defaults = {
    .in_flight_max = 8,
    .connect_timeout_ms = 15000,
    .timeout_ms = 15000,
    .response_bytes_max = 65536,
};

static void set_up(struct fixture *fixture, const struct http_worker_options *options)
{
    const struct worker_pool_options pool = {
        .workers = 1, .run_messages_max = 64, .run_time_us = 1000};
    const parley_allocator host = {allocate, resize, release, fixture};

    memset(fixture, 0, sizeof(*fixture));
    alloc_init(&fixture->alloc, &host);
    curl_global_init(CURL_GLOBAL_DEFAULT);
    CHECK_STATUS(worker_pool_start(&fixture->alloc, &fixture->log, &pool, &fixture->pool), OK);
    CHECK_STATUS(http_worker_start(&fixture->alloc, &fixture->log, options, &fixture->http),
                 OK);
    fixture->server = server_start();
    fixture->client = alloc_aligned(&fixture->alloc, CACHE_LINE, sizeof(*fixture->client));
    actor_init(&fixture->client->actor, &client_class, worker_pool_get(fixture->pool, 0));
}

static void tear_down(struct fixture *fixture)
{
    http_worker_stop(fixture->http);
    actor_post_control(&fixture->client->actor, &fixture->client->quit);
    CHECK(check_wait(&fixture->client->retired, 1));
    worker_pool_stop(fixture->pool);
    server_stop(fixture->server);
    alloc_free_aligned(&fixture->alloc, fixture->client);
    curl_global_cleanup();
}

/* A POST to `path` of the fixture's server. `url` holds 64 bytes and lives with the call. */
static void prepare(struct fixture *fixture, struct http_call *call, char *url,
                    const char *path, const char *body)
{
    snprintf(url, 64, "http://127.0.0.1:%u%s", fixture->server->port, path);
    *call = (struct http_call){.reply_to = &fixture->client->actor,
                               .url = url,
                               .body = body,
                               .body_len = body != NULL ? strlen(body) : 0};
}

/* Submits and waits. */
static void carry(struct fixture *fixture, struct http_call *call)
{
    uint64_t completed = atomic_load(&fixture->client->completed);

    http_worker_submit(fixture->http, call);
    CHECK(check_wait(&fixture->client->completed, completed + 1));
    CHECK(fixture->client->order[completed] == call);
}

/* A port that refuses: bound, so that nobody else gets it, but not listening. */
static int refuse_somewhere(uint16_t *ret_port)
{
    return listen_anywhere(-1, ret_port);
}

#endif
