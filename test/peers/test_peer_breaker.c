/* SPDX-License-Identifier: Apache-2.0
 *
 * The circuit breakers of real peers: how often a dead one is called, what happens to its
 * messages meanwhile, and that the one transport's breaker leaves the other alone.
 */
#include "test/peers/old_world.h"
#include "test/transport/host.h"

#define FAIL            \
    {                   \
        503, "{}", NULL \
    }

static const struct old_answer taken[] = {{200, NULL, NULL}};

static void trip_after(struct world *world, uint32_t failures, uint32_t open_ms)
{
    world_prepare(world);
    world->options.breaker_failures = failures;
    world->options.breaker_open_ms = open_ms;
    world->options.http_attempts = 100;
}

static void an_open_breaker_sends_nothing(void)
{
    static const struct old_answer answers[] = {FAIL};
    struct world world;
    parley_message message;

    trip_after(&world, 5, 600000);
    WORLD_OPEN(&world, answers);
    CHECK_STATUS(post(world.node, world.peer, "{}", &world.tally), OK);
    CHECK(check_wait(&world.service.requests, 5));
    parley_message_init(&message, "test", "{}", 2);
    message.ttl_ms = 200; /* more than its backoff */
    for (unsigned i = 0; i < 3; i++)
        CHECK_STATUS(
            parley_send(world.node, world.peer, &message, tally_result, &world.tally, NULL),
            OK);
    CHECK(check_wait(&world.tally.results, 3));
    CHECK_U64(outcomes(&world, PARLEY_EXPIRED), 3);
    CHECK_U64(requests(&world), 5);
    world_close(&world);
}

static void trials_close_it_again(void)
{
    enum { MESSAGES = 20 };
    static const struct old_answer answers[] = {FAIL, FAIL, FAIL, {200, NULL, NULL}};
    struct world world;

    trip_after(&world, 3, 100);
    WORLD_OPEN(&world, answers);
    for (unsigned i = 0; i < MESSAGES; i++)
        CHECK_STATUS(post(world.node, world.peer, "{}", &world.tally), OK);
    CHECK(check_wait(&world.tally.results, MESSAGES));
    CHECK_U64(outcomes(&world, PARLEY_DELIVERED), MESSAGES);
    CHECK_U64(requests(&world), MESSAGES + 3);
    CHECK(world.service.noted[3]->came_ns - world.service.noted[2]->came_ns >= 95000000);
    world_close(&world);
}

static void a_failed_trial_waits_anew(void)
{
    static const struct old_answer answers[] = {FAIL, FAIL, FAIL, FAIL, {200, NULL, NULL}};
    struct world world;

    trip_after(&world, 3, 100);
    WORLD_OPEN(&world, answers);
    send_one(&world);
    CHECK_U64(outcomes(&world, PARLEY_DELIVERED), 1);
    CHECK_U64(world.tally.attempts, 5);
    CHECK(world.service.noted[3]->came_ns - world.service.noted[2]->came_ns >= 95000000);
    CHECK(world.service.noted[4]->came_ns - world.service.noted[3]->came_ns >= 95000000);
    world_close(&world);
}

static void attempts_are_still_used_up(void)
{
    static const struct old_answer answers[] = {FAIL};
    struct world world;

    trip_after(&world, 2, 50);
    world.options.http_attempts = 3;
    WORLD_OPEN(&world, answers);
    send_one(&world);
    CHECK_U64(outcomes(&world, PARLEY_EXHAUSTED), 1);
    CHECK_U64(requests(&world), 3);
    world_close(&world);
}

static void answers_that_say_no_do_not_open_it(void)
{
    static const struct old_answer answers[] = {{404, "{}", NULL}};
    struct world world;

    trip_after(&world, 2, 600000);
    WORLD_OPEN(&world, answers);
    for (unsigned i = 0; i < 10; i++)
        send_one(&world);
    CHECK_U64(outcomes(&world, PARLEY_REJECTED), 10);
    CHECK_U64(requests(&world), 10);
    world_close(&world);
}

static uint64_t dials(parley *node)
{
    parley_stats stats = {.size = sizeof(stats)};

    CHECK_STATUS(parley_stats_get(node, &stats), OK);
    return stats.ws_connect_failures;
}

static void dials_stop_but_http_goes_on(void)
{
    struct world world;
    uint64_t before;

    trip_after(&world, 3, 600000);
    world.options.reconnect_max_ms = 1;
    world.peer_options.preference = PARLEY_WEBSOCKET_FIRST;
    WORLD_OPEN(&world, taken); /* it answers the upgrade with 200 */
    for (unsigned i = 0; i < 100; i++)
        send_one(&world);
    CHECK_U64(outcomes(&world, PARLEY_DELIVERED), 100);
    before = dials(world.node);
    CHECK_U64(before, 3);
    for (unsigned i = 0; i < 100; i++)
        send_one(&world);
    CHECK_U64(dials(world.node), 3);
    CHECK_U64(world.tally.transports[PARLEY_TRANSPORT_HTTP], 200);
    world_close(&world);
}

/* A port where HTTP always fails is not what its WebSocket is judged by: http_first takes the
 * WebSocket while HTTP is left alone. */
static void an_open_websocket_is_used_while_http_rests(void)
{
    static const struct old_answer answers[] = {FAIL};
    parley *receiver = receiver_open(0, true);
    char ws_url[64];
    struct world world;

    trip_after(&world, 2, 600000);
    snprintf(ws_url, sizeof(ws_url), "ws://127.0.0.1:%u" WS_PATH, parley_port(receiver));
    world.peer_options.preference = PARLEY_HTTP_FIRST;
    world.peer_options.ws_url = ws_url;
    WORLD_OPEN(&world, answers);
    for (unsigned i = 0; i < 50; i++)
        CHECK_STATUS(post(world.node, world.peer, "{}", &world.tally), OK);
    CHECK(check_wait(&world.tally.results, 50));
    CHECK_U64(outcomes(&world, PARLEY_DELIVERED), 50);
    CHECK_U64(world.tally.transports[PARLEY_TRANSPORT_WEBSOCKET], 50);
    CHECK_U64(requests(&world), 2);
    world_close(&world);
    CHECK_STATUS(parley_close(receiver), OK);
}

static _Atomic(uint64_t) opened;

static void on_open(parley_peer peer, const char *id, parley_peer_state state, bool healthy,
                    const char *reason, void *user)
{
    (void)peer;
    (void)id;
    (void)healthy;
    (void)reason;
    (void)user;
    if (state == PARLEY_PEER_OPEN)
        atomic_fetch_add(&opened, 1);
}

static bool three_dials(void *user)
{
    return dials(user) >= 3;
}

/* The host's own order is carried out though the breaker is open. */
static void the_host_may_connect_at_any_time(void)
{
    struct tally tally = TALLY_INIT;
    parley_options options;
    parley *receiver = receiver_open(0, true), *sender;
    uint16_t port = parley_port(receiver);
    parley_peer peer;

    atomic_store(&opened, 0);
    node_options(&options, "sender");
    options.reconnect_min_ms = options.reconnect_max_ms = 1;
    options.breaker_failures = 3;
    options.breaker_open_ms = 600000;
    sender = node_open(&options);
    parley_on_peer_state(sender, on_open, NULL);
    peer = peer_to(sender, receiver, "receiver", PARLEY_WEBSOCKET_ONLY);
    CHECK_STATUS(parley_close(receiver), OK);
    CHECK_STATUS(post(sender, peer, "{}", &tally), OK);
    CHECK(check_until(three_dials, sender));
    receiver = receiver_open(port, true);
    CHECK_U64(dials(sender), 3);
    CHECK_U64(opened, 0);
    CHECK_STATUS(parley_connect(sender, peer), OK);
    CHECK(check_wait(&opened, 1));
    CHECK(check_wait(&tally.results, 1));
    CHECK_U64(tally.outcomes[PARLEY_DELIVERED], 1);
    CHECK_STATUS(parley_close(sender), OK);
    CHECK_STATUS(parley_close(receiver), OK);
}

static const struct check_test tests[] = {
    {"while it is open nothing is sent", an_open_breaker_sends_nothing},
    {"trials that succeed close it again", trials_close_it_again},
    {"a failed trial waits anew", a_failed_trial_waits_anew},
    {"attempts are still used up", attempts_are_still_used_up},
    {"answers that say no do not open it", answers_that_say_no_do_not_open_it},
    {"dials stop while HTTP goes on", dials_stop_but_http_goes_on},
    {"a WebSocket is used while HTTP rests", an_open_websocket_is_used_while_http_rests},
    {"the host may connect at any time", the_host_may_connect_at_any_time},
};

CHECK_MAIN("breakers of peers", tests)
