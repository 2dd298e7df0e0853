/* SPDX-License-Identifier: Apache-2.0
 *
 * parley_ping() over both transports: against nodes, and against sockets that answer as the
 * test says, or not at all.
 */
#include <openssl/evp.h>

#include "test/peers/nodes.h"
#include "test/transport/host.h"

#define WS   PARLEY_TRANSPORT_WEBSOCKET
#define HTTP PARLEY_TRANSPORT_HTTP

/* ---- What the pongs said ---- */

struct pongs {
    _Atomic(uint64_t) done, ok;
    _Atomic(uint64_t) by_status[PARLEY_ELIMIT + 1];
    pthread_mutex_t mutex;
    parley_pong last; /* under the mutex; its detail is below */
    char detail[256];
    parley *again; /* pinged again from the callback … */
    unsigned left; /* … so many times */
};

#define PONGS_INIT                         \
    {                                      \
        .mutex = PTHREAD_MUTEX_INITIALIZER \
    }

static void note_pong(const parley_pong *pong, void *user)
{
    struct pongs *pongs = user;

    pthread_mutex_lock(&pongs->mutex);
    pongs->last = *pong;
    snprintf(pongs->detail, sizeof(pongs->detail), "%s", pong->detail);
    if (pongs->left > 0 && pongs->again != NULL) {
        pongs->left--;
        CHECK_STATUS(
            parley_ping(pongs->again, pong->peer, pong->transport, 20000, note_pong, pongs),
            OK);
    }
    pthread_mutex_unlock(&pongs->mutex);
    atomic_fetch_add(&pongs->by_status[pong->status], 1);
    if (pong->status == PARLEY_OK)
        atomic_fetch_add(&pongs->ok, 1);
    atomic_fetch_add(&pongs->done, 1);
}

static parley *client_open(void)
{
    parley_options options;

    node_options(&options, "client");
    options.reconnect_min_ms = 20;
    options.http_backoff_ms = 20;
    return node_open(&options);
}

static parley_peer add(parley *client, const char *id, uint16_t port,
                       parley_preference preference)
{
    parley_peer_options options;
    parley_peer peer = {0};
    char url[64];

    parley_peer_options_init(&options);
    options.preference = preference;
    options.preference_set = true;
    snprintf(url, sizeof(url), "http://127.0.0.1:%u", port);
    CHECK_STATUS(parley_peer_add(client, id, url, &options, &peer), OK);
    return peer;
}

static void ping(parley *client, parley_peer peer, parley_transport transport,
                 uint32_t timeout_ms, struct pongs *pongs)
{
    CHECK_STATUS(parley_ping(client, peer, transport, timeout_ms, note_pong, pongs), OK);
}

/* A port that nobody listens on. */
static uint16_t closed_port(void)
{
    uint16_t port;

    close(raw_listen(&port));
    return port;
}

/* ---- Against nodes ---- */

static void a_node_answers_both_ways(void)
{
    parley *node = receiver_open(0, true), *client = client_open();
    parley_peer peer = add(client, "receiver", parley_port(node), PARLEY_WEBSOCKET_FIRST);
    static const parley_transport ways[] = {HTTP, WS};
    parley_stats stats = {.size = sizeof(stats)};

    for (size_t i = 0; i < 2; i++) {
        struct pongs pongs = PONGS_INIT;

        ping(client, peer, ways[i], 20000, &pongs);
        CHECK(check_wait(&pongs.done, 1));
        CHECK_STATUS(pongs.last.status, OK);
        CHECK_U64(pongs.last.transport, ways[i]);
        CHECK_U64(pongs.last.peer.value, peer.value);
        CHECK_U64(pongs.last.http_code, ways[i] == HTTP ? 200 : 0);
        CHECK(pongs.last.latency_ns > 0 && pongs.last.latency_ns < 20 * UINT64_C(1000000000));
        CHECK_TEXT(pongs.detail, "");
        ping(client, peer, ways[i], 20000, &pongs);
        CHECK(check_wait(&pongs.done, 2));
        CHECK_U64(pongs.ok, 2);
    }
    CHECK_STATUS(parley_stats_get(client, &stats), OK);
    CHECK_U64(stats.ws_connects, 1); /* the second one went over the first one's */
    CHECK_U64(stats.http_requests, 2);
    CHECK_STATUS(parley_close(client), OK);
    CHECK_STATUS(parley_close(node), OK);
}

static void many_pings_each_get_their_answer(void)
{
    enum { EACH = 300 };
    parley *node = receiver_open(0, true), *client = client_open();
    parley_peer peer = add(client, "receiver", parley_port(node), PARLEY_WEBSOCKET_FIRST);
    struct pongs over_ws = PONGS_INIT, over_http = PONGS_INIT;

    for (int i = 0; i < EACH; i++) {
        ping(client, peer, WS, 20000, &over_ws);
        if (i % 3 == 0)
            ping(client, peer, HTTP, 20000, &over_http);
    }
    CHECK(check_wait(&over_ws.done, EACH));
    CHECK(check_wait(&over_http.done, EACH / 3));
    CHECK_STATUS(parley_close(client), OK);
    CHECK_U64(over_ws.done, EACH); /* and no more */
    CHECK_U64(over_ws.ok, EACH);
    CHECK_U64(over_http.ok, EACH / 3);
    CHECK_STATUS(parley_close(node), OK);
}

static void a_callback_may_ping_again(void)
{
    parley *node = receiver_open(0, true), *client = client_open();
    parley_peer peer = add(client, "receiver", parley_port(node), PARLEY_WEBSOCKET_FIRST);
    struct pongs over_ws = PONGS_INIT, over_http = PONGS_INIT;

    over_ws.again = over_http.again = client;
    over_ws.left = over_http.left = 30;
    ping(client, peer, WS, 20000, &over_ws);
    ping(client, peer, HTTP, 20000, &over_http);
    CHECK(check_wait(&over_ws.ok, 31) && check_wait(&over_http.ok, 31));
    CHECK_STATUS(parley_close(client), OK);
    CHECK_STATUS(parley_close(node), OK);
}

static void pings_and_messages_share_a_connection(void)
{
    enum { EACH = 500 };
    struct pongs pongs = PONGS_INIT;
    struct pair pair;

    pair_open(&pair, PARLEY_WEBSOCKET_ONLY);
    for (unsigned n = 0; n < EACH; n++) {
        post_numbered(pair.sender, pair.peer, 0, n, &pair.tally);
        ping(pair.sender, pair.peer, WS, 20000, &pongs);
    }
    CHECK(check_wait(&pongs.ok, EACH));
    CHECK(check_wait(&pair.tally.results, EACH));
    CHECK_U64(pair.seen.violations, 0);
    CHECK_U64(pair.tally.outcomes[PARLEY_DELIVERED], EACH);
    pair_close(&pair);
}

static void what_cannot_be_asked_is_refused(void)
{
    parley *client = client_open();
    parley_peer_options options;
    parley_peer any = add(client, "any", 9, PARLEY_WEBSOCKET_FIRST), other, none, service;
    struct pongs pongs = PONGS_INIT;

    CHECK_STATUS(parley_ping(client, any, PARLEY_TRANSPORT_NONE, 1, note_pong, &pongs),
                 EINVAL);
    CHECK_STATUS(parley_ping(client, any, (parley_transport)7, 1, note_pong, &pongs), EINVAL);
    CHECK_STATUS(parley_ping(client, any, HTTP, 0, note_pong, &pongs), EINVAL);
    CHECK_STATUS(parley_ping(client, any, HTTP, 1, NULL, NULL), EINVAL);
    other = add(client, "http", 9, PARLEY_HTTP_ONLY);
    CHECK_STATUS(parley_ping(client, other, WS, 1, note_pong, &pongs), EREFUSED);
    other = add(client, "ws", 9, PARLEY_WEBSOCKET_ONLY);
    CHECK_STATUS(parley_ping(client, other, HTTP, 1, note_pong, &pongs), EREFUSED);
    CHECK_STATUS(parley_peer_add(client, "none", NULL, NULL, &none), OK);
    CHECK_STATUS(parley_ping(client, none, HTTP, 1, note_pong, &pongs), EREFUSED);
    CHECK_STATUS(parley_ping(client, none, WS, 1, note_pong, &pongs), EREFUSED);
    parley_peer_options_init(&options);
    options.dialect = PARLEY_DIALECT_SERVICE;
    CHECK_STATUS(parley_peer_add(client, "old", "http://127.0.0.1:9", &options, &service), OK);
    CHECK_STATUS(parley_ping(client, service, WS, 1, note_pong, &pongs), EREFUSED);
    CHECK_STATUS(parley_peer_remove(client, any), OK);
    CHECK_STATUS(parley_ping(client, any, HTTP, 1, note_pong, &pongs), EUNKNOWN);
    CHECK_STATUS(parley_close(client), OK);
    CHECK_U64(pongs.done, 0); /* none of them was accepted */
}

/* ---- Nobody there, or nobody that answers ---- */

static void check_each_way(uint16_t port, uint32_t timeout_ms, const char *status,
                           unsigned ws_code, unsigned http_code)
{
    static const parley_transport ways[] = {HTTP, WS};
    parley *client = client_open();
    parley_peer peer = add(client, "x", port, PARLEY_WEBSOCKET_FIRST);

    for (size_t i = 0; i < 2; i++) {
        struct pongs pongs = PONGS_INIT;

        ping(client, peer, ways[i], timeout_ms, &pongs);
        CHECK(check_wait(&pongs.done, 1));
        CHECK_TEXT(parley_status_name(pongs.last.status), status);
        CHECK_U64(pongs.last.http_code, ways[i] == HTTP ? http_code : ws_code);
        CHECK(pongs.detail[0] != '\0');
    }
    CHECK_STATUS(parley_close(client), OK);
}

static void a_closed_port_is_unreachable(void)
{
    check_each_way(closed_port(), 20000, "EUNREACHABLE", 0, 0);
}

static void silence_times_out(void)
{
    uint16_t port;
    int listener = raw_listen(&port);

    check_each_way(port, 60, "ETIMEDOUT", 0, 0);
    close(listener);
}

static int listener_of_thread;

/* Answers every request alike. */
static void *answer_503(void *user)
{
    static const char answer[] =
        "HTTP/1.1 503 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    char head[4096];
    int fd;

    (void)user;
    while ((fd = accept(listener_of_thread, NULL, NULL)) >= 0) {
        if (raw_some(fd, head, sizeof(head)) > 0)
            raw_send(fd, answer, strlen(answer));
        close(fd);
    }
    return NULL;
}

static void an_answer_that_says_no_is_a_refusal(void)
{
    uint16_t port;
    pthread_t thread;

    listener_of_thread = raw_listen(&port);
    pthread_create(&thread, NULL, answer_503, NULL);
    check_each_way(port, 20000, "EREFUSED", 503, 503);
    shutdown(listener_of_thread, SHUT_RDWR); /* accept() returns */
    pthread_join(thread, NULL);
    close(listener_of_thread);
}

struct health {
    _Atomic(uint64_t) became_unhealthy, became_healthy;
};

static void note_health(parley_peer peer, const char *id, parley_peer_state state,
                        bool healthy, const char *reason, void *user)
{
    struct health *health = user;

    (void)peer, (void)id, (void)state, (void)reason;
    if (!healthy)
        atomic_fetch_add(&health->became_unhealthy, 1);
    else if (atomic_load(&health->became_unhealthy) > 0)
        atomic_fetch_add(&health->became_healthy, 1);
}

static void pings_decide_about_health(void)
{
    parley *client = client_open(), *node;
    uint16_t port = closed_port();
    parley_peer peer = add(client, "x", port, PARLEY_HTTP_ONLY);
    struct health health = {0};
    struct pongs pongs = PONGS_INIT;

    parley_on_peer_state(client, note_health, &health);
    for (uint64_t i = 1; i <= 3; i++) {
        CHECK_U64(health.became_unhealthy, 0);
        ping(client, peer, HTTP, 20000, &pongs);
        CHECK(check_wait(&pongs.done, i));
    }
    CHECK(check_wait(&health.became_unhealthy, 1));
    node = receiver_open(port, true);
    ping(client, peer, HTTP, 20000, &pongs);
    CHECK(check_wait(&pongs.ok, 1));
    CHECK(check_wait(&health.became_healthy, 1));
    CHECK_STATUS(parley_close(client), OK);
    CHECK_STATUS(parley_close(node), OK);
}

/* ---- A WebSocket server by hand, which pongs as the test says ---- */

static void accept_key(const char *request, char key[32])
{
    static const char header[] = "Sec-WebSocket-Key: ";
    const char *at = strcasestr(request, header);
    unsigned char digest[EVP_MAX_MD_SIZE];
    char text[128];
    unsigned len;

    if (!CHECK(at != NULL))
        return;
    snprintf(text, sizeof(text), "%.24s258EAFA5-E914-47DA-95CA-C5AB0DC85B11",
             at + strlen(header));
    EVP_Digest(text, strlen(text), digest, &len, EVP_sha1(), NULL);
    EVP_EncodeBlock((unsigned char *)key, digest, (int)len);
}

/* Takes the next connection and upgrades it. */
static int accept_upgrade(int listener)
{
    char head[4096] = "", answer[256], key[32] = "";
    struct pollfd ready = {.fd = listener, .events = POLLIN};
    size_t used = 0;
    int fd;

    if (!CHECK(poll(&ready, 1, WAIT_MS) == 1))
        return -1;
    fd = accept(listener, NULL, NULL);
    while (strstr(head, "\r\n\r\n") == NULL) {
        ssize_t got = raw_some(fd, head + used, sizeof(head) - 1 - used);

        if (!CHECK(got > 0))
            return fd;
        used += (size_t)got;
        head[used] = '\0';
    }
    accept_key(head, key);
    snprintf(answer, sizeof(answer),
             "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
             "Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
             key);
    CHECK(raw_send(fd, answer, strlen(answer)));
    return fd;
}

/* Reads one ping. The pong goes to `pong`, 10 bytes. */
static void read_ping(int fd, uint8_t pong[10])
{
    uint8_t frame[14] = {0};

    if (!CHECK(raw_exact(fd, frame, sizeof(frame))))
        return;
    CHECK_BYTES(frame, 2, "\x89\x88", 2);
    pong[0] = 0x8a;
    pong[1] = 8;
    for (int i = 0; i < 8; i++)
        pong[2 + i] = frame[6 + i] ^ frame[2 + i % 4];
}

static void a_pong_answers_the_pings_before_it(void)
{
    uint8_t first[10], second[10], third[10];
    struct pongs pongs = PONGS_INIT;
    parley *client = client_open();
    uint16_t port;
    int listener = raw_listen(&port), fd;
    parley_peer peer = add(client, "x", port, PARLEY_WEBSOCKET_ONLY);

    ping(client, peer, WS, 20000, &pongs);
    fd = accept_upgrade(listener);
    read_ping(fd, first);
    ping(client, peer, WS, 20000, &pongs);
    read_ping(fd, second);
    ping(client, peer, WS, 20000, &pongs);
    read_ping(fd, third);
    CHECK(raw_send(fd, second, 10));
    CHECK(check_wait(&pongs.done, 2));
    CHECK(raw_send(fd, first, 10)); /* late, and out of order: nobody waits for it */
    CHECK(raw_send(fd, third, 10));
    CHECK(check_wait(&pongs.done, 3));
    CHECK_U64(pongs.ok, 3);
    close(fd);
    close(listener);
    CHECK_STATUS(parley_close(client), OK);
}

/* As lws does it: pings that come before the pong is out are dropped. */
static void a_dropped_ping_is_sent_again(void)
{
    uint8_t first[10], second[10], again[10];
    struct pongs pongs = PONGS_INIT;
    parley *client = client_open();
    uint16_t port;
    int listener = raw_listen(&port), fd;
    parley_peer peer = add(client, "x", port, PARLEY_WEBSOCKET_ONLY);

    ping(client, peer, WS, 20000, &pongs);
    fd = accept_upgrade(listener);
    read_ping(fd, first);
    ping(client, peer, WS, 20000, &pongs);
    read_ping(fd, second);
    CHECK(raw_send(fd, first, 10));
    CHECK(check_wait(&pongs.done, 1));
    read_ping(fd, again);
    CHECK(raw_send(fd, again, 10));
    CHECK(check_wait(&pongs.done, 2));
    CHECK_U64(pongs.ok, 2);
    close(fd);
    close(listener);
    CHECK_STATUS(parley_close(client), OK);
}

static void a_lost_connection_ends_its_pings(void)
{
    uint8_t pong[10];
    struct pongs pongs = PONGS_INIT;
    parley *client = client_open();
    uint16_t port;
    int listener = raw_listen(&port), fd;
    parley_peer peer = add(client, "x", port, PARLEY_WEBSOCKET_ONLY);

    ping(client, peer, WS, 20000, &pongs);
    fd = accept_upgrade(listener);
    read_ping(fd, pong);
    close(fd);
    CHECK(check_wait(&pongs.done, 1));
    CHECK_STATUS(pongs.last.status, ECLOSED);
    ping(client, peer, WS, 20000, &pongs); /* the next one has a connection of its own */
    fd = accept_upgrade(listener);
    read_ping(fd, pong);
    CHECK(raw_send(fd, pong, 10));
    CHECK(check_wait(&pongs.ok, 1));
    ping(client, peer, WS, 20000, &pongs);
    read_ping(fd, pong);
    CHECK_STATUS(parley_disconnect(client, peer), OK);
    CHECK(check_wait(&pongs.done, 3));
    CHECK_STATUS(pongs.last.status, ECLOSED);
    CHECK_TEXT(pongs.detail, "closed by the host");
    close(fd);
    close(listener);
    CHECK_STATUS(parley_close(client), OK);
}

/* ---- The end ---- */

static void removal_and_close_end_what_waits(void)
{
    enum { EACH = 20 };
    struct pongs removed = PONGS_INIT, closed = PONGS_INIT;
    parley *client = client_open();
    uint16_t port;
    int listener = raw_listen(&port); /* takes connections, says nothing */
    parley_peer gone = add(client, "gone", port, PARLEY_WEBSOCKET_FIRST);
    parley_peer stays = add(client, "stays", port, PARLEY_WEBSOCKET_FIRST);
    size_t left = 1;

    for (int i = 0; i < EACH; i++) {
        ping(client, gone, i % 2 == 0 ? WS : HTTP, 3600000, &removed);
        ping(client, stays, i % 2 == 0 ? WS : HTTP, UINT32_MAX, &closed);
    }
    CHECK_STATUS(parley_peer_remove(client, gone), OK);
    CHECK(check_wait(&removed.done, EACH));
    CHECK_STATUS(removed.last.status, ECLOSED);
    CHECK_TEXT(removed.detail, "peer removed");
    CHECK_STATUS(parley_drain(client, 20000, &left), OK); /* pings are no messages */
    CHECK_U64(left, 0);
    CHECK_U64(closed.done, 0);
    CHECK_STATUS(parley_close(client), OK);
    CHECK_U64(closed.by_status[PARLEY_ECLOSED], EACH);
    CHECK_U64(closed.done, EACH);
    CHECK_U64(removed.done, EACH);
    close(listener);
}

/* ---- Everything at once ---- */

struct hammer {
    parley *client;
    _Atomic(uint64_t) *peer;
    struct pongs *pongs;
    uint64_t accepted;
};

static void *hammer(void *user)
{
    struct hammer *own = user;

    for (int i = 0; i < 400; i++) {
        parley_peer peer = {atomic_load(own->peer)};
        parley_status status = parley_ping(own->client, peer, i % 4 == 0 ? HTTP : WS,
                                           i % 16 == 1 ? 1 : 20000, note_pong, own->pongs);

        if (status == PARLEY_OK)
            own->accepted++;
        else
            CHECK_STATUS(status, EUNKNOWN);
    }
    return NULL;
}

static void every_accepted_ping_is_answered_once(void)
{
    enum { THREADS = 3 };
    parley *node = receiver_open(0, true), *client = client_open();
    struct pongs pongs = PONGS_INIT;
    struct hammer own[THREADS];
    _Atomic(uint64_t) peer;
    pthread_t threads[THREADS];
    uint64_t accepted = 0;

    atomic_store(&peer, add(client, "x", parley_port(node), PARLEY_WEBSOCKET_FIRST).value);
    for (int i = 0; i < THREADS; i++) {
        own[i] = (struct hammer){client, &peer, &pongs, 0};
        pthread_create(&threads[i], NULL, hammer, &own[i]);
    }
    for (int i = 0; i < 20; i++) {
        parley_peer former = {atomic_load(&peer)};

        if (i % 4 == 3)
            parley_disconnect(client, former);
        check_wait(&pongs.done, (uint64_t)i * 20); /* so that they are spread */
        CHECK_STATUS(parley_peer_remove(client, former), OK);
        atomic_store(&peer, add(client, "x", parley_port(node), PARLEY_WEBSOCKET_FIRST).value);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        accepted += own[i].accepted;
    }
    CHECK_STATUS(parley_close(client), OK);
    CHECK(accepted > 0);
    CHECK_U64(pongs.done, accepted);
    CHECK_STATUS(parley_close(node), OK);
}

static void a_ping_has_its_own_time_limit(void)
{
    static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
    struct pongs pongs = PONGS_INIT;
    struct tally tally = TALLY_INIT;
    parley_options options;
    parley *client;
    parley_peer peer;
    char head[4096];
    uint16_t port;
    int listener = raw_listen(&port), fd;

    node_options(&options, "client");
    options.http_timeout_ms = 50;
    options.http_connect_timeout_ms = 50;
    options.http_attempts = 1;
    client = node_open(&options);
    peer = add(client, "x", port, PARLEY_HTTP_ONLY);
    ping(client, peer, HTTP, 20000, &pongs);
    fd = accept(listener, NULL, NULL);
    CHECK(raw_some(fd, head, sizeof(head)) > 0);
    CHECK(strncmp(head, "GET /health HTTP/1.1\r\n", 22) == 0);
    CHECK_STATUS(post(client, peer, "{}", &tally), OK);
    CHECK(check_wait(&tally.results, 1)); /* by then the usual limit has passed twice */
    CHECK_U64(pongs.done, 0);
    CHECK(raw_send(fd, answer, strlen(answer)));
    CHECK(check_wait(&pongs.ok, 1));
    CHECK_STATUS(parley_close(client), OK);
    close(fd);
    close(listener);
}

static const struct check_test tests[] = {
    {"a node answers both ways", a_node_answers_both_ways},
    {"many pings each get their answer", many_pings_each_get_their_answer},
    {"a callback may ping again", a_callback_may_ping_again},
    {"pings and messages share a connection", pings_and_messages_share_a_connection},
    {"what cannot be asked is refused", what_cannot_be_asked_is_refused},
    {"a closed port is unreachable", a_closed_port_is_unreachable},
    {"silence times out", silence_times_out},
    {"an answer that says no is a refusal", an_answer_that_says_no_is_a_refusal},
    {"pings decide about health", pings_decide_about_health},
    {"a pong answers the pings before it", a_pong_answers_the_pings_before_it},
    {"a dropped ping is sent again", a_dropped_ping_is_sent_again},
    {"a lost connection ends its pings", a_lost_connection_ends_its_pings},
    {"removal and close end what waits", removal_and_close_end_what_waits},
    {"every accepted ping is answered once", every_accepted_ping_is_answered_once},
    {"a ping has its own time limit", a_ping_has_its_own_time_limit},
};

CHECK_MAIN("pings", tests)
