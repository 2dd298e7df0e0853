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

static void couple_open(struct couple *couple, bool offered)
{
    parley_options options;
    parley_peer_options peer, to_client;
    char url[64];

    memset(couple, 0, sizeof(*couple));
    pthread_mutex_init(&couple->up.mutex, NULL);
    pthread_mutex_init(&couple->down.mutex, NULL);
    node_options(&options, "server");
    options.listen_host = "127.0.0.1";
    options.parley_protocol = offered;
    couple->server = node_open(&options);
    node_options(&options, "client");
    options.reconnect_min_ms = 20;
    couple->client = node_open(&options);
    parley_on_message(couple->client, NULL, seen_handler, &couple->at_client);
    parley_on_message(couple->server, NULL, seen_handler, &couple->at_server);
    parley_peer_options_init(&to_client);
    to_client.pace = false;
    parley_peer_options_init(&peer);
    peer.preference = PARLEY_WEBSOCKET_ONLY;
    peer.preference_set = true;
    peer.pace = false;
    peer.dialect = offered ? PARLEY_DIALECT_MANAGER : PARLEY_DIALECT_AUTO;
    url_of(couple->server, url, sizeof(url));
    CHECK_STATUS(parley_peer_add(couple->client, "server", url, &peer, &couple->to_server),
                 OK);
    CHECK_STATUS(
        parley_peer_add(couple->server, "client", NULL, &to_client, &couple->to_client), OK);
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

static const struct check_test tests[] = {
    {"two nodes speak as client and older server", without_parley_at_the_server},
    {"a client that is told to speaks to a parley as to an older server",
     by_the_clients_choice},
    {"messages between them survive lost connections, once each", across_reconnects},
};

CHECK_MAIN("nodes in the older dialect", tests)
