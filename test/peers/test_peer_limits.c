/* SPDX-License-Identifier: Apache-2.0
 *
 * Limits that differ between two nodes, sessions beyond the bound, and other corners where
 * a message once got the wrong result, or none.
 */
#include "test/peers/nodes.h"

/* ---- Payloads at the limit of nesting, whichever worker owns the session ---- */

static void nested_payload(char *payload, size_t depth)
{
    char *at = payload + sprintf(payload, "{\"a\":");

    for (size_t i = 1; i < depth; i++)
        *at++ = '[';
    for (size_t i = 1; i < depth; i++)
        *at++ = ']';
    at[0] = '}';
    at[1] = '\0';
}

static void deepest_payload_everywhere(parley_preference preference)
{
    enum { PEERS = 24 };
    struct tally tally = TALLY_INIT;
    char payload[128], id[32];
    parley_options options;
    parley *receiver, *sender;

    node_options(&options, "receiver");
    options.listen_host = "127.0.0.1";
    options.workers = 4;
    receiver = node_open(&options);
    node_options(&options, "sender");
    sender = node_open(&options);
    nested_payload(payload, options.json_depth_max);
    for (unsigned round = 0; round < 2; round++) {
        for (unsigned i = 0; i < PEERS; i++) {
            parley_peer peer;

            snprintf(id, sizeof(id), "peer-%u", i);
            if (parley_peer_find(sender, id, &peer) != PARLEY_OK)
                peer = peer_to(sender, receiver, id, preference);
            CHECK_STATUS(post(sender, peer, payload, &tally), OK);
            if (round == 0)
                parley_disconnect(sender, peer); /* the next one may meet another worker */
        }
        CHECK(check_wait(&tally.results, (uint64_t)PEERS * (round + 1)));
    }
    CHECK_U64(tally.outcomes[PARLEY_DELIVERED], 2 * PEERS);
    nested_payload(payload, options.json_depth_max + 1);
    CHECK_STATUS(post(sender, (parley_peer){1}, payload, &tally), EINVAL);
    CHECK_STATUS(parley_close(sender), OK);
    CHECK_STATUS(parley_close(receiver), OK);
}

static void deepest_payload_over_websocket(void)
{
    deepest_payload_everywhere(PARLEY_WEBSOCKET_ONLY);
}

static void deepest_payload_over_http(void)
{
    deepest_payload_everywhere(PARLEY_HTTP_ONLY);
}

/* ---- A message that the other side cannot read ---- */

static void unreadable_message_is_isolated(void)
{
    struct tally tally = TALLY_INIT;
    parley_options options;
    parley *receiver = receiver_open(0, true), *sender;
    char payload[160];
    parley_peer peer;

    node_options(&options, "sender");
    options.json_depth_max = 64;
    options.reconnect_min_ms = 10;
    sender = node_open(&options);
    peer = peer_to(sender, receiver, "receiver", PARLEY_WEBSOCKET_ONLY);
    nested_payload(payload, 60);
    CHECK_STATUS(post(sender, peer, "{\"good\":1}", &tally), OK);
    CHECK_STATUS(post(sender, peer, payload, &tally), OK);
    CHECK_STATUS(post(sender, peer, "{\"good\":2}", &tally), OK);
    CHECK(check_wait(&tally.results, 3));
    CHECK_U64(tally.outcomes[PARLEY_DELIVERED], 2);
    CHECK_U64(tally.outcomes[PARLEY_REJECTED], 1);
    CHECK_STATUS(parley_close(sender), OK);
    CHECK_STATUS(parley_close(receiver), OK);
}

static void small_messages_in_large_batches(void)
{
    struct tally tally = TALLY_INIT;
    parley_options options;
    parley *receiver, *sender;
    parley_peer peer;
    char large[4096];

    node_options(&options, "receiver");
    options.listen_host = "127.0.0.1";
    options.message_bytes_max = 2048; /* less than a batch */
    options.transfer_bytes_max = 2048;
    receiver = node_open(&options);
    node_options(&options, "sender");
    sender = node_open(&options);
    peer = peer_to(sender, receiver, "receiver", PARLEY_WEBSOCKET_ONLY);
    for (unsigned n = 0; n < 500; n++)
        post_numbered(sender, peer, 0, n, &tally);
    memset(large, ' ', sizeof(large));
    large[0] = '{';
    large[sizeof(large) - 2] = '}';
    large[sizeof(large) - 1] = '\0';
    CHECK_STATUS(post(sender, peer, large, &tally), OK);
    CHECK(check_wait(&tally.results, 501));
    CHECK_U64(tally.outcomes[PARLEY_DELIVERED], 500);
    CHECK_U64(tally.outcomes[PARLEY_REJECTED], 1); /* each message has its own limit */
    CHECK_STATUS(parley_close(sender), OK);
    CHECK_STATUS(parley_close(receiver), OK);
}

/* ---- More senders than guests_max ---- */

static void strangers_take_turns(void)
{
    enum { SENDERS = 40 };
    struct tally tally = TALLY_INIT;
    parley_stats stats = {.size = sizeof(stats)};
    parley_options options;
    parley *receiver, *sender;
    char id[32];

    node_options(&options, "receiver");
    options.listen_host = "127.0.0.1";
    options.guests_max = 8;
    options.workers = 1;
    receiver = node_open(&options);
    node_options(&options, "sender");
    sender = node_open(&options);
    for (unsigned i = 0; i < SENDERS; i++) { /* each peer is a session of its own */
        snprintf(id, sizeof(id), "peer-%u", i);
        post_numbered(sender, peer_to(sender, receiver, id, PARLEY_HTTP_ONLY), 0, i, &tally);
        CHECK(check_wait(&tally.results, i + 1));
    }
    CHECK_U64(tally.outcomes[PARLEY_DELIVERED], SENDERS);
    CHECK_STATUS(parley_stats_get(receiver, &stats), OK);
    CHECK(stats.inbound_sessions <= 8);
    CHECK_STATUS(parley_close(sender), OK);
    CHECK_STATUS(parley_close(receiver), OK);
}

static void known_peers_are_always_admitted(void)
{
    struct tally tally = TALLY_INIT;
    parley_options options;
    parley *receiver, *sender;
    parley_peer peers[4], ignored;
    char id[32];

    node_options(&options, "receiver");
    options.listen_host = "127.0.0.1";
    options.guests_max = 1;
    receiver = node_open(&options);
    CHECK_STATUS(parley_peer_add(receiver, "sender", NULL, NULL, &ignored), OK);
    node_options(&options, "sender");
    sender = node_open(&options);
    for (unsigned i = 0; i < 4; i++) { /* all connected at once */
        snprintf(id, sizeof(id), "peer-%u", i);
        peers[i] = peer_to(sender, receiver, id, PARLEY_WEBSOCKET_ONLY);
        post_numbered(sender, peers[i], 0, i, &tally);
    }
    CHECK(check_wait(&tally.results, 4));
    CHECK_U64(tally.outcomes[PARLEY_DELIVERED], 4);
    CHECK_STATUS(parley_close(sender), OK);
    CHECK_STATUS(parley_close(receiver), OK);
}

static parley_verdict finish_later(const parley_incoming *message, char *detail, void *user)
{
    (void)message;
    (void)detail;
    atomic_fetch_add((_Atomic(uint64_t) *)user, 1);
    return PARLEY_LATER;
}

static bool connections_gone(void *user)
{
    parley_stats stats = {.size = sizeof(stats)};

    return parley_stats_get(user, &stats) == PARLEY_OK && stats.ws_connections == 0;
}

static void owed_answers_are_not_forgotten(void)
{
    _Atomic(uint64_t) began = 0;
    struct tally later = TALLY_INIT, other = TALLY_INIT;
    parley_options options;
    parley *receiver, *sender;
    parley_peer first;

    node_options(&options, "receiver");
    options.listen_host = "127.0.0.1";
    options.guests_max = 1;
    options.workers = 1;
    receiver = node_open(&options);
    parley_on_message(receiver, NULL, finish_later, &began);
    node_options(&options, "sender");
    options.http_backoff_ms = 1;
    sender = node_open(&options);
    first = peer_to(sender, receiver, "first", PARLEY_WEBSOCKET_ONLY);
    CHECK_STATUS(post(sender, first, "{}", &later), OK);
    CHECK(check_wait(&began, 1));
    CHECK_STATUS(parley_disconnect(sender, first), OK);
    CHECK(check_until(connections_gone, receiver));
    post(sender, peer_to(sender, receiver, "second", PARLEY_HTTP_ONLY), "{}", &other);
    CHECK(check_wait(&other.results, 1));
    CHECK_U64(other.outcomes[PARLEY_EXHAUSTED], 1); /* 503: the one session is in use */
    CHECK_STATUS(parley_connect(sender, first), OK);
    CHECK_U64(began, 1);
    CHECK_STATUS(parley_close(sender), OK);
    CHECK_STATUS(parley_close(receiver), OK);
    CHECK_U64(began, 1);
}

static void unreadable_carried_message_is_isolated(void)
{
    struct tally tally = TALLY_INIT, unused = TALLY_INIT;
    parley_options options;
    parley *server, *client;
    char payload[160];
    parley_peer to_client, to_server;

    node_options(&options, "server");
    options.listen_host = "127.0.0.1";
    server = node_open(&options);
    CHECK_STATUS(parley_peer_add(server, "client", NULL, NULL, &to_client), OK);
    node_options(&options, "client");
    options.json_depth_max = 4;
    options.reconnect_min_ms = 10;
    client = node_open(&options);
    to_server = peer_to(client, server, "server", PARLEY_WEBSOCKET_ONLY);
    nested_payload(payload, 20);
    CHECK_STATUS(post(server, to_client, "{\"good\":1}", &tally), OK);
    CHECK_STATUS(post(server, to_client, payload, &tally), OK);
    CHECK_STATUS(post(server, to_client, "{\"good\":2}", &tally), OK);
    CHECK_STATUS(post(client, to_server, "{}", &unused), OK);
    CHECK(check_wait(&tally.results, 3));
    CHECK_U64(tally.outcomes[PARLEY_DELIVERED], 2);
    CHECK_U64(tally.outcomes[PARLEY_REJECTED], 1);
    CHECK_STATUS(parley_close(client), OK);
    CHECK_STATUS(parley_close(server), OK);
}

static void closing_with_requests_under_way(void)
{
    enum { PEERS = 20 };
    _Atomic(uint64_t) began = 0;
    struct tally tally = TALLY_INIT;
    parley *receiver = receiver_open(0, true), *sender;
    parley_options options;
    char id[32];

    parley_on_message(receiver, NULL, finish_later, &began);
    node_options(&options, "sender");
    sender = node_open(&options);
    for (unsigned i = 0; i < PEERS; i++) {
        snprintf(id, sizeof(id), "peer-%u", i);
        post(sender, peer_to(sender, receiver, id, PARLEY_HTTP_ONLY), "{}", &tally);
    }
    CHECK(check_wait(&began, PEERS));
    CHECK_STATUS(parley_close(receiver), OK); /* its clients keep their connections open */
    CHECK_STATUS(parley_close(sender), OK);
    CHECK_U64(tally.results, PEERS);
}

/* ---- Handlers, health, broadcast, closing ---- */

static void handler_is_there_from_the_start(void)
{
    struct tally tally = TALLY_INIT;
    struct seen seen = {0};
    parley_options options;
    parley *receiver, *sender;

    node_options(&options, "receiver");
    options.listen_host = "127.0.0.1";
    options.on_message = seen_handler;
    options.on_message_user = &seen;
    receiver = node_open(&options);
    node_options(&options, "sender");
    sender = node_open(&options);
    post_numbered(sender, peer_to(sender, receiver, "receiver", PARLEY_HTTP_ONLY), 0, 0,
                  &tally);
    CHECK(check_wait(&tally.results, 1));
    CHECK_U64(seen.handled, 1);
    CHECK_STATUS(parley_close(sender), OK);
    CHECK_STATUS(parley_close(receiver), OK);
}

static void on_unhealthy(parley_peer peer, const char *id, parley_peer_state state,
                         bool healthy, const char *reason, void *user)
{
    (void)peer;
    (void)id;
    (void)state;
    (void)reason;
    if (!healthy)
        atomic_fetch_add((_Atomic(uint64_t) *)user, 1);
}

static void unhealthy_http_peer_is_told(void)
{
    _Atomic(uint64_t) unhealthy = 0;
    struct tally tally = TALLY_INIT;
    parley_peer_options peer_options;
    parley_options options;
    parley_peer peer;
    parley *sender;

    node_options(&options, "sender");
    options.http_backoff_ms = 1;
    sender = node_open(&options);
    parley_on_peer_state(sender, on_unhealthy, &unhealthy);
    parley_peer_options_init(&peer_options);
    peer_options.preference = PARLEY_HTTP_ONLY;
    peer_options.preference_set = true;
    CHECK_STATUS(parley_peer_add(sender, "nobody", "http://127.0.0.1:1", &peer_options, &peer),
                 OK);
    post_numbered(sender, peer, 0, 0, &tally);
    CHECK(check_wait(&unhealthy, 1));
    CHECK_STATUS(parley_close(sender), OK);
}

static void broadcast_costs_only_its_peers(void)
{
    struct tally tally = TALLY_INIT;
    parley *receiver = receiver_open(0, true), *sender;
    parley_options options;
    parley_message message;
    size_t accepted = 0, len = 700 * 1024;
    char *payload = malloc(len);

    node_options(&options, "sender");
    options.memory_bytes_max = 1 << 20; /* room for one copy */
    sender = node_open(&options);
    peer_to(sender, receiver, "receiver", PARLEY_WEBSOCKET_FIRST);
    memset(payload, ' ', len);
    payload[0] = '{';
    payload[len - 1] = '}';
    parley_message_init(&message, "test", payload, len);
    CHECK_STATUS(parley_broadcast(sender, &message, NULL, 0, tally_result, &tally, &accepted),
                 OK);
    CHECK_U64(accepted, 1);
    CHECK(check_wait(&tally.results, 1));
    free(payload);
    CHECK_STATUS(parley_close(sender), OK);
    CHECK_STATUS(parley_close(receiver), OK);
}

struct adder {
    parley *node;
    _Atomic(uint64_t) results;
    _Atomic(uint64_t) added;
};

static void add_a_peer(const parley_result *result, void *user)
{
    struct adder *adder = user;
    parley_peer peer;
    char id[32];

    (void)result;
    snprintf(id, sizeof(id), "late-%u", (unsigned)atomic_fetch_add(&adder->results, 1));
    if (parley_peer_add(adder->node, id, "http://127.0.0.1:1", NULL, &peer) == PARLEY_OK)
        atomic_fetch_add(&adder->added, 1);
}

static void adding_while_closing(void)
{
    struct adder adder = {0};
    parley_options options;
    parley_message message;
    parley_peer peer;

    node_options(&options, "sender");
    adder.node = node_open(&options);
    parley_message_init(&message, "test", "{}", 2);
    CHECK_STATUS(parley_peer_add(adder.node, "nobody", NULL, NULL, &peer), OK);
    for (unsigned n = 0; n < 100; n++)
        CHECK_STATUS(parley_send(adder.node, peer, &message, add_a_peer, &adder, NULL), OK);
    CHECK_STATUS(parley_close(adder.node), OK);
    CHECK_U64(adder.results, 100);
    CHECK_U64(adder.added, 0);
}

static const struct check_test tests[] = {
    {"the deepest payload arrives on any worker over WebSocket",
     deepest_payload_over_websocket},
    {"the deepest payload arrives on any worker over HTTP", deepest_payload_over_http},
    {"a message the peer cannot read is rejected alone", unreadable_message_is_isolated},
    {"message_bytes_max bounds messages, not batches", small_messages_in_large_batches},
    {"strangers beyond guests_max take turns", strangers_take_turns},
    {"known peers are admitted beyond guests_max", known_peers_are_always_admitted},
    {"a session that owes an answer is not forgotten", owed_answers_are_not_forgotten},
    {"a message a carried peer cannot read is rejected alone",
     unreadable_carried_message_is_isolated},
    {"a node closes with requests under way", closing_with_requests_under_way},
    {"the options' handler is there from the start", handler_is_there_from_the_start},
    {"an unhealthy HTTP peer is told", unhealthy_http_peer_is_told},
    {"a broadcast takes memory for its peers only", broadcast_costs_only_its_peers},
    {"peers cannot be added while the runtime closes", adding_while_closing},
};

CHECK_MAIN("limits between nodes", tests)
