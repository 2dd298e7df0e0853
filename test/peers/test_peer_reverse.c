/* SPDX-License-Identifier: Apache-2.0
 *
 * Peers without a URL, reached over the connection they open to us.
 */
#include "test/peers/nodes.h"

struct reverse {
    parley *server, *client;
    parley_peer to_client, to_server;
    struct tally down, up;
    struct seen at_client, at_server;
};

static void reverse_open(struct reverse *reverse)
{
    parley_options options;

    memset(reverse, 0, sizeof(*reverse));
    pthread_mutex_init(&reverse->down.mutex, NULL);
    pthread_mutex_init(&reverse->up.mutex, NULL);
    reverse->server = receiver_open(0, true);
    node_options(&options, "client");
    options.reconnect_min_ms = 20;
    reverse->client = node_open(&options);
    parley_on_message(reverse->client, NULL, seen_handler, &reverse->at_client);
    parley_on_message(reverse->server, NULL, seen_handler, &reverse->at_server);
    reverse->to_server =
        peer_to(reverse->client, reverse->server, "receiver", PARLEY_WEBSOCKET_FIRST);
}

static void reverse_close(struct reverse *reverse)
{
    CHECK_STATUS(parley_close(reverse->client), OK);
    CHECK_STATUS(parley_close(reverse->server), OK);
}

static void reached_when_it_connects(void)
{
    struct reverse reverse;

    reverse_open(&reverse);
    CHECK_STATUS(parley_peer_add(reverse.server, "client", NULL, NULL, &reverse.to_client),
                 OK);
    CHECK_STATUS(parley_connect(reverse.server, reverse.to_client), EREFUSED);
    for (unsigned n = 0; n < 500; n++) /* before there is a connection: they wait */
        post_numbered(reverse.server, reverse.to_client, 0, n, &reverse.down);
    CHECK_STATUS(parley_connect(reverse.client, reverse.to_server), OK);
    for (unsigned n = 0; n < 500; n++) {
        post_numbered(reverse.client, reverse.to_server, 0, n, &reverse.up);
        post_numbered(reverse.server, reverse.to_client, 0, 500 + n, &reverse.down);
    }
    CHECK(check_wait(&reverse.down.results, 1000));
    CHECK(check_wait(&reverse.up.results, 500));
    CHECK_U64(reverse.down.outcomes[PARLEY_DELIVERED], 1000);
    CHECK_U64(reverse.at_client.handled, 1000);
    CHECK_U64(reverse.at_client.violations + reverse.at_server.violations, 0);
    reverse_close(&reverse);
}

static void reached_when_it_has_connected(void)
{
    struct reverse reverse;

    reverse_open(&reverse);
    post_numbered(reverse.client, reverse.to_server, 0, 0, &reverse.up);
    CHECK(check_wait(&reverse.up.results, 1));
    CHECK_STATUS(parley_peer_add(reverse.server, "client", NULL, NULL, &reverse.to_client),
                 OK);
    for (unsigned n = 0; n < 300; n++)
        post_numbered(reverse.server, reverse.to_client, 0, n, &reverse.down);
    CHECK(check_wait(&reverse.down.results, 300));
    CHECK_U64(reverse.down.outcomes[PARLEY_DELIVERED], 300);
    reverse_close(&reverse);
}

static void reached_again_when_it_reconnects(void)
{
    enum { ROUNDS = 5, EACH = 400 };
    struct reverse reverse;

    reverse_open(&reverse);
    CHECK_STATUS(parley_peer_add(reverse.server, "client", NULL, NULL, &reverse.to_client),
                 OK);
    for (unsigned round = 0; round < ROUNDS; round++) {
        CHECK_STATUS(parley_connect(reverse.client, reverse.to_server), OK);
        for (unsigned n = 0; n < EACH; n++)
            post_numbered(reverse.server, reverse.to_client, 0, round * EACH + n,
                          &reverse.down);
        CHECK(check_wait(&reverse.down.results, round * EACH + EACH / 2));
        CHECK_STATUS(parley_disconnect(reverse.client, reverse.to_server), OK);
    }
    CHECK_STATUS(parley_connect(reverse.client, reverse.to_server), OK);
    CHECK(check_wait(&reverse.down.results, ROUNDS * EACH));
    CHECK_U64(reverse.down.outcomes[PARLEY_DELIVERED], ROUNDS * EACH);
    CHECK_U64(reverse.at_client.handled, ROUNDS * EACH);
    CHECK_U64(reverse.at_client.violations, 0);
    reverse_close(&reverse);
}

static void carried_peers_can_be_removed(void)
{
    struct reverse reverse;

    reverse_open(&reverse);
    CHECK_STATUS(parley_peer_add(reverse.server, "client", NULL, NULL, &reverse.to_client),
                 OK);
    CHECK_STATUS(parley_connect(reverse.client, reverse.to_server), OK);
    post_numbered(reverse.server, reverse.to_client, 0, 0, &reverse.down);
    CHECK(check_wait(&reverse.down.results, 1));
    CHECK_STATUS(parley_peer_remove(reverse.server, reverse.to_client), OK);
    CHECK_STATUS(parley_peer_add(reverse.server, "client", NULL, NULL, &reverse.to_client),
                 OK);
    CHECK_STATUS(parley_connect(reverse.client, reverse.to_server), OK);
    post_numbered(reverse.client, reverse.to_server, 0, 0, &reverse.up);
    CHECK(check_wait(&reverse.up.results, 1));
    post_numbered(reverse.server, reverse.to_client, 0, 1, &reverse.down);
    CHECK(check_wait(&reverse.down.results, 2));
    CHECK_U64(reverse.down.outcomes[PARLEY_DELIVERED], 2);
    reverse_close(&reverse);
}

static const struct check_test tests[] = {
    {"a peer without URL is reached when it connects", reached_when_it_connects},
    {"a peer without URL is reached over the connection it has",
     reached_when_it_has_connected},
    {"a peer without URL is reached again when it reconnects",
     reached_again_when_it_reconnects},
    {"a carried peer can be removed and added again", carried_peers_can_be_removed},
};

CHECK_MAIN("peers that connect to us", tests)
