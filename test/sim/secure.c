/* SPDX-License-Identifier: Apache-2.0
 *
 * Between the library and OpenSSL, and between its own parts, where the linker lets us stand
 * (--wrap): every key and nonce is seen, every frame that is sealed or opened, every step of
 * a handshake. Signatures and key agreement, which are tested elsewhere and cost a hundred
 * times what all else does, are replaced by likenesses in most worlds; and the memory against
 * replay has a disk that a process cannot take with it.
 */
#include "test/sim/secure.h"

#include <assert.h>
#include <openssl/evp.h>
#include <string.h>

#include "peers/crypto.h"
#include "peers/handshake.h"
#include "peers/identity.h"
#include "peers/nonces_file.h"
#include "peers/seal.h"
#include "peers/service.h"

#define NONCES_BITS  16
#define SEALED_BITS  15
#define CONTEXTS_MAX 4096
#define AGREED_MAX   4096

static uint64_t mixed(uint64_t hash, uint64_t value)
{
    hash = (hash ^ value) * UINT64_C(0x9e3779b97f4a7c15);
    hash = (hash ^ (hash >> 29)) * UINT64_C(0xbf58476d1ce4e5b9);
    return hash ^ (hash >> 32);
}

static uint64_t hash_of(uint64_t hash, const void *data, size_t len)
{
    const uint8_t *bytes = data;

    for (; len >= 8; len -= 8, bytes += 8) {
        uint64_t word;

        memcpy(&word, bytes, 8);
        hash = mixed(hash, word);
    }
    for (; len > 0; len--)
        hash = mixed(hash, *bytes++ + 1);
    return hash;
}

static struct process *process_here(void)
{
    struct worker *worker = worker_entered();
    struct transport *transport = worker != NULL ? worker_get_local(worker, 0) : NULL;

    return transport != NULL ? transport->process : NULL;
}

/* ---- Keys and nonces ---- */

struct context {
    EVP_CIPHER_CTX *ctx;
    const struct process *process;
    uint8_t key[32];
    bool sealing;
};

static struct context contexts[CONTEXTS_MAX];
static unsigned contexts_len;
static struct {
    uint64_t run, hash;
} nonces[1u << NONCES_BITS]; /* of this run, by key and nonce */
static uint64_t run;
static unsigned nonces_len;

EVP_CIPHER_CTX *__wrap_EVP_CIPHER_CTX_new(void);
EVP_CIPHER_CTX *__real_EVP_CIPHER_CTX_new(void);
void __wrap_EVP_CIPHER_CTX_free(EVP_CIPHER_CTX *ctx);
void __real_EVP_CIPHER_CTX_free(EVP_CIPHER_CTX *ctx);
int __wrap_EVP_CipherInit_ex2(EVP_CIPHER_CTX *ctx, const EVP_CIPHER *cipher,
                              const unsigned char *key, const unsigned char *nonce,
                              int sealing, const OSSL_PARAM params[]);
int __real_EVP_CipherInit_ex2(EVP_CIPHER_CTX *ctx, const EVP_CIPHER *cipher,
                              const unsigned char *key, const unsigned char *nonce,
                              int sealing, const OSSL_PARAM params[]);

static struct context *find_context(const EVP_CIPHER_CTX *ctx)
{
    for (unsigned i = contexts_len; i-- > 0;) {
        if (contexts[i].ctx == ctx)
            return &contexts[i];
    }
    return NULL;
}

EVP_CIPHER_CTX *__wrap_EVP_CIPHER_CTX_new(void)
{
    EVP_CIPHER_CTX *ctx = __real_EVP_CIPHER_CTX_new();

    assert(contexts_len < CONTEXTS_MAX);
    contexts[contexts_len++] = (struct context){.ctx = ctx, .process = process_here()};
    return ctx;
}

void __wrap_EVP_CIPHER_CTX_free(EVP_CIPHER_CTX *ctx)
{
    struct context *context = find_context(ctx);

    if (context != NULL)
        *context = contexts[--contexts_len];
    __real_EVP_CIPHER_CTX_free(ctx);
}

static void use_nonce(const struct context *context, const unsigned char *nonce)
{
    uint64_t hash = hash_of(hash_of(1, context->key, sizeof(context->key)), nonce, 12);
    size_t at = hash & ((1u << NONCES_BITS) - 1);

    for (; nonces[at].run == run; at = (at + 1) & ((1u << NONCES_BITS) - 1)) {
        if (nonces[at].hash == hash)
            promise_broken("a key seals a second frame with the same nonce");
    }
    if (++nonces_len > (1u << NONCES_BITS) / 2)
        promise_broken("too many sealed frames");
    nonces[at].run = run;
    nonces[at].hash = hash;
}

int __wrap_EVP_CipherInit_ex2(EVP_CIPHER_CTX *ctx, const EVP_CIPHER *cipher,
                              const unsigned char *key, const unsigned char *nonce,
                              int sealing, const OSSL_PARAM params[])
{
    struct context *context = find_context(ctx);

    if (context != NULL && key != NULL)
        memcpy(context->key, key, sizeof(context->key));
    if (context != NULL && sealing >= 0)
        context->sealing = sealing == 1;
    if (context != NULL && nonce != NULL && context->sealing)
        use_nonce(context, nonce);
    return __real_EVP_CipherInit_ex2(ctx, cipher, key, nonce, sealing, params);
}

void secure_process_gone(const struct process *process)
{
    for (unsigned i = contexts_len; i-- > 0;) {
        if (contexts[i].process == process) {
            __real_EVP_CIPHER_CTX_free(contexts[i].ctx);
            contexts[i] = contexts[--contexts_len];
        }
    }
}

/* ---- Frames ---- */

struct sealed {
    uint64_t run, hash; /* of its tag and header */
    const struct host *by;
    const char *text;
    size_t len;
    unsigned opened;
};

static struct sealed sealed[1u << SEALED_BITS];
static unsigned sealed_len;

parley_status __wrap_seal_close_as(struct seal *seal, uint32_t counter, void *frame,
                                   size_t text_len);
parley_status __real_seal_close_as(struct seal *seal, uint32_t counter, void *frame,
                                   size_t text_len);
parley_status __wrap_seal_close_frame(struct seal *seal, void *frame, size_t text_len);
parley_status __real_seal_close_frame(struct seal *seal, void *frame, size_t text_len);
parley_status __wrap_seal_open_frame(struct seal *seal, bool gaps, void *frame, size_t len,
                                     char **ret_text, size_t *ret_len);
parley_status __real_seal_open_frame(struct seal *seal, bool gaps, void *frame, size_t len,
                                     char **ret_text, size_t *ret_len);

static uint64_t frame_hash(const void *frame, size_t len)
{
    const uint8_t *bytes = frame;

    return hash_of(hash_of(len, bytes, SEAL_HEADER_BYTES), bytes + len - CRYPTO_TAG_BYTES,
                   CRYPTO_TAG_BYTES);
}

/* @return its place, or the one that is free for it */
static struct sealed *find_sealed(uint64_t hash)
{
    size_t at = hash & ((1u << SEALED_BITS) - 1);

    while (sealed[at].run == run && sealed[at].hash != hash)
        at = (at + 1) & ((1u << SEALED_BITS) - 1);
    return &sealed[at];
}

static void note_sealed(const char *text, const void *frame, size_t text_len)
{
    uint64_t hash = frame_hash(frame, text_len + SEAL_OVERHEAD);
    struct sealed *slot = find_sealed(hash);

    if (++sealed_len > (1u << SEALED_BITS) / 2)
        promise_broken("too many sealed frames");
    *slot = (struct sealed){
        .run = run, .hash = hash, .by = process_here()->node, .text = text, .len = text_len};
}

static char *copied(const void *frame, size_t text_len)
{
    char *text = sim_new(text_len + 1);

    memcpy(text, (const char *)frame + SEAL_HEADER_BYTES, text_len);
    return text;
}

parley_status __wrap_seal_close_as(struct seal *seal, uint32_t counter, void *frame,
                                   size_t text_len)
{
    char *text = copied(frame, text_len);
    parley_status status = __real_seal_close_as(seal, counter, frame, text_len);

    if (status == PARLEY_OK)
        note_sealed(text, frame, text_len);
    return status;
}

parley_status __wrap_seal_close_frame(struct seal *seal, void *frame, size_t text_len)
{
    char *text = copied(frame, text_len);
    parley_status status = __real_seal_close_frame(seal, frame, text_len);

    if (status == PARLEY_OK)
        note_sealed(text, frame, text_len);
    return status;
}

parley_status __wrap_seal_open_frame(struct seal *seal, bool gaps, void *frame, size_t len,
                                     char **ret_text, size_t *ret_len)
{
    uint64_t hash = len >= SEAL_OVERHEAD ? frame_hash(frame, len) : 0;
    parley_status status = __real_seal_open_frame(seal, gaps, frame, len, ret_text, ret_len);
    struct sealed *slot;

    if (status != PARLEY_OK)
        return status;
    slot = find_sealed(hash);
    if (slot->run != run || slot->len != *ret_len ||
        memcmp(slot->text, *ret_text, slot->len) != 0)
        promise_broken("%s opens a frame that nobody sealed", process_here()->node->id);
    if (slot->by == process_here()->node)
        promise_broken("%s opens a frame of its own", slot->by->id);
    if (slot->opened++ > 0)
        promise_broken("%s opens a frame a second time", process_here()->node->id);
    return status;
}

void secure_sent(unsigned from, unsigned to, bool is_sealed, const char **text, size_t *len)
{
    static const char mark[] = "\"payload\"", chunk[] = "chunk_id";
    parley_security least = sim.setup.pairs[from][to].security_min; /* the sender's */
    struct sealed *slot;

    if (!is_sealed) {
        if (least == PARLEY_SECURITY_SEALED &&
            (memmem(*text, *len, "{\"m\":", 5) != NULL ||
             memmem(*text, *len, chunk, sizeof(chunk) - 1) != NULL))
            promise_broken("n%u sends a message to n%u that is not sealed", from, to);
        return;
    }
    tally->sealed++;
    if (*len < SEAL_OVERHEAD)
        promise_broken("n%u sends a sealed frame that is none", from);
    slot = find_sealed(frame_hash(*text, *len));
    if (slot->run != run)
        promise_broken("n%u sends a sealed frame that nobody sealed", from);
    if (memmem(*text, *len, mark, sizeof(mark) - 1) != NULL)
        promise_broken("n%u sends a sealed frame that can be read", from);
    *text = slot->text;
    *len = slot->len;
}

/* ---- Handshakes ---- */

struct agreed {
    uint8_t transcript[32];
    char initiator[8], responder[8];
    enum handshake_state by_initiator, by_responder; /* how far each has come */
};

static struct agreed agreed[AGREED_MAX];
static unsigned agreed_len;

enum handshake_result __wrap_handshake_receive(struct handshake *handshake,
                                               const struct handshake_parties *parties,
                                               const struct handshake_message *message,
                                               bool proven,
                                               const struct handshake_random *random,
                                               uint64_t now_ns, uint64_t wall_us,
                                               struct json_out *out);
enum handshake_result __real_handshake_receive(struct handshake *handshake,
                                               const struct handshake_parties *parties,
                                               const struct handshake_message *message,
                                               bool proven,
                                               const struct handshake_random *random,
                                               uint64_t now_ns, uint64_t wall_us,
                                               struct json_out *out);

static struct agreed *find_agreed(const struct handshake *handshake,
                                  const struct handshake_parties *parties)
{
    const char *initiator = handshake->initiator ? parties->own_id : parties->peer_id;
    const char *responder = handshake->initiator ? parties->peer_id : parties->own_id;
    struct agreed *found;

    for (unsigned i = agreed_len; i-- > 0;) {
        if (memcmp(agreed[i].transcript, handshake->transcript, 32) == 0 &&
            strcmp(agreed[i].initiator, initiator) == 0 &&
            strcmp(agreed[i].responder, responder) == 0)
            return &agreed[i];
    }
    if (agreed_len == AGREED_MAX)
        promise_broken("too many handshakes");
    found = &agreed[agreed_len++];
    memset(found, 0, sizeof(*found));
    memcpy(found->transcript, handshake->transcript, 32);
    strcpy(found->initiator, initiator);
    strcpy(found->responder, responder);
    return found;
}

/* A side that goes on has seen what only the other one can have said, in this very one. */
static void check_step(const struct handshake *handshake,
                       const struct handshake_parties *parties)
{
    struct agreed *both = find_agreed(handshake, parties);
    bool answered = handshake->initiator
                        ? both->by_responder >= HANDSHAKE_SESSION_ESTABLISHED
                        : both->by_initiator >= HANDSHAKE_HANDSHAKE_ACK_RECEIVED;

    if (handshake->state >= HANDSHAKE_SESSION_ESTABLISHED && !answered)
        promise_broken("%s: %s has not met the challenge", parties->own_id, parties->peer_id);
    if (handshake->state == HANDSHAKE_READY && handshake->initiator)
        tally->handshakes++;
    *(handshake->initiator ? &both->by_initiator : &both->by_responder) = handshake->state;
}

enum handshake_result __wrap_handshake_receive(struct handshake *handshake,
                                               const struct handshake_parties *parties,
                                               const struct handshake_message *message,
                                               bool proven,
                                               const struct handshake_random *random,
                                               uint64_t now_ns, uint64_t wall_us,
                                               struct json_out *out)
{
    enum handshake_result result = __real_handshake_receive(
        handshake, parties, message, proven, random, now_ns, wall_us, out);

    if (result == HANDSHAKE_SAY || result == HANDSHAKE_SAY_SEALED || result == HANDSHAKE_DONE)
        check_step(handshake, parties);
    return result;
}

/* ---- Likenesses of what is costly ---- */

parley_status __wrap_identity_sign(const struct identity *identity, const void *data,
                                   size_t len, uint8_t ret_signature[64]);
parley_status __real_identity_sign(const struct identity *identity, const void *data,
                                   size_t len, uint8_t ret_signature[64]);
bool __wrap_identity_verify(const struct identity_key *key, const void *data, size_t len,
                            const uint8_t signature[64]);
bool __real_identity_verify(const struct identity_key *key, const void *data, size_t len,
                            const uint8_t signature[64]);
bool __wrap_crypto_x25519_public(const uint8_t private_key[32], uint8_t ret_public[32]);
bool __real_crypto_x25519_public(const uint8_t private_key[32], uint8_t ret_public[32]);
parley_status __wrap_crypto_x25519(const uint8_t private_key[32], const uint8_t public_key[32],
                                   uint8_t ret_shared[32]);
parley_status __real_crypto_x25519(const uint8_t private_key[32], const uint8_t public_key[32],
                                   uint8_t ret_shared[32]);

static void spread(uint64_t hash, uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < len; i += 8) {
        hash = mixed(hash, i + 1);
        memcpy(bytes + i, &hash, 8);
    }
}

static void likeness(const uint8_t public_key[32], const void *data, size_t len,
                     uint8_t ret_signature[64])
{
    spread(hash_of(hash_of(len, public_key, 32), data, len), ret_signature, 64);
}

parley_status __wrap_identity_sign(const struct identity *identity, const void *data,
                                   size_t len, uint8_t ret_signature[64])
{
    if (sim.setup.costly)
        return __real_identity_sign(identity, data, len, ret_signature);
    likeness(identity_public(identity), data, len, ret_signature);
    return PARLEY_OK;
}

bool __wrap_identity_verify(const struct identity_key *key, const void *data, size_t len,
                            const uint8_t signature[64])
{
    uint8_t right[64];

    if (sim.setup.costly)
        return __real_identity_verify(key, data, len, signature);
    likeness(identity_key_bytes(key), data, len, right);
    return memcmp(right, signature, sizeof(right)) == 0;
}

/* Diffie and Hellman's, in a small field. */
#define PRIME ((UINT64_C(1) << 61) - 1)

static uint64_t power(uint64_t base, uint64_t exponent)
{
    uint64_t result = 1;

    for (base %= PRIME; exponent > 0; exponent >>= 1) {
        if (exponent & 1)
            result = (uint64_t)((unsigned __int128)result * base % PRIME);
        base = (uint64_t)((unsigned __int128)base * base % PRIME);
    }
    return result;
}

bool __wrap_crypto_x25519_public(const uint8_t private_key[32], uint8_t ret_public[32])
{
    uint64_t made;

    if (sim.setup.costly)
        return __real_crypto_x25519_public(private_key, ret_public);
    made = power(37, hash_of(5, private_key, 32));
    memset(ret_public, 0, 32);
    memcpy(ret_public, &made, sizeof(made));
    return true;
}

parley_status __wrap_crypto_x25519(const uint8_t private_key[32], const uint8_t public_key[32],
                                   uint8_t ret_shared[32])
{
    uint64_t base;

    if (sim.setup.costly)
        return __real_crypto_x25519(private_key, public_key, ret_shared);
    memcpy(&base, public_key, sizeof(base));
    base = power(base, hash_of(5, private_key, 32));
    if (base == 0)
        return PARLEY_EREFUSED;
    spread(base, ret_shared, 32);
    return PARLEY_OK;
}

/* ---- The disk: what was appended is there, whoever died ---- */

struct appended {
    struct appended *next;
    enum nonces_kind kind;
    const char *sender, *text;
    uint64_t newest_us, wall_us, at_ns;
};

static struct {
    struct appended *first, **last;
} disks[SIM_NODES_MAX];

parley_status __wrap_nonces_file_open(struct nonces *memory, const char *state_dir,
                                      const char *node_id, uint64_t now_ns, uint64_t wall_us,
                                      char *error, size_t error_len);
void __wrap_nonces_file_close(struct nonces_file *file);
void __wrap_nonces_file_add(struct nonces_file *file, enum nonces_kind kind,
                            const char *sender, const char *text, uint64_t newest_us,
                            uint64_t wall_us);

parley_status __wrap_nonces_file_open(struct nonces *memory, const char *state_dir,
                                      const char *node_id, uint64_t now_ns, uint64_t wall_us,
                                      char *error, size_t error_len)
{
    unsigned node = (unsigned)(node_id[1] - '0');

    (void)state_dir;
    (void)wall_us;
    (void)error;
    (void)error_len;
    for (const struct appended *one = disks[node].first; one != NULL; one = one->next) {
        if (one->at_ns + memory->window_ns >= now_ns)
            (void)nonces_restore(memory, one->kind, one->sender, one->text, one->newest_us,
                                 one->at_ns, now_ns);
    }
    memory->file = (struct nonces_file *)(void *)&disks[node];
    return PARLEY_OK;
}

void __wrap_nonces_file_close(struct nonces_file *file)
{
    (void)file;
}

static const char *duplicate(const char *text)
{
    return strcpy(sim_new(strlen(text) + 1), text);
}

void __wrap_nonces_file_add(struct nonces_file *file, enum nonces_kind kind,
                            const char *sender, const char *text, uint64_t newest_us,
                            uint64_t wall_us)
{
    struct appended *one;

    for (unsigned i = 0; i < SIM_NODES_MAX; i++) {
        if ((void *)file != (void *)&disks[i])
            continue;
        one = sim_new(sizeof(*one));
        *one = (struct appended){.kind = kind,
                                 .sender = duplicate(sender),
                                 .text = duplicate(text),
                                 .newest_us = newest_us,
                                 .wall_us = wall_us,
                                 .at_ns = sim.now_ns};
        *disks[i].last = one;
        disks[i].last = &one->next;
    }
}

void secure_reset(void)
{
    run++;
    nonces_len = sealed_len = agreed_len = 0;
    for (unsigned i = 0; i < SIM_NODES_MAX; i++) {
        disks[i].first = NULL;
        disks[i].last = &disks[i].first;
    }
}
