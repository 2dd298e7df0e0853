/* SPDX-License-Identifier: Apache-2.0
 *
 * Two nodes of ours that speak the older dialect with each other, both ways over one
 * WebSocket: because the server offers no parley/1, or because the client is told not to.
 */
#include "test/peers/nodes.h"

#define MESSAGES 60u

struct couple {
    parley *server, *client;
    parley_peer to_client, to_server;
    struct tally up, down;
    struct seen at_client, at_server;
};

static void couple_open_with(struct couple *couple, bool offered, parley_options *both,
                             uint32_t client_room, parley_preference preference)
{
    parley_options options = *both;
    parley_peer_options peer, to_client;
    char url[64];

    memset(couple, 0, sizeof(*couple));
    pthread_mutex_init(&couple->up.mutex, NULL);
    pthread_mutex_init(&couple->down.mutex, NULL);
    options.node_id = "server";
    options.listen_host = "127.0.0.1";
    options.parley_protocol = offered;
    couple->server = node_open(&options);
    options = *both;
    options.node_id = "client";
    options.in_flight_max = client_room;
    options.reconnect_min_ms = 20;
    couple->client = node_open(&options);
    parley_on_message(couple->client, NULL, seen_handler, &couple->at_client);
    parley_on_message(couple->server, NULL, seen_handler, &couple->at_server);
    parley_peer_options_init(&to_client);
    to_client.pace = false;
    parley_peer_options_init(&peer);
    peer.preference = preference;
    peer.preference_set = true;
    peer.pace = false;
    peer.dialect = offered ? PARLEY_DIALECT_MANAGER : PARLEY_DIALECT_AUTO;
    url_of(couple->server, url, sizeof(url));
    CHECK_STATUS(parley_peer_add(couple->client, "server", url, &peer, &couple->to_server),
                 OK);
    CHECK_STATUS(
        parley_peer_add(couple->server, "client", NULL, &to_client, &couple->to_client), OK);
}

static void couple_open(struct couple *couple, bool offered)
{
    parley_options options;

    node_options(&options, "");
    couple_open_with(couple, offered, &options, options.in_flight_max, PARLEY_WEBSOCKET_ONLY);
}

static void couple_close(struct couple *couple)
{
    CHECK_STATUS(parley_close(couple->client), OK);
    CHECK_STATUS(parley_close(couple->server), OK);
}

static parley_verdict refuse(const parley_incoming *message, char *detail, void *user)
{
    (void)message, (void)user;
    snprintf(detail, PARLEY_DETAIL_MAX, "no");
    return PARLEY_REJECT;
}

static void both_ways(bool offered)
{
    struct couple couple;

    couple_open(&couple, offered);
    for (unsigned n = 0; n < MESSAGES; n++) {
        CHECK_STATUS(post_numbered(couple.client, couple.to_server, 0, n, &couple.up), OK);
        CHECK_STATUS(post_numbered(couple.server, couple.to_client, 0, n, &couple.down), OK);
    }
    CHECK(check_wait(&couple.up.results, MESSAGES));
    CHECK(check_wait(&couple.down.results, MESSAGES));
    CHECK_U64(couple.up.outcomes[PARLEY_DELIVERED], MESSAGES);
    CHECK_U64(couple.down.outcomes[PARLEY_DELIVERED], MESSAGES);
    CHECK_U64(couple.up.transports[PARLEY_TRANSPORT_WEBSOCKET], MESSAGES);
    CHECK_U64(couple.at_server.handled, MESSAGES);
    CHECK_U64(couple.at_client.handled, MESSAGES);
    CHECK_U64(couple.at_server.violations + couple.at_client.violations, 0);
    parley_on_message(couple.server, NULL, refuse, NULL);
    parley_on_message(couple.client, NULL, refuse, NULL);
    for (unsigned n = 0; n < 20; n++) {
        post_numbered(couple.client, couple.to_server, 0, n, &couple.up);
        post_numbered(couple.server, couple.to_client, 0, n, &couple.down);
    }
    CHECK(check_wait(&couple.up.results, MESSAGES + 20));
    CHECK(check_wait(&couple.down.results, MESSAGES + 20));
    CHECK_U64(couple.up.outcomes[PARLEY_REJECTED], 20);
    CHECK_U64(couple.down.outcomes[PARLEY_REJECTED], 20);
    CHECK_TEXT(couple.up.detail, "Handler error: no");
    couple_close(&couple);
}

static void without_parley_at_the_server(void)
{
    both_ways(false);
}

static void by_the_clients_choice(void)
{
    both_ways(true);
}

/* What the connection took down with it goes out again, and is not run again. */
static void across_reconnects(void)
{
    struct couple couple;
    uint64_t posted = 0;

    couple_open(&couple, false);
    for (unsigned round = 0; round < 5; round++) {
        CHECK_STATUS(parley_connect(couple.client, couple.to_server), OK);
        for (unsigned n = 0; n < MESSAGES; n++)
            post_numbered(couple.client, couple.to_server, 0, posted++, &couple.up);
        CHECK(check_wait(&couple.up.results, posted - MESSAGES / 2));
        CHECK_STATUS(parley_disconnect(couple.client, couple.to_server), OK);
    }
    CHECK_STATUS(parley_connect(couple.client, couple.to_server), OK);
    CHECK(check_wait(&couple.up.results, posted));
    CHECK_U64(couple.up.outcomes[PARLEY_DELIVERED], posted);
    CHECK_U64(couple.at_server.handled, posted);
    CHECK_U64(couple.at_server.violations, 0);
    couple_close(&couple);
}

/* Owes the answer to {"n":0} of either, takes all others. */
static parley_verdict owe_first(const parley_incoming *message, char *detail, void *user)
{
    parley_verdict verdict = seen_handler(message, detail, user);

    return payload_number(message, "n") == 0 ? PARLEY_LATER : verdict;
}

/* Far more come after it than may be unanswered. */
static void owing_open(struct couple *couple, parley_preference preference)
{
    parley_options options;

    node_options(&options, "");
    options.in_flight_max = 8;
    options.ack_timeout_ms = 200;
    options.http_timeout_ms = 300;
    options.http_attempts = 1;
    couple_open_with(couple, false, &options, options.in_flight_max, preference);
    parley_on_message(couple->client, NULL, owe_first, &couple->at_client);
    parley_on_message(couple->server, NULL, owe_first, &couple->at_server);
}

static void check_owed(struct tally *tally, struct seen *seen, parley_outcome first)
{
    CHECK(check_wait(&tally->results, MESSAGES));
    CHECK_U64(tally->outcomes[first], 1);
    CHECK_U64(tally->outcomes[PARLEY_DELIVERED], MESSAGES - 1);
    CHECK_U64(seen->handled, MESSAGES);
    CHECK_U64(seen->violations, 0);
}

static void post_all(parley *node, parley_peer peer, struct tally *tally)
{
    for (unsigned n = 0; n < MESSAGES; n++)
        CHECK_STATUS(post_numbered(node, peer, 0, n, tally), OK);
}

/* It ends as sent, and the rest goes on. */
static void one_that_is_never_answered(void)
{
    struct couple couple;

    owing_open(&couple, PARLEY_WEBSOCKET_ONLY);
    post_all(couple.client, couple.to_server, &couple.up);
    check_owed(&couple.up, &couple.at_server, PARLEY_SENT);
    post_all(couple.server, couple.to_client, &couple.down);
    check_owed(&couple.down, &couple.at_client, PARLEY_SENT);
    couple_close(&couple);
}

static void one_that_is_never_answered_over_http(void)
{
    struct couple couple;

    owing_open(&couple, PARLEY_HTTP_ONLY);
    post_all(couple.client, couple.to_server, &couple.up);
    check_owed(&couple.up, &couple.at_server, PARLEY_EXHAUSTED);
    couple_close(&couple);
}

#define ROOM 4u

struct late {
    struct seen seen;
    _Atomic(uint64_t) come; /* tokens[] up to here */
    parley_token tokens[MESSAGES];
};

static parley_verdict answer_later(const parley_incoming *message, char *detail, void *user)
{
    struct late *late = user;
    uint64_t at = atomic_load(&late->come);

    seen_handler(message, detail, &late->seen);
    if (at < MESSAGES)
        late->tokens[at] = message->token;
    atomic_fetch_add(&late->come, 1);
    return PARLEY_LATER;
}

static bool has_resent(void *node)
{
    parley_stats stats = {.size = sizeof(stats)};

    return parley_stats_get(node, &stats) == PARLEY_OK && stats.resent > 0;
}

/* The receiver has no room for what follows the first ones: none of it may be overtaken, for
 * by the old rule that would close it. */
static void turned_away_and_not_overtaken(void)
{
    struct late late = {.come = 0};
    parley_options options;
    struct couple couple;

    node_options(&options, "");
    options.in_flight_max = ROOM;
    couple_open_with(&couple, false, &options, 64, PARLEY_WEBSOCKET_ONLY);
    parley_on_message(couple.server, NULL, answer_later, &late);
    for (unsigned n = 0; n < 3 * ROOM; n++)
        CHECK_STATUS(post_numbered(couple.client, couple.to_server, 0, n, &couple.up), OK);
    CHECK(check_wait(&late.come, ROOM));
    CHECK(check_until(has_resent, couple.client));
    for (unsigned n = 0; n < 3 * ROOM; n++) {
        CHECK(check_wait(&late.come, n + 1));
        parley_message_finish(couple.server, late.tokens[n], PARLEY_OK, NULL);
    }
    CHECK(check_wait(&couple.up.results, 3 * ROOM));
    CHECK_U64(couple.up.outcomes[PARLEY_DELIVERED], 3 * ROOM);
    CHECK_U64(late.seen.handled, 3 * ROOM);
    CHECK_U64(late.seen.violations, 0);
    couple_close(&couple);
}

static const struct check_test tests[] = {
    {"what there is no room for is not overtaken", turned_away_and_not_overtaken},
    {"one that is never answered ends as sent, and the rest goes on",
     one_that_is_never_answered},
    {"and over HTTP", one_that_is_never_answered_over_http},
    {"two nodes speak as client and older server", without_parley_at_the_server},
    {"a client that is told to speaks to a parley as to an older server",
     by_the_clients_choice},
    {"messages between them survive lost connections, once each", across_reconnects},
};

CHECK_MAIN("nodes in the older dialect", tests)
