/* SPDX-License-Identifier: Apache-2.0
 *
 * Two nodes with identities that trust each other, and a man in the middle.
 */
#ifndef PARLEY_TEST_SECURE_PAIR_H
#define PARLEY_TEST_SECURE_PAIR_H

#include "peers/identity.h"
#include "test/peers/meddler.h"
#include "test/peers/nodes.h"

#define MARKER "a-secret-nobody-may-see"

/** What is different from two nodes that seal what they can. */
struct secure_setup {
    parley_preference preference;
    parley_security sender_min, receiver_min;
    bool sender_alone; /* the receiver has no identity */
    bool stranger;     /* the receiver trusts another key for the sender */
    bool impostor;     /* the sender trusts another key for the receiver */
    bool anonymous;    /* the sender has no identity */
    uint32_t rekey_frames, rekey_s, session_s;
    bool session_of_receiver; /* session_s is the receiver's only */
    uint32_t ttl_ms;
    uint32_t receiver_message_bytes; /* 0: the default */
    uint32_t message_bytes_max;
    meddler_fn meddle;
};

struct secure_pair {
    parley *receiver, *sender;
    parley_peer peer, back; /* the receiver; at the receiver: the sender, without URL */
    struct meddler meddler;
    struct tally tally;
    struct seen seen;
    uint8_t seeds[3][IDENTITY_SEED_BYTES];
    char keys[3][IDENTITY_KEY_HEX + 1];
};

static inline void secure_keys(struct secure_pair *pair)
{
    struct alloc alloc;

    alloc_init(&alloc, NULL);
    for (unsigned i = 0; i < 3; i++) {
        struct identity *identity = NULL;

        memset(pair->seeds[i], 0x21 + (int)i, IDENTITY_SEED_BYTES);
        CHECK_STATUS(identity_new(&alloc, pair->seeds[i], &identity), OK);
        identity_hex(identity_public(identity), pair->keys[i]);
        identity_free(identity);
    }
}

static inline void secure_options(struct secure_pair *pair, const struct secure_setup *setup,
                                  parley_options *options, unsigned who)
{
    node_options(options, who == 0 ? "sender" : "receiver");
    options->identity_seed = pair->seeds[who];
    options->http_backoff_ms = 20;
    options->reconnect_min_ms = 20;
    options->reconnect_max_ms = 200;
    if (setup->rekey_frames != 0)
        options->rekey_frames = setup->rekey_frames;
    if (setup->rekey_s != 0)
        options->rekey_s = setup->rekey_s;
    if (setup->session_s != 0 && (who == 1 || !setup->session_of_receiver))
        options->secure_session_s = setup->session_s;
    if (setup->message_bytes_max != 0)
        options->message_bytes_max = setup->message_bytes_max;
    if (setup->anonymous && who == 0)
        options->identity_seed = NULL;
}

static inline void secure_receiver(struct secure_pair *pair, const struct secure_setup *setup)
{
    parley_peer_options peer;
    parley_options options;

    secure_options(pair, setup, &options, 1);
    options.listen_host = "127.0.0.1";
    options.accept_websocket = true;
    if (setup->sender_alone)
        options.identity_seed = NULL;
    if (setup->receiver_message_bytes != 0)
        options.message_bytes_max = setup->receiver_message_bytes;
    pair->receiver = node_open(&options);
    parley_on_message(pair->receiver, NULL, seen_handler, &pair->seen);
    parley_peer_options_init(&peer);
    peer.public_key = pair->keys[setup->stranger ? 2 : 0];
    peer.security_min = setup->receiver_min;
    CHECK_STATUS(parley_peer_add(pair->receiver, "sender", NULL, &peer, &pair->back), OK);
}

static inline void secure_sender(struct secure_pair *pair, const struct secure_setup *setup)
{
    parley_peer_options peer;
    parley_options options;
    char url[64];

    secure_options(pair, setup, &options, 0);
    pair->sender = node_open(&options);
    parley_peer_options_init(&peer);
    peer.preference = setup->preference;
    peer.preference_set = true;
    peer.public_key = pair->keys[setup->impostor ? 2 : 1];
    peer.security_min = setup->sender_min;
    peer.ttl_ms = setup->ttl_ms;
    snprintf(url, sizeof(url), "http://127.0.0.1:%u", pair->meddler.port);
    CHECK_STATUS(parley_peer_add(pair->sender, "receiver", url, &peer, &pair->peer), OK);
}

static inline void secure_open(struct secure_pair *pair, const struct secure_setup *setup)
{
    memset(pair, 0, sizeof(*pair));
    pthread_mutex_init(&pair->tally.mutex, NULL);
    secure_keys(pair);
    secure_receiver(pair, setup);
    meddler_open(&pair->meddler, parley_port(pair->receiver), setup->meddle, MARKER);
    secure_sender(pair, setup);
}

static inline void secure_close(struct secure_pair *pair)
{
    CHECK_STATUS(parley_close(pair->sender), OK);
    meddler_close(&pair->meddler);
    CHECK_STATUS(parley_close(pair->receiver), OK);
}

/** Posts messages that hold the marker. */
static inline void secure_post(struct secure_pair *pair, uint64_t from, uint64_t count)
{
    char payload[128];

    for (uint64_t n = from; n < from + count; n++) {
        snprintf(payload, sizeof(payload), "{\"t\":0,\"n\":%llu,\"m\":\"" MARKER "\"}",
                 (unsigned long long)n);
        while (post(pair->sender, pair->peer, payload, &pair->tally) == PARLEY_EAGAIN)
            sched_yield();
    }
}

/** Nothing is delivered, nothing readable was said, and the message says why. */
static inline void check_nothing(const struct secure_setup *setup, const char *detail)
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

/** Changes the last letter of `what`, which ends in a quote. */
static inline size_t strip(char *bytes, size_t len, const char *what, char with)
{
    char *at = memmem(bytes, len, what, strlen(what));

    if (at != NULL)
        at[strlen(what) - 2] = with;
    return len;
}

static inline size_t strip_parley(struct meddler *meddler, char *bytes, size_t len,
                                  bool to_server)
{
    (void)meddler;
    return to_server ? len : strip(bytes, len, "\"parley/1\"", '0');
}

#endif
