/* SPDX-License-Identifier: Apache-2.0
 *
 * Sealed WebSockets between real nodes: nothing readable on the wire, new keys under load,
 * lost connections, and a man in the middle who gets nothing delivered whatever he takes away.
 */
#include "test/peers/secure_pair.h"

/* ---- It works ---- */

static void post_back(struct secure_pair *pair, uint64_t count, struct tally *tally)
{
    char payload[128];

    for (uint64_t n = 0; n < count; n++) {
        snprintf(payload, sizeof(payload), "{\"t\":0,\"n\":%llu,\"m\":\"" MARKER "\"}",
                 (unsigned long long)n);
        while (post(pair->receiver, pair->back, payload, tally) == PARLEY_EAGAIN)
            sched_yield();
    }
}

static void test_sealed(void)
{
    const struct secure_setup setup = {.preference = PARLEY_WEBSOCKET_ONLY,
                                       .sender_min = PARLEY_SECURITY_SEALED,
                                       .receiver_min = PARLEY_SECURITY_SEALED};
    struct secure_pair pair;

    secure_open(&pair, &setup);
    secure_post(&pair, 0, 2000);
    CHECK(check_wait(&pair.tally.results, 2000));
    CHECK_U64(pair.tally.outcomes[PARLEY_DELIVERED], 2000);
    CHECK_U64(pair.seen.handled, 2000);
    CHECK_U64(pair.seen.violations, 0);
    CHECK_U64(pair.meddler.seen, 0);
    secure_close(&pair);
}

/* Nobody asks for it, and both can. */
static void test_sealed_unasked(void)
{
    const struct secure_setup setup = {.preference = PARLEY_WEBSOCKET_ONLY};
    struct secure_pair pair;

    secure_open(&pair, &setup);
    secure_post(&pair, 0, 100);
    CHECK(check_wait(&pair.tally.results, 100));
    CHECK_U64(pair.tally.outcomes[PARLEY_DELIVERED], 100);
    CHECK_U64(pair.meddler.seen, 0);
    secure_close(&pair);
}

static void test_plain_without_identity(void)
{
    const struct secure_setup setup = {.preference = PARLEY_WEBSOCKET_ONLY,
                                       .sender_alone = true};
    struct tally back = TALLY_INIT;
    struct secure_pair pair;

    secure_open(&pair, &setup);
    secure_post(&pair, 0, 10);
    CHECK(check_wait(&pair.tally.results, 10));
    CHECK_U64(pair.tally.outcomes[PARLEY_DELIVERED], 10);
    post_back(&pair, 10, &back);
    CHECK(check_wait(&back.results, 10));
    CHECK(pair.meddler.seen > 0); /* the marker is found where it is said, and unmasked */
    secure_close(&pair);
}

/* The receiver answers over the connection that was made to it. */
static void test_both_ways(void)
{
    const struct secure_setup setup = {.preference = PARLEY_WEBSOCKET_ONLY,
                                       .sender_min = PARLEY_SECURITY_SEALED,
                                       .receiver_min = PARLEY_SECURITY_SEALED};
    struct tally back = TALLY_INIT;
    struct secure_pair pair;
    struct seen seen = {0};

    secure_open(&pair, &setup);
    parley_on_message(pair.sender, NULL, seen_handler, &seen);
    secure_post(&pair, 0, 100);
    post_back(&pair, 100, &back);
    CHECK(check_wait(&pair.tally.results, 100));
    CHECK(check_wait(&back.results, 100));
    CHECK_U64(back.outcomes[PARLEY_DELIVERED], 100);
    CHECK_U64(seen.handled, 100);
    CHECK_U64(pair.meddler.seen, 0);
    secure_close(&pair);
}

static void test_rekey_under_load(void)
{
    const struct secure_setup setup = {.preference = PARLEY_WEBSOCKET_ONLY,
                                       .sender_min = PARLEY_SECURITY_SEALED,
                                       .receiver_min = PARLEY_SECURITY_SEALED,
                                       .rekey_frames = 16};
    struct secure_pair pair;
    uint64_t batches = 0;

    secure_open(&pair, &setup);
    for (; batches < 200; batches++) {
        secure_post(&pair, batches * 20, 20);
        if (batches % 10 == 0)
            CHECK(check_wait(&pair.tally.results, batches * 20));
    }
    CHECK(check_wait(&pair.tally.results, 4000));
    CHECK_U64(pair.tally.outcomes[PARLEY_DELIVERED], 4000);
    CHECK_U64(pair.seen.handled, 4000);
    CHECK_U64(pair.seen.violations, 0);
    CHECK_U64(pair.seen.redelivered, 0);
    CHECK_U64(pair.meddler.connections, 1); /* all of it in one channel */
    CHECK_U64(pair.meddler.seen, 0);
    secure_close(&pair);
}

static void test_lost_connections(void)
{
    const struct secure_setup setup = {.preference = PARLEY_WEBSOCKET_ONLY,
                                       .sender_min = PARLEY_SECURITY_SEALED,
                                       .receiver_min = PARLEY_SECURITY_SEALED};
    struct secure_pair pair;

    secure_open(&pair, &setup);
    for (uint64_t i = 0; i < 5; i++) {
        secure_post(&pair, i * 400, 400);
        CHECK(check_wait(&pair.tally.results, i * 400 + 1));
        meddler_cut(&pair.meddler);
    }
    CHECK(check_wait(&pair.tally.results, 2000));
    CHECK_U64(pair.tally.outcomes[PARLEY_DELIVERED], 2000);
    CHECK_U64(pair.seen.handled, 2000); /* sent again, sealed again, run once */
    CHECK_U64(pair.seen.violations, 0);
    CHECK(pair.meddler.connections > 1);
    CHECK_U64(pair.meddler.seen, 0);
    secure_close(&pair);
}

/* ---- Over HTTP ---- */

static struct secure_setup over_http(meddler_fn meddle)
{
    return (struct secure_setup){.preference = PARLEY_HTTP_ONLY,
                                 .sender_min = PARLEY_SECURITY_SEALED,
                                 .receiver_min = PARLEY_SECURITY_SEALED,
                                 .ttl_ms = meddle != NULL ? 300 : 0,
                                 .meddle = meddle};
}

static void check_delivered(const struct secure_setup *setup, uint64_t count)
{
    struct secure_pair pair;

    secure_open(&pair, setup);
    for (uint64_t n = 0; n < count; n += 50) {
        secure_post(&pair, n, 50);
        CHECK(check_wait(&pair.tally.results, n + 1));
    }
    CHECK(check_wait(&pair.tally.results, count));
    CHECK_U64(pair.tally.outcomes[PARLEY_DELIVERED], count);
    CHECK_U64(pair.seen.handled, count);
    CHECK_U64(pair.seen.violations, 0);
    CHECK_U64(pair.meddler.seen, 0);
    secure_close(&pair);
}

static void test_http_sealed(void)
{
    struct secure_setup setup = over_http(NULL);

    check_delivered(&setup, 1000);
    setup.sender_min = setup.receiver_min = PARLEY_SECURITY_OFF; /* both can, unasked */
    check_delivered(&setup, 100);
}

static void test_http_new_keys(void)
{
    struct secure_setup setup = over_http(NULL);

    setup.rekey_frames = 16;
    check_delivered(&setup, 3000);
}

static void test_http_plain_without_identity(void)
{
    struct secure_setup setup = over_http(NULL);
    struct secure_pair pair;

    setup.sender_min = setup.receiver_min = PARLEY_SECURITY_OFF;
    setup.sender_alone = true;
    secure_open(&pair, &setup);
    secure_post(&pair, 0, 10);
    CHECK(check_wait(&pair.tally.results, 10));
    CHECK_U64(pair.tally.outcomes[PARLEY_DELIVERED], 10);
    CHECK(pair.meddler.seen > 0);
    secure_close(&pair);
}

/* The WebSocket is cut again and again, HTTP takes over and gives back. */
static void test_both_transports(void)
{
    struct secure_setup setup = over_http(NULL);
    struct secure_pair pair;

    setup.preference = PARLEY_WEBSOCKET_FIRST;
    secure_open(&pair, &setup);
    for (uint64_t i = 0; i < 10; i++) {
        secure_post(&pair, i * 100, 100);
        CHECK(check_wait(&pair.tally.results, i * 100 + 1));
        meddler_cut(&pair.meddler);
    }
    CHECK(check_wait(&pair.tally.results, 1000));
    CHECK_U64(pair.tally.outcomes[PARLEY_DELIVERED], 1000);
    CHECK_U64(pair.seen.handled, 1000);
    CHECK_U64(pair.seen.violations, 0);
    CHECK_U64(pair.meddler.seen, 0);
    secure_close(&pair);
}

static char captured[65536];
static _Atomic(uint64_t) captured_len;

static size_t capture(struct meddler *meddler, char *bytes, size_t len, bool to_server)
{
    (void)meddler;
    if (to_server && memmem(bytes, len, "POST /messages", 14) != NULL &&
        len <= sizeof(captured)) {
        memcpy(captured, bytes, len);
        atomic_store(&captured_len, len);
    }
    return len;
}

/* Posts what was captured once more. @return the answer */
static void replay(uint16_t port, char *answer, size_t len)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval patience = {.tv_sec = 20};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    ssize_t got;

    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    CHECK(connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0);
    CHECK(send(fd, captured, atomic_load(&captured_len), MSG_NOSIGNAL) > 0);
    got = recv(fd, answer, len - 1, 0);
    answer[got > 0 ? got : 0] = '\0';
    close(fd);
}

static void test_http_replayed(void)
{
    struct secure_setup setup = over_http(capture);
    struct secure_pair pair;
    char answer[2048];

    setup.ttl_ms = 0;
    secure_open(&pair, &setup);
    secure_post(&pair, 0, 1);
    CHECK(check_wait(&pair.tally.results, 1));
    replay(parley_port(pair.receiver), answer, sizeof(answer));
    CHECK_CONTAINS(answer, "400");
    CHECK_CONTAINS(answer, "REPLAY_DETECTED");
    captured[atomic_load(&captured_len) - 1] ^= 1;
    captured[atomic_load(&captured_len) - 20] ^= 1;
    replay(parley_port(pair.receiver), answer, sizeof(answer));
    CHECK_CONTAINS(answer, "REPLAY_DETECTED"); /* its counter has gone by: not even opened */
    CHECK_U64(pair.seen.handled, 1);
    secure_post(&pair, 1, 1); /* the session goes on */
    CHECK(check_wait(&pair.tally.outcomes[PARLEY_DELIVERED], 2));
    secure_close(&pair);
}

/* ---- It does not ---- */

/* Nothing is delivered, nothing readable was said, and the message says why. */
static void check_nothing(const struct secure_setup *setup, const char *detail)
{
    struct secure_pair pair;

    secure_open(&pair, setup);
    secure_post(&pair, 0, 3);
    CHECK(check_wait(&pair.tally.results, 3));
    CHECK_U64(pair.tally.outcomes[PARLEY_DELIVERED], 0);
    CHECK_U64(pair.tally.outcomes[PARLEY_SENT], 0);
    CHECK_U64(pair.seen.handled, 0);
    CHECK_U64(pair.meddler.seen, 0);
    if (detail != NULL)
        CHECK_CONTAINS(pair.tally.detail, detail);
    secure_close(&pair);
}

static struct secure_setup sealed_only(meddler_fn meddle)
{
    return (struct secure_setup){.preference = PARLEY_WEBSOCKET_ONLY,
                                 .sender_min = PARLEY_SECURITY_SEALED,
                                 .ttl_ms = 300,
                                 .meddle = meddle};
}

static size_t strip(char *bytes, size_t len, const char *what, char with)
{
    char *at = memmem(bytes, len, what, strlen(what));

    if (at != NULL)
        at[strlen(what) - 2] = with;
    return len;
}

static size_t strip_parley(struct meddler *meddler, char *bytes, size_t len, bool to_server)
{
    (void)meddler;
    return to_server ? len : strip(bytes, len, "\"parley/1\"", '0');
}

static size_t strip_offer(struct meddler *meddler, char *bytes, size_t len, bool to_server)
{
    (void)meddler;
    return to_server ? len : strip(bytes, len, "\"handshake\":\"1.1\"", '0');
}

/* Neither side's steps arrive: frames of the client are masked, so all but the upgrade goes.
 */
static size_t strip_steps(struct meddler *meddler, char *bytes, size_t len, bool to_server)
{
    (void)meddler;
    if (to_server && memmem(bytes, len, "GET /ws", 7) == NULL)
        return 0;
    return len;
}

/* A bit of each answer after the greeting. */
static size_t change_answers(struct meddler *meddler, char *bytes, size_t len, bool to_server)
{
    if (!to_server && memmem(bytes, len, "\"connected\"", 11) == NULL && len > 40 &&
        memmem(bytes, len, "HTTP/1.1", 8) == NULL)
        bytes[len / 2] ^= 1;
    (void)meddler;
    return len;
}

static void test_parley_stripped(void)
{
    struct secure_setup setup = sealed_only(strip_parley);

    check_nothing(&setup, NULL);
    setup.preference = PARLEY_WEBSOCKET_FIRST;
    check_nothing(&setup, NULL);
}

static void test_offer_stripped(void)
{
    struct secure_setup setup = sealed_only(strip_offer);

    check_nothing(&setup, NULL);
}

static void test_steps_stripped(void)
{
    struct secure_setup setup = sealed_only(strip_steps);

    check_nothing(&setup, NULL);
}

static void test_answers_changed(void)
{
    struct secure_setup setup = sealed_only(change_answers);

    check_nothing(&setup, NULL);
}

/* From the receiver's side: the sender could do without, the receiver takes nothing then. */
static void test_receiver_insists(void)
{
    struct secure_setup setup = sealed_only(strip_offer);

    setup.sender_min = PARLEY_SECURITY_OFF;
    setup.receiver_min = PARLEY_SECURITY_SEALED;
    {
        struct secure_pair pair;

        secure_open(&pair, &setup);
        secure_post(&pair, 0, 3);
        CHECK(check_wait(&pair.tally.results, 3));
        CHECK_U64(pair.tally.outcomes[PARLEY_DELIVERED], 0);
        CHECK_U64(pair.seen.handled, 0);
        secure_close(&pair);
    }
}

static size_t strip_session(struct meddler *meddler, char *bytes, size_t len, bool to_server)
{
    char *at = memmem(bytes, len, "Parley-Session", 14);

    (void)meddler;
    (void)to_server;
    if (at != NULL)
        at[0] = 'p', at[2] = 'R', at[4] = 'x';
    return len;
}

static size_t change_bodies(struct meddler *meddler, char *bytes, size_t len, bool to_server)
{
    (void)meddler;
    if (to_server && len > 40 && memmem(bytes, len, "octet-stream", 12) != NULL)
        bytes[len - 1] ^= 1;
    return len;
}

/* Anybody's answer: it would end the message if it were believed. */
static size_t forge_answers(struct meddler *meddler, char *bytes, size_t len, bool to_server)
{
    char *at = to_server ? NULL : memmem(bytes, len, "HTTP/1.1 200", 12);

    (void)meddler;
    if (at != NULL && memmem(bytes, len, "octet-stream", 12) != NULL)
        memcpy(at, "HTTP/1.1 400", 12);
    return len;
}

static void test_http_stripped(void)
{
    struct secure_setup setup = over_http(strip_session);

    check_nothing(&setup, NULL);
    setup.meddle = change_bodies;
    check_nothing(&setup, NULL);
    setup.meddle = strip_parley;
    check_nothing(&setup, NULL);
}

static size_t replace_steps(struct meddler *meddler, char *bytes, size_t len, bool to_server)
{
    (void)meddler;
    return to_server ? len : strip(bytes, len, "\"handshake_init_ack\"", 'x');
}

static void test_http_steps_changed(void)
{
    struct secure_setup setup = over_http(replace_steps);

    check_nothing(&setup, NULL);
}

/* The code is not sealed: what it says is not believed. */
static void test_http_code_changed(void)
{
    struct secure_setup setup = over_http(forge_answers);
    struct secure_pair pair;

    setup.ttl_ms = 0;
    secure_open(&pair, &setup);
    secure_post(&pair, 0, 10);
    CHECK(check_wait(&pair.tally.results, 1));
    CHECK_U64(pair.tally.outcomes[PARLEY_REJECTED], 0);
    secure_close(&pair);
}

static void test_other_keys(void)
{
    struct secure_setup setup = sealed_only(NULL);

    setup.stranger = true;
    check_nothing(&setup, NULL);
    setup = sealed_only(NULL);
    setup.impostor = true;
    check_nothing(&setup, NULL);
    setup = sealed_only(NULL);
    setup.sender_alone = true;
    check_nothing(&setup, NULL);
}

static const struct check_test tests[] = {
    {"sealed frames", test_sealed},
    {"sealed where both can, unasked", test_sealed_unasked},
    {"plain where the other side has no identity", test_plain_without_identity},
    {"both ways over one connection", test_both_ways},
    {"new keys under load: nothing lost, nothing twice", test_rekey_under_load},
    {"lost connections: resends are sealed again", test_lost_connections},
    {"HTTP: sealed bodies", test_http_sealed},
    {"HTTP: new keys under load", test_http_new_keys},
    {"HTTP: plain without identity", test_http_plain_without_identity},
    {"from one transport to the other and back", test_both_transports},
    {"HTTP: a request that comes again", test_http_replayed},
    {"HTTP: the seal is stripped or broken", test_http_stripped},
    {"HTTP: a step is changed", test_http_steps_changed},
    {"HTTP: the code is changed", test_http_code_changed},
    {"parley/1 is stripped", test_parley_stripped},
    {"the offer of handshakes is stripped", test_offer_stripped},
    {"the handshake is stripped", test_steps_stripped},
    {"sealed answers are changed", test_answers_changed},
    {"the receiver takes nothing unsealed", test_receiver_insists},
    {"keys that are not trusted", test_other_keys},
};

CHECK_MAIN("sealed", tests)
