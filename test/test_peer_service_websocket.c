/* SPDX-License-Identifier: Apache-2.0
 *
 * The main job between two real runtimes: messages from several threads, over the
 * WebSocket and over HTTP when it must be, one true result each.
 */
#include "test/peers/nodes.h"

#define MESSAGES 5000u

struct poster {
    pthread_t thread;
    parley *sender;
    parley_peer peer;
    unsigned index;
    uint64_t messages;
    struct tally *tally;
};

static void *post_all(void *user)
{
    struct poster *poster = user;

    for (uint64_t n = 0; n < poster->messages; n++)
        post_numbered(poster->sender, poster->peer, poster->index, n, poster->tally);
    return NULL;
}

static void post_from_threads(parley *sender, parley_peer peer, unsigned threads,
                              uint64_t messages, struct tally *tally)
{
    struct poster posters[THREADS_MAX];

    for (unsigned t = 0; t < threads; t++) {
        posters[t] = (struct poster){
            .sender = sender, .peer = peer, .index = t, .messages = messages, .tally = tally};
        pthread_create(&posters[t].thread, NULL, post_all, &posters[t]);
    }
    for (unsigned t = 0; t < threads; t++)
        pthread_join(posters[t].thread, NULL);
}

static void all_arrive(parley_preference preference, bool accept_websocket,
                       parley_transport expected)
{
    struct tally tally = TALLY_INIT;
    struct seen seen = {0};
    parley_stats stats = {.size = sizeof(stats)};
    parley *receiver = receiver_open(0, accept_websocket);
    parley_options options;
    parley *sender;
    parley_peer peer;

    node_options(&options, "sender");
    sender = node_open(&options);
    parley_on_message(receiver, NULL, seen_handler, &seen);
    peer = peer_to(sender, receiver, "receiver", preference);
    post_from_threads(sender, peer, 4, MESSAGES, &tally);
    CHECK(check_wait(&tally.results, 4 * MESSAGES));
    CHECK_U64(tally.outcomes[PARLEY_DELIVERED], 4 * MESSAGES);
    CHECK_U64(tally.transports[expected], 4 * MESSAGES);
    CHECK_U64(seen.handled, 4 * MESSAGES);
    CHECK_U64(seen.violations, 0);
    CHECK_STATUS(parley_stats_get(receiver, &stats), OK);
    CHECK_U64(stats.handled, 4 * MESSAGES);
    CHECK_U64(stats.ws_connections_accepted, expected == PARLEY_TRANSPORT_WEBSOCKET ? 1 : 0);
    check_adds_up(sender);
    CHECK_STATUS(parley_close(sender), OK);
    CHECK_STATUS(parley_close(receiver), OK);
}

static void over_websocket(void)
{
    all_arrive(PARLEY_WEBSOCKET_FIRST, true, PARLEY_TRANSPORT_WEBSOCKET);
}

static void over_websocket_only(void)
{
    all_arrive(PARLEY_WEBSOCKET_ONLY, true, PARLEY_TRANSPORT_WEBSOCKET);
}

static void over_http_when_upgrades_are_refused(void)
{
    all_arrive(PARLEY_WEBSOCKET_FIRST, false, PARLEY_TRANSPORT_HTTP);
}

static void over_http_only(void)
{
    all_arrive(PARLEY_HTTP_ONLY, true, PARLEY_TRANSPORT_HTTP);
}

static void over_http_first(void)
{
    all_arrive(PARLEY_HTTP_FIRST, true, PARLEY_TRANSPORT_HTTP);
}

/* ---- Handlers ---- */

static parley_verdict refuse_odd(const parley_incoming *message, char *detail, void *user)
{
    (void)user;
    if (payload_number(message, "n") % 2 == 0)
        return PARLEY_ACCEPT;
    snprintf(detail, PARLEY_DETAIL_MAX, "odd \"%d\"", 1);
    return PARLEY_REJECT;
}

static void rejections(parley_preference preference)
{
    struct pair pair;

    pair_open(&pair, preference);
    parley_on_message(pair.receiver, "test", refuse_odd, NULL);
    for (unsigned n = 0; n < 400; n++)
        post_numbered(pair.sender, pair.peer, 0, n, &pair.tally);
    CHECK(check_wait(&pair.tally.results, 400));
    CHECK_U64(pair.tally.outcomes[PARLEY_REJECTED], 200);
    CHECK_U64(pair.tally.outcomes[PARLEY_DELIVERED], 200);
    post_numbered(pair.sender, pair.peer, 0, 401, &pair.tally);
    CHECK(check_wait(&pair.tally.results, 401));
    CHECK_TEXT(pair.tally.detail, "odd \"1\"");
    pair_close(&pair);
}

static void rejections_over_websocket(void)
{
    rejections(PARLEY_WEBSOCKET_ONLY);
}

static void rejections_over_http(void)
{
    rejections(PARLEY_HTTP_ONLY);
}

#define LATER 300u

struct later {
    parley *node;
    parley_token tokens[LATER];
    _Atomic(uint64_t) count;
};

static parley_verdict answer_later(const parley_incoming *message, char *detail, void *user)
{
    struct later *later = user;
    uint64_t n = atomic_load(&later->count);

    (void)detail;
    later->tokens[n] = message->token;
    atomic_store(&later->count, n + 1);
    return PARLEY_LATER;
}

static void late_answers(parley_preference preference)
{
    struct later later = {0};
    struct pair pair;

    pair_open(&pair, preference);
    later.node = pair.receiver;
    parley_on_message(pair.receiver, "test", answer_later, &later);
    for (unsigned n = 0; n < LATER; n++)
        post_numbered(pair.sender, pair.peer, 0, n, &pair.tally);
    for (unsigned n = 0; n < LATER; n++) { /* in no order the wire knows */
        unsigned at = n ^ 1;

        if (!CHECK(check_wait(&later.count, at + 1)))
            break;
        CHECK_STATUS(parley_message_finish(pair.receiver, later.tokens[at],
                                           at % 10 == 0 ? PARLEY_EREFUSED : PARLEY_OK,
                                           "every tenth"),
                     OK);
    }
    CHECK(check_wait(&pair.tally.results, LATER));
    CHECK_U64(pair.tally.outcomes[PARLEY_DELIVERED], LATER - LATER / 10);
    CHECK_U64(pair.tally.outcomes[PARLEY_REJECTED], LATER / 10);
    CHECK_U64(later.count, LATER);
    CHECK_STATUS(
        parley_message_finish(pair.receiver, (parley_token){12345, 1}, PARLEY_OK, NULL),
        EUNKNOWN);
    pair_close(&pair);
}

static void late_answers_over_websocket(void)
{
    late_answers(PARLEY_WEBSOCKET_ONLY);
}

/* ---- Failure ---- */

static void unreachable(parley_preference preference, uint32_t ttl_ms, parley_outcome expected)
{
    struct tally tally = TALLY_INIT;
    parley_peer_options peer_options;
    parley_options options;
    parley_peer peer;
    parley *sender;

    node_options(&options, "sender");
    options.http_backoff_ms = 5;
    options.reconnect_min_ms = 5;
    options.breaker_failures = 0; /* each message uses up its attempts at once */
    sender = node_open(&options);
    parley_peer_options_init(&peer_options);
    peer_options.preference = preference;
    peer_options.preference_set = true;
    peer_options.ttl_ms = ttl_ms;
    CHECK_STATUS(parley_peer_add(sender, "nobody", "http://127.0.0.1:1", &peer_options, &peer),
                 OK);
    for (unsigned n = 0; n < 5; n++)
        post_numbered(sender, peer, 0, n, &tally);
    CHECK(check_wait(&tally.results, 5));
    CHECK_U64(tally.outcomes[expected], 5);
    check_adds_up(sender);
    CHECK_STATUS(parley_close(sender), OK);
}

static void unreachable_exhausts(void)
{
    unreachable(PARLEY_WEBSOCKET_FIRST, 20000, PARLEY_EXHAUSTED);
    unreachable(PARLEY_HTTP_ONLY, 20000, PARLEY_EXHAUSTED);
    unreachable(PARLEY_HTTP_FIRST, 20000, PARLEY_EXHAUSTED);
}

static void websocket_only_expires(void)
{
    unreachable(PARLEY_WEBSOCKET_ONLY, 100, PARLEY_EXPIRED);
}

static void survives_a_restart(parley_preference preference)
{
    struct seen after = {0};
    struct pair pair;
    uint16_t port;

    pair_open(&pair, preference);
    port = parley_port(pair.receiver);
    for (unsigned n = 0; n < 1000; n++)
        post_numbered(pair.sender, pair.peer, 0, n, &pair.tally);
    CHECK(check_wait(&pair.tally.results, 1000));
    CHECK_STATUS(parley_close(pair.receiver), OK);
    for (unsigned n = 1000; n < 2000; n++)
        post_numbered(pair.sender, pair.peer, 0, n, &pair.tally);
    pair.receiver = receiver_open(port, true);
    after.next[0] = 1000;
    parley_on_message(pair.receiver, NULL, seen_handler, &after);
    CHECK(check_wait(&pair.tally.results, 2000));
    CHECK_U64(pair.tally.outcomes[PARLEY_DELIVERED], 2000);
    CHECK_U64(pair.seen.violations, 0);
    pair_close(&pair);
}

static void websocket_survives_a_restart(void)
{
    survives_a_restart(PARLEY_WEBSOCKET_ONLY);
}

static _Atomic(uint64_t) states_seen[PARLEY_PEER_BACKOFF + 1];

static void on_state(parley_peer peer, const char *id, parley_peer_state state, bool healthy,
                     const char *reason, void *user)
{
    (void)peer;
    (void)healthy;
    (void)reason;
    (void)user;
    CHECK_TEXT(id, "receiver");
    atomic_fetch_add(&states_seen[state], 1);
}

static void explicit_connection(void)
{
    struct pair pair;

    memset(states_seen, 0, sizeof(states_seen));
    pair_open(&pair, PARLEY_WEBSOCKET_FIRST);
    CHECK_STATUS(parley_on_peer_state(pair.sender, on_state, NULL), OK);
    CHECK_STATUS(parley_connect(pair.sender, pair.peer), OK);
    CHECK(check_wait(&states_seen[PARLEY_PEER_OPEN], 1));
    CHECK_U64(states_seen[PARLEY_PEER_CONNECTING], 1);
    CHECK_STATUS(parley_disconnect(pair.sender, pair.peer), OK);
    CHECK(check_wait(&states_seen[PARLEY_PEER_IDLE], 1));
    post_numbered(pair.sender, pair.peer, 0, 0, &pair.tally);
    CHECK(check_wait(&pair.tally.results, 1));
    CHECK_U64(pair.tally.outcomes[PARLEY_DELIVERED], 1);
    pair_close(&pair);
}

static void connect_is_refused_where_forbidden(void)
{
    struct pair pair;

    pair_open(&pair, PARLEY_HTTP_ONLY);
    CHECK_STATUS(parley_connect(pair.sender, pair.peer), EREFUSED);
    CHECK_STATUS(parley_connect(pair.sender, (parley_peer){0}), EUNKNOWN);
    pair_close(&pair);
}

static void hints(void)
{
    parley_message message;
    struct pair pair;

    pair_open(&pair, PARLEY_WEBSOCKET_FIRST);
    parley_message_init(&message, "test", "{\"t\":0,\"n\":0}", 13);
    message.hint = PARLEY_HINT_HTTP;
    CHECK_STATUS(
        parley_send(pair.sender, pair.peer, &message, tally_result, &pair.tally, NULL), OK);
    CHECK(check_wait(&pair.tally.results, 1));
    CHECK_U64(pair.tally.transports[PARLEY_TRANSPORT_HTTP], 1);
    post_numbered(pair.sender, pair.peer, 0, 1, &pair.tally);
    CHECK(check_wait(&pair.tally.results, 2));
    CHECK_U64(pair.tally.transports[PARLEY_TRANSPORT_WEBSOCKET], 1);
    for (unsigned n = 2; n < 200; n++) { /* back and forth: the order holds */
        char payload[64];

        snprintf(payload, sizeof(payload), "{\"t\":0,\"n\":%u}", n);
        parley_message_init(&message, "test", payload, strlen(payload));
        message.hint = n % 3 == 0 ? PARLEY_HINT_HTTP : PARLEY_HINT_NONE;
        CHECK_STATUS(
            parley_send(pair.sender, pair.peer, &message, tally_result, &pair.tally, NULL),
            OK);
    }
    CHECK(check_wait(&pair.tally.results, 200));
    CHECK_U64(pair.seen.violations, 0);
    CHECK_U64(pair.tally.outcomes[PARLEY_DELIVERED], 200);
    pair_close(&pair);
}

/* ---- Ending ---- */

static parley_verdict never_answers(const parley_incoming *message, char *detail, void *user)
{
    (void)message;
    (void)detail;
    atomic_fetch_add((_Atomic(uint64_t) *)user, 1);
    return PARLEY_LATER;
}

static void removal_cancels(void)
{
    _Atomic(uint64_t) began = 0;
    struct pair pair;
    parley_peer again;

    pair_open(&pair, PARLEY_WEBSOCKET_ONLY);
    parley_on_message(pair.receiver, "test", never_answers, &began);
    for (unsigned n = 0; n < 100; n++)
        post_numbered(pair.sender, pair.peer, 0, n, &pair.tally);
    CHECK(check_wait(&began, 100));
    CHECK_STATUS(parley_peer_remove(pair.sender, pair.peer), OK);
    CHECK(check_wait(&pair.tally.results, 100));
    CHECK_U64(pair.tally.outcomes[PARLEY_CANCELLED], 100);
    CHECK_STATUS(post(pair.sender, pair.peer, "{}", &pair.tally), ECLOSED);
    CHECK_STATUS(parley_peer_remove(pair.sender, pair.peer), EUNKNOWN);
    again = peer_to(pair.sender, pair.receiver, "receiver", PARLEY_WEBSOCKET_ONLY);
    CHECK(again.value != pair.peer.value);
    CHECK_STATUS(post(pair.sender, pair.peer, "{}", &pair.tally), ECLOSED);
    pair_close(&pair);
}

static void close_cancels(void)
{
    _Atomic(uint64_t) began = 0;
    struct pair pair;
    size_t left = 0;

    pair_open(&pair, PARLEY_WEBSOCKET_ONLY);
    parley_on_message(pair.receiver, "test", never_answers, &began);
    for (unsigned n = 0; n < 100; n++)
        post_numbered(pair.sender, pair.peer, 0, n, &pair.tally);
    CHECK(check_wait(&began, 100));
    CHECK_STATUS(parley_drain(pair.sender, 1, &left), ETIMEDOUT);
    CHECK_U64(left, 100);
    CHECK_STATUS(post(pair.sender, pair.peer, "{}", &pair.tally), ECLOSED);
    pair_close(&pair);
    CHECK_U64(pair.tally.outcomes[PARLEY_CANCELLED], 100);
}

static void drain_finishes(void)
{
    struct pair pair;
    size_t left = 1;

    pair_open(&pair, PARLEY_WEBSOCKET_FIRST);
    for (unsigned n = 0; n < 2000; n++)
        post_numbered(pair.sender, pair.peer, 0, n, &pair.tally);
    CHECK_STATUS(parley_drain(pair.sender, 20000, &left), OK);
    CHECK_U64(left, 0);
    CHECK_U64(pair.tally.outcomes[PARLEY_DELIVERED], 2000);
    pair_close(&pair);
}

static _Atomic(uint64_t) writable_calls;

static void on_writable(parley_peer peer, void *user)
{
    (void)peer;
    (void)user;
    atomic_fetch_add(&writable_calls, 1);
}

static void full_mailbox(void)
{
    parley_peer_options peer_options;
    struct pair pair;
    parley_peer peer;
    unsigned posted = 0;
    char url[64];

    pair_open(&pair, PARLEY_WEBSOCKET_ONLY);
    atomic_store(&writable_calls, 0);
    parley_on_writable(pair.sender, on_writable, NULL);
    url_of(pair.receiver, url, sizeof(url));
    parley_peer_options_init(&peer_options);
    peer_options.mailbox_messages_max = 10;
    CHECK_STATUS(parley_peer_add(pair.sender, "small", url, &peer_options, &peer), OK);
    for (unsigned n = 0; n < 1000 && atomic_load(&writable_calls) == 0; n++) {
        parley_status status = post(pair.sender, peer, "{}", &pair.tally);

        if (status == PARLEY_OK)
            posted++;
        else
            CHECK_STATUS(status, EAGAIN);
    }
    CHECK(check_wait(&writable_calls, 1));
    CHECK(check_wait(&pair.tally.results, posted));
    CHECK_U64(pair.tally.outcomes[PARLEY_DELIVERED], posted);
    pair_close(&pair);
}

static void broadcast_reaches_all_but(void)
{
    struct pair pair;
    parley_peer second, third;
    parley_message message;
    size_t accepted = 0;

    pair_open(&pair, PARLEY_WEBSOCKET_FIRST);
    second = peer_to(pair.sender, pair.receiver, "second", PARLEY_HTTP_ONLY);
    third = peer_to(pair.sender, pair.receiver, "third", PARLEY_WEBSOCKET_ONLY);
    (void)third;
    parley_message_init(&message, "test", "{}", 2);
    CHECK_STATUS(parley_broadcast(pair.sender, &message, &second, 1, tally_result, &pair.tally,
                                  &accepted),
                 OK);
    CHECK_U64(accepted, 2);
    CHECK(check_wait(&pair.tally.results, 2));
    CHECK_U64(pair.tally.transports[PARLEY_TRANSPORT_WEBSOCKET], 2);
    pair_close(&pair);
}

/* ---- Many ---- */

static void many_peers(void)
{
    enum { PEERS = 300, EACH = 20 };
    struct pair pair;
    parley_peer peers[PEERS];
    char id[32];

    pair_open(&pair, PARLEY_WEBSOCKET_FIRST);
    for (unsigned i = 0; i < PEERS; i++) {
        snprintf(id, sizeof(id), "peer-%u", i);
        peers[i] = peer_to(pair.sender, pair.receiver, id,
                           i % 3 == 0 ? PARLEY_HTTP_ONLY : PARLEY_WEBSOCKET_ONLY);
    }
    for (unsigned n = 0; n < EACH; n++) {
        for (unsigned i = 0; i < PEERS; i++)
            post_numbered(pair.sender, peers[i], THREADS_MAX, n, &pair.tally);
    }
    CHECK(check_wait(&pair.tally.results, PEERS * EACH));
    CHECK_U64(pair.tally.outcomes[PARLEY_DELIVERED], PEERS * EACH);
    CHECK_U64(pair.tally.transports[PARLEY_TRANSPORT_HTTP], PEERS / 3 * EACH);
    CHECK_U64(pair.seen.handled, PEERS * EACH);
    check_adds_up(pair.sender);
    pair_close(&pair);
}

static const struct check_test tests[] = {
    {"four threads' messages arrive once and in order over WebSocket", over_websocket},
    {"websocket_only delivers over WebSocket", over_websocket_only},
    {"refused upgrades lead to HTTP", over_http_when_upgrades_are_refused},
    {"http_only opens no WebSocket", over_http_only},
    {"http_first delivers over HTTP", over_http_first},
    {"rejections carry their reason over WebSocket", rejections_over_websocket},
    {"rejections carry their reason over HTTP", rejections_over_http},
    {"handlers may answer later, in any order", late_answers_over_websocket},
    {"an unreachable peer exhausts its attempts", unreachable_exhausts},
    {"websocket_only waits until the deadline", websocket_only_expires},
    {"a restarted receiver gets what it missed", websocket_survives_a_restart},
    {"connect and disconnect are observable", explicit_connection},
    {"connect is refused where WebSocket is forbidden", connect_is_refused_where_forbidden},
    {"hints choose the transport and keep the order", hints},
    {"removing a peer cancels what is pending", removal_cancels},
    {"closing a runtime cancels what is pending", close_cancels},
    {"draining waits for every result", drain_finishes},
    {"a full mailbox says so and tells when it is not", full_mailbox},
    {"broadcast reaches every peer but the excepted", broadcast_reaches_all_but},
    {"300 peers over both transports", many_peers},
};

CHECK_MAIN("peer service", tests)
