/* SPDX-License-Identifier: Apache-2.0
 *
 * Many HTTP calls: the bound, the order, cancelling, stopping, running out of memory.
 */
#include <signal.h>

#include "test/transport/http_fixture.h"

/* ---- the queue ---- */

static void in_flight_is_bounded_and_the_rest_waits(void)
{
    enum { CALLS = 40, BOUND = 4 };
    struct http_worker_options options = defaults;
    struct fixture fixture;
    struct http_call calls[CALLS];
    char urls[CALLS][64];

    options.in_flight_max = BOUND;
    set_up(&fixture, &options);
    for (unsigned i = 0; i < CALLS; i++) {
        prepare(&fixture, &calls[i], urls[i], "/hold", "{}");
        http_worker_submit(fixture.http, &calls[i]);
    }
    for (unsigned i = 0; i < CALLS; i++) {
        CHECK(check_wait(&fixture.server->held, CALLS - i < BOUND ? CALLS - i : BOUND));
        server_release(fixture.server, 1);
        CHECK(check_wait(&fixture.client->completed, i + 1));
    }
    CHECK_U64(atomic_load(&fixture.server->held_max), BOUND);
    CHECK_U64(atomic_load(&fixture.server->requests), CALLS);
    for (unsigned i = 0; i < CALLS; i++) {
        CHECK_STATUS(calls[i].status, OK);
        CHECK_TEXT(calls[i].response, "held");
        http_call_clear(fixture.http, &calls[i]);
    }
    tear_down(&fixture);
}

static void waiting_calls_start_in_order(void)
{
    enum { CALLS = 50 };
    struct http_worker_options options = defaults;
    struct fixture fixture;
    struct http_call calls[CALLS];
    char urls[CALLS][64];

    options.in_flight_max = 1;
    set_up(&fixture, &options);
    for (unsigned i = 0; i < CALLS; i++) {
        prepare(&fixture, &calls[i], urls[i], "/ok", "{}");
        http_worker_submit(fixture.http, &calls[i]);
    }
    CHECK(check_wait(&fixture.client->completed, CALLS));
    for (unsigned i = 0; i < CALLS; i++) {
        CHECK(fixture.client->order[i] == &calls[i]);
        http_call_clear(fixture.http, &calls[i]);
    }
    tear_down(&fixture);
}

struct poster {
    struct fixture *fixture;
    struct http_call calls[400];
    char urls[400][64];
    pthread_t thread;
};

static void *post_many(void *user)
{
    struct poster *poster = user;

    for (unsigned i = 0; i < 400; i++) {
        prepare(poster->fixture, &poster->calls[i], poster->urls[i], "/ok", "{}");
        http_worker_submit(poster->fixture->http, &poster->calls[i]);
    }
    return NULL;
}

static void calls_of_many_threads_complete_once_each(void)
{
    enum { THREADS = 4 };
    struct fixture fixture;
    struct poster *posters = calloc(THREADS, sizeof(*posters));

    set_up(&fixture, &defaults);
    for (unsigned i = 0; i < THREADS; i++) {
        posters[i].fixture = &fixture;
        pthread_create(&posters[i].thread, NULL, post_many, &posters[i]);
    }
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(posters[i].thread, NULL);
    CHECK(check_wait(&fixture.client->completed, THREADS * 400));
    for (unsigned i = 0; i < THREADS * 400; i++) {
        struct http_call *call = fixture.client->order[i];

        CHECK_STATUS(call->status, OK);
        CHECK_TEXT(call->response, "fine"); /* NULL, were it the second time */
        http_call_clear(fixture.http, call);
    }
    http_worker_stop(fixture.http);
    fixture.http = NULL;
    CHECK_U64(atomic_load(&fixture.client->completed), THREADS * 400);
    tear_down(&fixture);
    free(posters);
}

/* Whatever the moment, asleep or awake, a submission is seen. */
static void submission_always_wakes(void)
{
    struct fixture fixture;
    struct http_call call;
    char url[64];
    uint16_t port;
    int refusing = refuse_somewhere(&port);

    set_up(&fixture, &defaults);
    snprintf(url, sizeof(url), "http://127.0.0.1:%u/ok", port);
    for (unsigned i = 0; i < 1000; i++) {
        call = (struct http_call){.reply_to = &fixture.client->actor, .url = url, .get = true};
        carry(&fixture, &call);
        CHECK_STATUS(call.status, EUNREACHABLE);
    }
    tear_down(&fixture);
    close(refusing);
}

/* ---- the end of calls ---- */

static void waiting_call_can_be_cancelled(void)
{
    struct http_worker_options options = defaults;
    struct fixture fixture;
    struct http_call calls[4];
    char urls[4][64];

    options.in_flight_max = 1;
    set_up(&fixture, &options);
    for (unsigned i = 0; i < 4; i++) {
        prepare(&fixture, &calls[i], urls[i], "/hold", "{}");
        http_worker_submit(fixture.http, &calls[i]);
    }
    CHECK(check_wait(&fixture.server->held, 1));
    http_worker_cancel(fixture.http, &calls[2]);
    CHECK(check_wait(&fixture.client->completed, 1));
    CHECK(fixture.client->order[0] == &calls[2]);
    CHECK_STATUS(calls[2].status, ECLOSED);
    CHECK(calls[2].unsent);
    CHECK_TEXT(calls[2].detail, "cancelled");

    server_release(fixture.server, 3); /* the others go on, in order */
    CHECK(check_wait(&fixture.client->completed, 4));
    CHECK(fixture.client->order[1] == &calls[0]);
    CHECK(fixture.client->order[2] == &calls[1]);
    CHECK(fixture.client->order[3] == &calls[3]);
    CHECK_U64(atomic_load(&fixture.server->requests), 3);
    for (unsigned i = 0; i < 4; i++)
        http_call_clear(fixture.http, &calls[i]);
    tear_down(&fixture);
}

static void transfer_can_be_cancelled(void)
{
    struct http_worker_options options = defaults;
    struct fixture fixture;
    struct http_call call;
    char url[64];

    options.in_flight_max = 1;
    set_up(&fixture, &options);
    prepare(&fixture, &call, url, "/silent", "{}");
    http_worker_submit(fixture.http, &call);
    CHECK(check_wait(&fixture.server->requests, 1));
    http_worker_cancel(fixture.http, &call);
    CHECK(check_wait(&fixture.client->completed, 1));
    CHECK_STATUS(call.status, ECLOSED);
    CHECK(!call.unsent);
    CHECK(call.response == NULL);

    prepare(&fixture, &call, url, "/ok", "{}"); /* its transfer is free again */
    carry(&fixture, &call);
    CHECK_STATUS(call.status, OK);
    http_call_clear(fixture.http, &call);
    tear_down(&fixture);
}

/* Right after the submission: in the mailbox, waiting, or under way. */
static void cancelled_at_any_moment_completes_once(void)
{
    enum { CALLS = 300 };
    struct http_worker_options options = defaults;
    struct fixture fixture;
    struct http_call calls[CALLS];
    char urls[CALLS][64];

    options.in_flight_max = 3;
    set_up(&fixture, &options);
    for (unsigned i = 0; i < CALLS; i++) {
        prepare(&fixture, &calls[i], urls[i], "/silent", "{}");
        http_worker_submit(fixture.http, &calls[i]);
        if (i % 3 != 0)
            http_worker_cancel(fixture.http, &calls[i]);
    }
    for (unsigned i = 0; i < CALLS; i += 3)
        http_worker_cancel(fixture.http, &calls[i]);
    CHECK(check_wait(&fixture.client->completed, CALLS));
    for (unsigned i = 0; i < CALLS; i++)
        CHECK_STATUS(calls[i].status, ECLOSED);
    http_worker_stop(fixture.http);
    fixture.http = NULL;
    CHECK_U64(atomic_load(&fixture.client->completed), CALLS);
    tear_down(&fixture);
}

static void stop_completes_everything(void)
{
    enum { CALLS = 20, BOUND = 3 };
    struct http_worker_options options = defaults;
    struct fixture fixture;
    struct http_call calls[CALLS], done;
    char urls[CALLS][64], url[64];
    unsigned unsent = 0;

    options.in_flight_max = BOUND;
    set_up(&fixture, &options);
    prepare(&fixture, &done, url, "/ok", "{}");
    carry(&fixture, &done);
    for (unsigned i = 0; i < CALLS; i++) {
        prepare(&fixture, &calls[i], urls[i], "/silent", "{}");
        http_worker_submit(fixture.http, &calls[i]);
    }
    CHECK(check_wait(&fixture.server->requests, BOUND + 1));
    http_worker_stop(fixture.http);
    CHECK(check_wait(&fixture.client->completed, CALLS + 1));
    for (unsigned i = 0; i < CALLS; i++) {
        CHECK_STATUS(calls[i].status, ECLOSED);
        CHECK(calls[i].response == NULL);
        unsent += calls[i].unsent;
    }
    CHECK_U64(unsent, CALLS - BOUND);
    CHECK_TEXT(done.response, "fine");
    http_call_clear(fixture.http, &done); /* the worker is gone, the answer is not */
    fixture.http = NULL;
    tear_down(&fixture);
}

static void stop_of_an_idle_worker_returns(void)
{
    struct fixture fixture;

    http_worker_stop(NULL);
    for (unsigned i = 0; i < 20; i++) {
        set_up(&fixture, &defaults);
        tear_down(&fixture);
    }
}

/* ---- memory and signals ---- */

static void out_of_memory_is_a_status(void)
{
    struct fixture fixture;
    struct http_worker *none = NULL;
    struct http_call call;
    char url[64];

    set_up(&fixture, &defaults);
    prepare(&fixture, &call, url, "/ok", "{}");
    atomic_store(&fixture.out_of_memory, true);
    CHECK_STATUS(http_worker_start(&fixture.alloc, &fixture.log, &defaults, &none), ENOMEM);
    CHECK(none == NULL);
    carry(&fixture, &call); /* no room for the answer */
    CHECK_STATUS(call.status, ENOMEM);
    CHECK(!call.unsent && call.response == NULL);
    CHECK_TEXT(call.detail, "out of memory");
    prepare(&fixture, &call, url, "/say", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    carry(&fixture, &call); /* nor for an empty one */
    CHECK_STATUS(call.status, ENOMEM);

    atomic_store(&fixture.out_of_memory, false);
    http_call_clear(fixture.http, &call);
    prepare(&fixture, &call, url, "/ok", "{}");
    carry(&fixture, &call);
    CHECK_STATUS(call.status, OK);
    http_call_clear(fixture.http, &call);
    tear_down(&fixture);
}

static void signal_dispositions_stay(void)
{
    struct fixture fixture;
    struct http_call call;
    struct sigaction before, after;
    char url[64];

    sigaction(SIGPIPE, NULL, &before);
    set_up(&fixture, &defaults);
    prepare(&fixture, &call, url, "/ok", "{}");
    carry(&fixture, &call);
    sigaction(SIGPIPE, NULL, &after);
    CHECK(before.sa_handler == after.sa_handler);
    http_call_clear(fixture.http, &call);
    tear_down(&fixture);
}

static const struct check_test tests[] = {
    {"in flight is bounded and the rest waits", in_flight_is_bounded_and_the_rest_waits},
    {"waiting calls start in order", waiting_calls_start_in_order},
    {"calls of many threads complete once each", calls_of_many_threads_complete_once_each},
    {"a submission always wakes", submission_always_wakes},
    {"a waiting call can be cancelled", waiting_call_can_be_cancelled},
    {"a transfer can be cancelled", transfer_can_be_cancelled},
    {"cancelled at any moment completes once", cancelled_at_any_moment_completes_once},
    {"stop completes everything", stop_completes_everything},
    {"stop of an idle worker returns", stop_of_an_idle_worker_returns},
    {"out of memory is a status", out_of_memory_is_a_status},
    {"signal dispositions stay", signal_dispositions_stay},
};

CHECK_MAIN("http worker", tests)
