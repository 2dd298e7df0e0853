/* SPDX-License-Identifier: Apache-2.0
 *
 * Sealed requests between real nodes: nothing readable on the wire, new keys, one transport
 * after the other, and a man in the middle who strips, changes, forges and repeats.
 */
#include "test/peers/secure_pair.h"

static struct secure_setup over_http(meddler_fn meddle)
{
    return (struct secure_setup){.preference = PARLEY_HTTP_ONLY,
                                 .sender_min = PARLEY_SECURITY_SEALED,
                                 .receiver_min = PARLEY_SECURITY_SEALED,
                                 .ttl_ms = meddle != NULL ? 200 : 0,
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

/* Of what an answer's header says nothing is proven; it may be missing as well. */
static size_t without_header(struct meddler *meddler, char *bytes, size_t len, bool to_server)
{
    static const char header[] = "max_message_bytes=";
    char *at = to_server ? NULL : memmem(bytes, len, header, sizeof(header) - 1);

    (void)meddler;
    if (at != NULL)
        *at = 'M';
    return len;
}

static void test_http_limits_proven(void)
{
    struct secure_setup setup = over_http(without_header);
    char payload[20000] = "{\"t\":0,\"n\":0,\"m\":\"" MARKER;
    struct secure_pair pair;
    size_t len = strlen(payload);

    setup.receiver_message_bytes = 4096;
    setup.ttl_ms = 0;
    secure_open(&pair, &setup);
    memset(payload + len, 'x', sizeof(payload) - len - 3);
    memcpy(payload + sizeof(payload) - 3, "\"}", 3);
    CHECK_STATUS(post(pair.sender, pair.peer, payload, &pair.tally), OK);
    CHECK(check_wait(&pair.tally.results, 1));
    CHECK_U64(pair.tally.outcomes[PARLEY_DELIVERED], 1);
    CHECK_U64(pair.seen.handled, 1);
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

/* ---- Meddling ---- */

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
        at[9] = '4';
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

static const struct check_test tests[] = {
    {"sealed bodies", test_http_sealed},
    {"new keys under load", test_http_new_keys},
    {"limits are those of the handshake", test_http_limits_proven},
    {"plain without identity", test_http_plain_without_identity},
    {"from one transport to the other and back", test_both_transports},
    {"a request that comes again", test_http_replayed},
    {"the seal is stripped or broken", test_http_stripped},
    {"a step is changed", test_http_steps_changed},
    {"the code is changed", test_http_code_changed},
};

CHECK_MAIN("sealed over HTTP", tests)
