/* SPDX-License-Identifier: Apache-2.0
 *
 * Healthy and unhealthy peers: how recovery is noticed without a message, what the policies do
 * with messages meanwhile, and that load never hides a dead connection.
 */
#include "peers/health.h"
#include "test/peers/old_world.h"
#include "test/transport/host.h"

#define FAIL            \
    {                   \
        503, "{}", NULL \
    }

static const struct old_answer failing[] = {FAIL};
static const struct old_answer recovering[] = {FAIL, FAIL, FAIL, {200, "{}", NULL}};

/* ---- What is seen of a peer ---- */

struct watch {
    _Atomic(uint64_t) unhealthy, healthy, writable, unanswered, failed;
};

static void on_state(parley_peer peer, const char *id, parley_peer_state state, bool healthy,
                     const char *reason, void *user)
{
    struct watch *watch = user;

    (void)peer;
    (void)id;
    (void)state;
    atomic_fetch_add(healthy ? &watch->healthy : &watch->unhealthy, 1);
    if (strcmp(reason, "heartbeat unanswered") == 0)
        atomic_fetch_add(&watch->unanswered, 1);
    if (!healthy && strcmp(reason, "HTTP 503") == 0)
        atomic_fetch_add(&watch->failed, 1);
}

static void on_writable(parley_peer peer, void *user)
{
    (void)peer;
    atomic_fetch_add(&((struct watch *)user)->writable, 1);
}

static void world_watch(struct world *world, const struct old_answer *answers, size_t len,
                        struct watch *watch)
{
    memset(watch, 0, sizeof(*watch));
    world_open(world, answers, len);
    parley_on_peer_state(world->node, on_state, watch);
    parley_on_writable(world->node, on_writable, watch);
}

static parley_stats stats_of(parley *node)
{
    parley_stats stats = {.size = sizeof(stats)};

    CHECK_STATUS(parley_stats_get(node, &stats), OK);
    return stats;
}

/* ---- Probes ---- */

static void prepare(struct world *world)
{
    world_prepare(world);
    world->options.heartbeat_interval_ms = 20;
    world->options.http_attempts = 3;
    world->options.breaker_open_ms = 30;
}

static void recovery_is_noticed_without_a_message(void)
{
    struct world world;
    struct watch watch;

    prepare(&world);
    world_watch(&world, recovering, 4, &watch);
    send_one(&world);
    CHECK_U64(outcomes(&world, PARLEY_EXHAUSTED), 1);
    CHECK(check_wait(&watch.unhealthy, 1));
    CHECK(check_wait(&watch.healthy, 1));
    CHECK_CONTAINS(world.service.noted[3]->head, "GET /health HTTP/1.1");
    CHECK_U64(stats_of(world.node).health_probes, 1);
    CHECK_U64(stats_of(world.node).peers_unhealthy, 0);
    CHECK_U64(requests(&world), 4); /* a healthy one is not asked */
    world_close(&world);
}

static bool breaker_opened(void *user)
{
    return stats_of(user).breaker_opens == 1;
}

static void a_dead_peer_is_asked_no_more_than_its_breaker_lets(void)
{
    struct world world;
    struct watch watch;

    prepare(&world);
    world.options.breaker_failures = 5;
    world.options.breaker_open_ms = 600000;
    world_watch(&world, failing, 1, &watch);
    send_one(&world);
    CHECK(check_wait(&world.service.requests, 5)); /* two of them are probes */
    CHECK(check_until(breaker_opened, world.node));
    CHECK_STATUS(post(world.node, world.peer, "{}", &world.tally), OK);
    CHECK_U64(stats_of(world.node).breakers_open, 1);
    CHECK_U64(stats_of(world.node).peers_unhealthy, 1);
    CHECK_U64(requests(&world), 5);
    world_close(&world);
}

static bool three_probes(void *user)
{
    return stats_of(user).health_probes >= 3;
}

static void silent_peers_are_asked_always_if_wanted(void)
{
    static const struct old_answer answers[] = {{200, NULL, NULL}};
    struct world world;
    struct watch watch;

    prepare(&world);
    world.options.health_http = PARLEY_PROBE_ALWAYS;
    world_watch(&world, answers, 1, &watch);
    CHECK_U64(stats_of(world.node).health_probes, 0); /* never sent anything */
    send_one(&world);
    CHECK(check_until(three_probes, world.node));
    CHECK_CONTAINS(world.service.noted[1]->head, "GET /health HTTP/1.1");
    CHECK_U64(watch.unhealthy, 0);
    world_close(&world);
}

static void unhealthy_after_is_a_setting(void)
{
    struct world world;
    struct watch watch;

    prepare(&world);
    world.options.unhealthy_after = 1;
    world.options.http_attempts = 1;
    world.options.heartbeat_interval_ms = 3600000;
    world_watch(&world, failing, 1, &watch);
    send_one(&world);
    CHECK(check_wait(&watch.unhealthy, 1));
    CHECK_U64(watch.failed, 1); /* the observer is told why */
    CHECK_U64(requests(&world), 1);
    world_close(&world);
}

/* ---- Policies ---- */

static bool accepts(void *user)
{
    struct world *world = user;

    return post(world->node, world->peer, "{}", &world->tally) == PARLEY_OK;
}

static _Atomic(bool) probes_answered;

static void hold_probes(struct old_service *service, const struct old_request *request)
{
    (void)service;
    while (strncmp(request->head, "GET /health", 11) == 0 && !atomic_load(&probes_answered))
        sched_yield();
}

static void reject_answers_at_once_until_it_is_well(void)
{
    struct world world;
    struct watch watch;

    prepare(&world);
    world.options.health_http = PARLEY_PROBE_OFF; /* asked all the same: nothing else would */
    atomic_store(&probes_answered, false);
    world.service.before = hold_probes;
    world.peer_options.unhealthy_policy = PARLEY_UNHEALTHY_REJECT;
    world.peer_options.unhealthy_policy_set = true;
    world_watch(&world, recovering, 4, &watch);
    send_one(&world);
    CHECK(check_wait(&watch.unhealthy, 1));
    CHECK_STATUS(post(world.node, world.peer, "{}", &world.tally), EUNREACHABLE);
    CHECK_U64(world.tally.results, 1);
    atomic_store(&probes_answered, true);
    CHECK(check_until(accepts, &world));
    CHECK(check_wait(&world.tally.results, 2));
    CHECK_U64(outcomes(&world, PARLEY_DELIVERED), 1);
    world_close(&world);
}

static void hold_accepts_until_it_is_full(void)
{
    struct world world;
    struct watch watch;

    prepare(&world);
    world.options.mailbox_messages_max = 16;
    world.options.breaker_open_ms = 600000;
    world.options.breaker_failures = 3;
    world_watch(&world, failing, 1, &watch);
    send_one(&world);
    CHECK(check_wait(&watch.unhealthy, 1));
    for (unsigned i = 0; i < 16; i++)
        CHECK_STATUS(post(world.node, world.peer, "{}", &world.tally), OK);
    CHECK_STATUS(post(world.node, world.peer, "{}", &world.tally), EAGAIN);
    CHECK_U64(world.tally.results, 1);
    world_close(&world);
}

struct drops {
    _Atomic(uint64_t) dropped, results, late;
    uint64_t last; /* the worker's */
};

struct numbered {
    struct drops *drops;
    uint64_t number;
};

static void on_dropped(const parley_result *result, void *user)
{
    struct numbered *numbered = user;
    struct drops *drops = numbered->drops;

    if (result->outcome == PARLEY_EXHAUSTED) {
        if (strcmp(result->detail, "dropped: the peer is unhealthy") != 0 ||
            (drops->dropped > 0 && numbered->number != drops->last + 1))
            atomic_fetch_add(&drops->late, 1); /* not the oldest one */
        drops->last = numbered->number;
        atomic_fetch_add(&drops->dropped, 1);
    }
    atomic_fetch_add(&drops->results, 1);
}

static void drop_oldest_makes_room(void)
{
    enum { MESSAGES = 2000, MAILBOX = 64 };
    static struct numbered numbered[MESSAGES];
    struct drops drops = {0};
    parley_message message;
    struct world world;
    struct watch watch;

    prepare(&world);
    world.options.mailbox_messages_max = MAILBOX;
    world.options.breaker_open_ms = 600000;
    world.options.breaker_failures = 3;
    world.options.unhealthy_policy = PARLEY_UNHEALTHY_DROP_OLDEST;
    world_watch(&world, failing, 1, &watch);
    send_one(&world);
    CHECK(check_wait(&watch.unhealthy, 1));
    parley_message_init(&message, "test", "{}", 2);
    for (unsigned i = 0; i < MESSAGES; i++) {
        uint64_t told = atomic_load(&watch.writable);

        numbered[i] = (struct numbered){&drops, i};
        while (parley_send(world.node, world.peer, &message, on_dropped, &numbered[i], NULL) ==
               PARLEY_EAGAIN) {
            if (!CHECK(check_wait(&watch.writable, told + 1))) /* nobody waits for ever */
                break;
            told = atomic_load(&watch.writable);
        }
    }
    CHECK(check_wait(&drops.dropped, MESSAGES - MAILBOX));
    CHECK(drops.dropped <= MESSAGES - MAILBOX / 2); /* the newest are kept */
    CHECK_U64(drops.late, 0);
    CHECK_U64(drops.results, drops.dropped);
    world_close(&world);
    CHECK_U64(drops.results, MESSAGES);
}

/* One that is larger than what is kept free finds room, too. */
static void drop_oldest_makes_room_for_a_large_one(void)
{
    enum { LARGE = 30000 };
    static char payload[LARGE + 1];
    struct world world;
    struct watch watch;

    prepare(&world);
    world.options.mailbox_bytes_max = 65536;
    world.options.breaker_open_ms = 600000;
    world.options.breaker_failures = 3;
    world.options.unhealthy_policy = PARLEY_UNHEALTHY_DROP_OLDEST;
    world_watch(&world, failing, 1, &watch);
    send_one(&world);
    CHECK(check_wait(&watch.unhealthy, 1));
    memset(payload, ' ', LARGE);
    payload[0] = '{';
    payload[LARGE - 1] = '}';
    for (unsigned i = 0; i < 6; i++) {
        uint64_t told = atomic_load(&watch.writable);

        while (post(world.node, world.peer, payload, &world.tally) == PARLEY_EAGAIN) {
            if (!CHECK(check_wait(&watch.writable, told + 1)))
                break;
            told = atomic_load(&watch.writable);
        }
    }
    CHECK(outcomes(&world, PARLEY_EXHAUSTED) >= 5);
    world_close(&world);
}

static _Atomic(bool) answers_held;

static void hold_answers(struct old_service *service, const struct old_request *request)
{
    (void)service;
    (void)request;
    while (atomic_load(&answers_held))
        sched_yield();
}

/* Refused while it was well, and never under half of its bound since. */
static void drop_oldest_tells_who_waits_already(void)
{
    struct world world;
    struct watch watch;

    prepare(&world);
    world.options.mailbox_messages_max = 64;
    world.options.unhealthy_after = 1;
    world.options.breaker_open_ms = 600000;
    world.options.breaker_failures = 1;
    world.options.unhealthy_policy = PARLEY_UNHEALTHY_DROP_OLDEST;
    world.service.before = hold_answers;
    atomic_store(&answers_held, true);
    world_watch(&world, failing, 1, &watch);
    while (accepts(&world))
        continue;
    CHECK_U64(watch.writable, 0);
    atomic_store(&answers_held, false);
    CHECK(check_wait(&watch.writable, 1));
    CHECK(accepts(&world));
    world_close(&world);
}

/* All there is is on its way. */
static void drop_oldest_tells_of_no_room_that_is_not(void)
{
    struct world world;
    struct watch watch;

    prepare(&world);
    world.options.mailbox_messages_max = 1;
    world.options.http_attempts = 100;
    world.options.unhealthy_after = 1;
    world.options.breaker_failures = 0;
    world.options.unhealthy_policy = PARLEY_UNHEALTHY_DROP_OLDEST;
    world_watch(&world, failing, 1, &watch);
    world.service.before = hold_answers;
    atomic_store(&answers_held, true);
    CHECK(accepts(&world));
    CHECK(check_wait(&world.service.requests, 1));
    atomic_store(&answers_held, false);
    CHECK(check_wait(&watch.unhealthy, 1));
    atomic_store(&answers_held, true);
    CHECK(check_wait(&world.service.requests, requests(&world) + 1));
    CHECK(!accepts(&world));
    CHECK(stats_of(world.node).pending == 1); /* its worker has looked */
    CHECK_U64(watch.writable, 0);
    atomic_store(&answers_held, false);
    CHECK(check_wait(&watch.writable, 1));
    CHECK(accepts(&world));
    CHECK(outcomes(&world, PARLEY_EXHAUSTED) >= 1);
    world_close(&world);
}

/* ---- Heartbeats ---- */

static void intervals_are_spread(void)
{
    struct check_random random = {check_seed(5)};
    unsigned tenths[20] = {0};

    for (unsigned i = 0; i < 10000; i++) {
        uint64_t ns = health_jitter_ns(30000000000, check_random_next(&random));

        CHECK(ns >= 27000000000 && ns <= 33000000000);
        tenths[(ns - 27000000000) * 20 / 6000000001]++;
    }
    for (unsigned i = 0; i < 20; i++) /* 10,000 peers: some 500 in each 0.3 s */
        CHECK(tenths[i] > 350 && tenths[i] < 650);
    CHECK_U64(health_jitter_ns(0, 17), 0);
    CHECK_U64(health_jitter_ns(9, 17), 9);
}

struct stall {
    pthread_mutex_t mutex;
    pthread_cond_t go_on;
    bool stalled;
    _Atomic(uint64_t) entered;
};

static parley_verdict stall(const parley_incoming *message, char *detail, void *user)
{
    struct stall *stall = user;

    (void)message;
    (void)detail;
    atomic_fetch_add(&stall->entered, 1);
    pthread_mutex_lock(&stall->mutex);
    while (stall->stalled)
        pthread_cond_wait(&stall->go_on, &stall->mutex);
    pthread_mutex_unlock(&stall->mutex);
    return PARLEY_ACCEPT;
}

/* The receiver reads nothing any more; the sender has more and more to send. */
static void load_does_not_hide_a_dead_connection(void)
{
    enum { LARGE = 60000 };
    static char payload[LARGE + 1];
    struct stall stalled = {.mutex = PTHREAD_MUTEX_INITIALIZER,
                            .go_on = PTHREAD_COND_INITIALIZER,
                            .stalled = true};
    struct tally tally = TALLY_INIT;
    struct watch watch = {0};
    parley_options options;
    parley *receiver, *sender;
    parley_peer peer;

    node_options(&options, "receiver");
    options.listen_host = "127.0.0.1";
    options.workers = 1;
    options.on_message = stall;
    options.on_message_user = &stalled;
    receiver = node_open(&options);
    node_options(&options, "sender");
    options.heartbeat_interval_ms = 100;
    options.heartbeat_grace_ms = 100;
    sender = node_open(&options);
    parley_on_peer_state(sender, on_state, &watch);
    peer = peer_to(sender, receiver, "receiver", PARLEY_WEBSOCKET_ONLY);
    memset(payload, ' ', LARGE);
    payload[0] = '{';
    payload[LARGE - 1] = '}';
    while (post(sender, peer, payload, &tally) != PARLEY_EAGAIN) /* 16 MiB */
        ;
    CHECK(check_wait(&stalled.entered, 1));
    CHECK(check_wait(&watch.unanswered, 1));
    pthread_mutex_lock(&stalled.mutex);
    stalled.stalled = false;
    pthread_cond_broadcast(&stalled.go_on);
    pthread_mutex_unlock(&stalled.mutex);
    CHECK_STATUS(parley_close(sender), OK);
    CHECK_STATUS(parley_close(receiver), OK);
}

static const struct check_test tests[] = {
    {"recovery is noticed without a message", recovery_is_noticed_without_a_message},
    {"a dead peer is asked no more than its breaker lets",
     a_dead_peer_is_asked_no_more_than_its_breaker_lets},
    {"silent peers are asked always if wanted", silent_peers_are_asked_always_if_wanted},
    {"how many failures make unhealthy is a setting", unhealthy_after_is_a_setting},
    {"reject: sending fails at once until the peer is well",
     reject_answers_at_once_until_it_is_well},
    {"hold: messages are accepted until the mailbox is full", hold_accepts_until_it_is_full},
    {"drop_oldest: the oldest make room", drop_oldest_makes_room},
    {"drop_oldest: a large message finds room", drop_oldest_makes_room_for_a_large_one},
    {"drop_oldest: who waits already is told", drop_oldest_tells_who_waits_already},
    {"drop_oldest: nobody is told of room that is not there",
     drop_oldest_tells_of_no_room_that_is_not},
    {"heartbeats are spread by a tenth either way", intervals_are_spread},
    {"load does not hide a dead connection", load_does_not_hide_a_dead_connection},
};

CHECK_MAIN("health of peers", tests)
