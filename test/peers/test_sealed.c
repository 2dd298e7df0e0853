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

/* ---- It does not ---- */

static struct secure_setup sealed_only(meddler_fn meddle)
{
    return (struct secure_setup){.preference = PARLEY_WEBSOCKET_ONLY,
                                 .sender_min = PARLEY_SECURITY_SEALED,
                                 .ttl_ms = 200,
                                 .meddle = meddle};
}

static size_t strip_offer(struct meddler *meddler, char *bytes, size_t len, bool to_server)
{
    (void)meddler;
    return to_server ? len : strip(bytes, len, "\"handshake\":\"1.1\"", '0');
}

/* Steps do not arrive. The client's frames are masked: what is long must be one. */
static size_t strip_steps(struct meddler *meddler, char *bytes, size_t len, bool to_server)
{
    (void)meddler;
    return to_server && len > 600 && memmem(bytes, len, "GET /ws", 7) == NULL ? 0 : len;
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
    {"parley/1 is stripped", test_parley_stripped},
    {"the offer of handshakes is stripped", test_offer_stripped},
    {"the handshake is stripped", test_steps_stripped},
    {"sealed answers are changed", test_answers_changed},
    {"the receiver takes nothing unsealed", test_receiver_insists},
    {"keys that are not trusted", test_other_keys},
};

CHECK_MAIN("sealed", tests)
