/* SPDX-License-Identifier: Apache-2.0
 *
 * Limits on what senders may send, at real nodes: who is told to come again, who is made to
 * wait, and that neither loses a message.
 */
#include "test/peers/older_client.h"

struct strict {
    parley *node;
    struct seen seen;
};

static void strict_open(struct strict *strict, uint32_t burst, uint32_t per_min,
                        uint32_t workers)
{
    parley_options options;

    memset(strict, 0, sizeof(*strict));
    node_options(&options, "receiver");
    options.listen_host = "127.0.0.1";
    options.workers = workers;
    options.rates = PARLEY_RATES_ON;
    options.rate_task_burst = burst;
    options.rate_task_per_min = per_min;
    options.on_message = seen_handler;
    options.on_message_user = &strict->seen;
    strict->node = node_open(&options);
}

static uint64_t limited(const struct strict *strict)
{
    parley_stats stats = {.size = sizeof(stats)};

    CHECK_STATUS(parley_stats_get(strict->node, &stats), OK);
    return stats.rate_limited;
}

/* ---- A parley that nobody knows ---- */

static void a_parley_waits(parley_preference preference, uint32_t per_min)
{
    enum { MESSAGES = 12, BURST = 8 };
    struct tally tally = TALLY_INIT;
    parley_stats stats = {.size = sizeof(stats)};
    parley_options options;
    struct strict strict;
    parley *sender;
    parley_peer peer;

    strict_open(&strict, BURST, per_min, 2);
    node_options(&options, "stranger");
    options.http_backoff_ms = 20;
    sender = node_open(&options);
    peer = peer_to(sender, strict.node, "receiver", preference);
    for (unsigned n = 0; n < MESSAGES; n++)
        CHECK_STATUS(post_numbered(sender, peer, 0, n, &tally), OK);
    CHECK(check_wait(&tally.results, MESSAGES));
    CHECK_U64(tally.outcomes[PARLEY_DELIVERED], MESSAGES);
    CHECK_U64(strict.seen.handled, MESSAGES);
    CHECK_U64(strict.seen.violations, 0);
    CHECK(limited(&strict) > 0);
    CHECK_STATUS(parley_stats_get(sender, &stats), OK);
    CHECK_U64(stats.ws_reconnects, 0); /* it was held, not closed */
    CHECK_STATUS(parley_close(sender), OK);
    CHECK_STATUS(parley_close(strict.node), OK);
}

static void a_parley_waits_on_its_websocket(void)
{
    a_parley_waits(PARLEY_WEBSOCKET_ONLY, 1200);
}

static void a_parley_waits_over_http(void)
{
    a_parley_waits(PARLEY_HTTP_ONLY, 240);
}

/* Many frames behind the one that is held, at sessions of other workers: all in order. */
static void many_frames_wait_at_any_worker(void)
{
    enum { PEERS = 6, ROUNDS = 2, EACH = 40 };
    struct tally tally = TALLY_INIT;
    parley_options options;
    parley *senders[PEERS];
    struct strict strict;
    char id[32];

    strict_open(&strict, 10, 6000, 4);
    for (unsigned i = 0; i < PEERS; i++) {
        snprintf(id, sizeof(id), "stranger-%u", i);
        node_options(&options, id);
        options.workers = 1;
        options.batch_bytes_max = 4096; /* some 50 messages a frame */
        senders[i] = node_open(&options);
    }
    for (unsigned round = 0; round < ROUNDS; round++) {
        for (unsigned i = 0; i < PEERS; i++) {
            parley_peer peer;

            if (parley_peer_find(senders[i], "receiver", &peer) != PARLEY_OK)
                peer = peer_to(senders[i], strict.node, "receiver", PARLEY_WEBSOCKET_ONLY);
            for (unsigned n = 0; n < EACH; n++)
                CHECK_STATUS(
                    post_numbered(senders[i], peer, i, (uint64_t)round * EACH + n, &tally),
                    OK);
        }
        CHECK(check_wait(&tally.results, (uint64_t)(round + 1) * PEERS * EACH));
        for (unsigned i = 0; i < PEERS; i++) { /* the next one may meet another worker */
            parley_peer peer = {0};

            parley_peer_find(senders[i], "receiver", &peer);
            CHECK_STATUS(parley_disconnect(senders[i], peer), OK);
        }
    }
    CHECK_U64(tally.outcomes[PARLEY_DELIVERED], ROUNDS * PEERS * EACH);
    CHECK_U64(strict.seen.handled, ROUNDS * PEERS * EACH);
    CHECK_U64(strict.seen.violations, 0);
    CHECK(limited(&strict) > 0);
    for (unsigned i = 0; i < PEERS; i++)
        CHECK_STATUS(parley_close(senders[i]), OK);
    CHECK_STATUS(parley_close(strict.node), OK);
}

static void a_held_connection_may_go(void)
{
    struct tally tally = TALLY_INIT;
    parley_options options;
    struct strict strict;
    parley *sender;
    parley_peer peer;

    strict_open(&strict, 1, 1, 2);
    node_options(&options, "stranger");
    sender = node_open(&options);
    peer = peer_to(sender, strict.node, "receiver", PARLEY_WEBSOCKET_ONLY);
    for (unsigned n = 0; n < 10; n++)
        CHECK_STATUS(post_numbered(sender, peer, 0, n, &tally), OK);
    CHECK(check_wait(&tally.results, 1)); /* the rest is held for a minute each */
    CHECK_STATUS(parley_close(sender), OK);
    CHECK_U64(tally.results, 10);
    CHECK_U64(tally.outcomes[PARLEY_CANCELLED], 9);
    CHECK_STATUS(parley_close(strict.node), OK);
    CHECK_U64(strict.seen.handled, 1);
}

/* ---- Who is not limited ---- */

static void peers_are_not_limited(void)
{
    enum { MESSAGES = 200 };
    static const parley_preference ways[] = {PARLEY_WEBSOCKET_ONLY, PARLEY_HTTP_ONLY};
    parley_options options;
    struct strict strict;
    parley *sender;
    parley_peer friend;

    strict_open(&strict, 1, 1, 2);
    CHECK_STATUS(parley_peer_add(strict.node, "friend", NULL, NULL, &friend), OK);
    node_options(&options, "friend");
    sender = node_open(&options);
    for (unsigned w = 0; w < 2; w++) {
        struct tally tally = TALLY_INIT;
        char id[16];
        parley_peer peer;

        snprintf(id, sizeof(id), "way-%u", w);
        peer = peer_to(sender, strict.node, id, ways[w]);
        for (unsigned n = 0; n < MESSAGES; n++)
            CHECK_STATUS(post_numbered(sender, peer, w, n, &tally), OK);
        CHECK(check_wait(&tally.results, MESSAGES));
        CHECK_U64(tally.outcomes[PARLEY_DELIVERED], MESSAGES);
    }
    CHECK_U64(limited(&strict), 0);
    CHECK_STATUS(parley_close(sender), OK);
    CHECK_STATUS(parley_close(strict.node), OK);
}

static void loopback_is_not_limited(void)
{
    enum { MESSAGES = 200 };
    struct pair pair;

    pair_open(&pair, PARLEY_WEBSOCKET_ONLY);
    for (unsigned n = 0; n < MESSAGES; n++)
        CHECK_STATUS(post_numbered(pair.sender, pair.peer, 0, n, &pair.tally), OK);
    CHECK(check_wait(&pair.tally.results, MESSAGES));
    CHECK_U64(pair.tally.outcomes[PARLEY_DELIVERED], MESSAGES);
    pair_close(&pair);
}

/* ---- Older senders ---- */

static void posted(const struct strict *strict, unsigned n, const char *type, char *answer,
                   size_t size)
{
    char body[512], request[1024];
    int fd = raw_connect((uint16_t)parley_port(strict->node));
    int len = snprintf(body, sizeof(body),
                       "{\"version\":\"0.3\",\"msg_type\":\"%s\",\"sender_id\":\"old\","
                       "\"payload\":{\"t\":9,\"n\":%u},\"timestamp\":1700000000.5,"
                       "\"nonce\":\"nonce-%s-%u\"}",
                       type, n, type, n);

    snprintf(request, sizeof(request),
             "POST /message HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
             "Content-Length: %d\r\n\r\n%s",
             len, body);
    CHECK(raw_send(fd, request, strlen(request)) && raw_answer(fd, answer, size));
    close(fd);
}

static void an_older_sender_is_told_when(void)
{
    struct strict strict;
    char answer[2048];

    strict_open(&strict, 3, 6, 2);
    for (unsigned n = 0; n < 3; n++) {
        posted(&strict, n, "test", answer, sizeof(answer));
        CHECK_CONTAINS(answer, "HTTP/1.1 200 ");
    }
    posted(&strict, 3, "test", answer, sizeof(answer));
    CHECK_CONTAINS(answer, "HTTP/1.1 429 ");
    CHECK_CONTAINS(answer, "\r\nRetry-After: 10\r\n");
    CHECK_CONTAINS(answer, "{\"detail\":\"rate_limited\"}");
    CHECK_U64(strict.seen.handled, 3);
    CHECK_U64(limited(&strict), 1);
    posted(&strict, 3, "heartbeat", answer, sizeof(answer)); /* of another kind */
    CHECK_CONTAINS(answer, "HTTP/1.1 200 ");
    CHECK_STATUS(parley_close(strict.node), OK);
}

static void an_older_client_is_told_so(void)
{
    struct strict strict;
    struct client client;
    char id[16];

    strict_open(&strict, 3, 1, 2);
    client_open(&client, strict.node, "?entity_id=old");
    client_hello(&client, "old");
    for (unsigned i = 0; i < 3; i++) {
        snprintf(id, sizeof(id), "m-%u", i);
        client_frame(&client, "old", "MESSAGE", id, "{}");
        CHECK_CONTAINS(client_hear(&client), "\"type\":\"ACK\"");
    }
    for (unsigned i = 0; i < 100; i++) /* however often it tries */
        client_frame(&client, "old", "MESSAGE", "m-3", "{}");
    for (unsigned i = 0; i < 100; i++)
        CHECK_CONTAINS(client_hear(&client),
                       "{\"error\":\"Rate limit exceeded (100 msg/min)\"");
    client_sync(&client); /* a ping is of another kind */
    CHECK_U64(strict.seen.handled, 3);
    client_close(&client);
    CHECK_STATUS(parley_close(strict.node), OK);
}

static const struct check_test tests[] = {
    {"a parley over its limit waits on its WebSocket", a_parley_waits_on_its_websocket},
    {"a parley over its limit waits over HTTP", a_parley_waits_over_http},
    {"many frames wait at any worker, in order", many_frames_wait_at_any_worker},
    {"a held connection may go", a_held_connection_may_go},
    {"peers are not limited", peers_are_not_limited},
    {"on loopback nobody is limited by default", loopback_is_not_limited},
    {"an older sender is told when to come again", an_older_sender_is_told_when},
    {"an older client is told so", an_older_client_is_told_so},
};

CHECK_MAIN("limits on senders at nodes", tests)
