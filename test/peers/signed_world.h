/* SPDX-License-Identifier: Apache-2.0
 *
 * A node "us" that knows "alice" by her key, and what alice signs.
 */
#ifndef PARLEY_TEST_SIGNED_WORLD_H
#define PARLEY_TEST_SIGNED_WORLD_H

#include <sys/stat.h>
#include <unistd.h>

#include "peers/canonical.h"
#include "peers/envelope.h"
#include "peers/signature.h"
#include "runtime/clock.h"
#include "test/peers/older_client.h"

#define SESSION "11111111-2222-4333-8444-555555555555"

static struct alloc alloc;
static struct canonical canonical;

static inline void seed_of(uint8_t seed[32], uint8_t first)
{
    for (uint8_t i = 0; i < 32; i++)
        seed[i] = first + i;
}

static inline struct identity *identity_of(uint8_t first)
{
    struct identity *identity = NULL;
    uint8_t seed[32];

    seed_of(seed, first);
    CHECK_STATUS(identity_new(&alloc, seed, &identity), OK);
    return identity;
}

static inline void hex_of(uint8_t first, char hex[IDENTITY_KEY_HEX + 1])
{
    struct identity *identity = identity_of(first);

    identity_hex(identity_public(identity), hex);
    identity_free(identity);
}

/* ---- A node that requires signatures and knows "alice" ---- */

#define ALICE 0x10
#define BOB   0x40
#define NODE  0x70

struct world {
    parley *node;
    struct identity *alice;
    struct seen seen;
    char dir[64];
    uint32_t nonces_max; /* 0: the default */
};

static inline void begin(void)
{
    alloc_init(&alloc, NULL);
    canonical_init(&canonical, &alloc);
}

static inline void add_peer(parley *node, const char *id, const char *url, uint8_t first,
                            parley_signatures signatures, parley_preference preference)
{
    char hex[IDENTITY_KEY_HEX + 1];
    parley_peer_options options;
    parley_peer peer;

    hex_of(first, hex);
    parley_peer_options_init(&options);
    options.public_key = hex;
    options.signatures = signatures;
    options.preference = preference;
    options.preference_set = true;
    CHECK_STATUS(parley_peer_add(node, id, url, &options, &peer), OK);
}

static inline void node_start(struct world *world, parley_signatures signatures)
{
    parley_options options;
    uint8_t seed[32];

    seed_of(seed, NODE);
    node_options(&options, "us");
    options.identity_seed = seed;
    options.listen_host = "127.0.0.1";
    options.listen_port = 0;
    options.signatures = signatures;
    options.state_dir = world->dir[0] != '\0' ? world->dir : NULL;
    if (world->nonces_max != 0)
        options.nonces_max = world->nonces_max;
    world->node = node_open(&options);
    parley_on_message(world->node, NULL, seen_handler, &world->seen);
    add_peer(world->node, "alice", NULL, ALICE, PARLEY_SIGNATURES_AUTO, PARLEY_HTTP_ONLY);
}

static inline void world_open(struct world *world, parley_signatures signatures)
{
    memset(world, 0, sizeof(*world));
    begin();
    world->alice = identity_of(ALICE);
    node_start(world, signatures);
}

static inline void world_close(struct world *world)
{
    CHECK_STATUS(parley_close(world->node), OK);
    identity_free(world->alice);
    canonical_fini(&canonical);
}

/* ---- What alice says ---- */

struct said {
    struct envelope_fields fields;
    struct signed_texts texts;
    uint8_t nonce[16];
    char text[4096];
};

static inline void say(struct said *said, uint64_t number, uint64_t timestamp_us,
                       uint8_t nonce)
{
    memset(said->nonce, nonce, sizeof(said->nonce));
    said->fields = (struct envelope_fields){
        .sender_id = "alice",
        .recipient_id = "us",
        .session_id = SESSION,
        .msg_type = "test",
        .msg_type_len = 4,
        .payload = "{\"t\":9}",
        .payload_len = 7,
        .timestamp_us = timestamp_us,
        .number = number,
        .nonce = said->nonce,
        .version = "1.0",
    };
}

/* @param bound with a parley_signature, too */
static inline const char *envelope_text(const struct world *world, struct said *said,
                                        bool bound)
{
    struct json_out out = {.buffer = said->text, .capacity = sizeof(said->text) - 1};

    CHECK_STATUS(signature_envelope(&canonical, world->alice, &said->fields, &said->texts),
                 OK);
    if (!bound)
        said->fields.bound = NULL;
    envelope_write(&out, &said->fields);
    said->text[out.len] = '\0';
    return said->text;
}

/* Messages from `first` on. */
static inline const char *batch_text(const struct world *world, struct said *said,
                                     uint64_t first, unsigned count, uint64_t timestamp_us)
{
    struct json_out out = {.buffer = said->text, .capacity = sizeof(said->text) - 1};

    batch_begin(&out, SESSION, 1, first);
    for (unsigned i = 0; i < count; i++) {
        say(said, first + i, timestamp_us, (uint8_t)i);
        said->fields.base_seq = 1;
        CHECK_STATUS(signature_in_batch(&canonical, world->alice, &said->fields, &said->texts),
                     OK);
        if (i > 0)
            said->fields.sender_id = NULL;
        CHECK(batch_add(&out, &said->fields, i == 0));
    }
    batch_end(&out);
    said->text[out.len] = '\0';
    return said->text;
}

static inline void change(char *text, const char *from, const char *to)
{
    char *at = strstr(text, from);

    CHECK_U64(strlen(from), strlen(to));
    if (CHECK(at != NULL))
        for (size_t i = 0; to[i] != '\0'; i++)
            at[i] = to[i];
}

static inline const char *ask(const struct world *world, const char *path, const char *body)
{
    static char answer[4096];
    char request[8192];
    int fd = raw_connect((uint16_t)parley_port(world->node));
    size_t len = (size_t)snprintf(request, sizeof(request),
                                  "POST %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                                  "Content-Length: %zu\r\n\r\n%s",
                                  path, strlen(body), body);

    CHECK(raw_send(fd, request, len) && raw_answer(fd, answer, sizeof(answer)));
    close(fd);
    return answer;
}

static inline void refused(const struct world *world, const char *path, const char *body,
                           const char *detail)
{
    char expected[128];

    snprintf(expected, sizeof(expected), "{\"detail\":\"%s\"}", detail);
    CHECK_CONTAINS(ask(world, path, body), " 400 ");
    CHECK_CONTAINS(ask(world, path, body), expected);
}

static inline uint64_t ran(struct world *world)
{
    return atomic_load(&world->seen.handled);
}

#endif
