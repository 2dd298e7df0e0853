/* SPDX-License-Identifier: Apache-2.0
 *
 * All arithmetic on public keys is done with OpenSSL's big numbers: they are no secret, so
 * its time may depend on them. A point is given by y and the sign of x, in little endian;
 * x^2 = (y^2 - 1) / (d y^2 + 1) modulo p = 2^255 - 19.
 */
#include "peers/identity.h"

#include <assert.h>
#include <openssl/bn.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <string.h>

#include "peers/base64.h"

#define SIGN_OF_X 0x80 /* in the last byte */

struct identity {
    const struct alloc *alloc;
    EVP_MD_CTX *signing; /* ready to sign: copied, never used itself */
    EVP_PKEY *agreement; /* the key on X25519 */
    uint8_t public[IDENTITY_KEY_BYTES];
};

struct identity_key {
    const struct alloc *alloc;
    EVP_MD_CTX *verifying; /* as above */
    uint8_t bytes[IDENTITY_KEY_BYTES];
};

/* ---- Which keys are acceptable ---- */

/* y of every point whose order divides 8, both signs of x. */
static const uint8_t small_order[][IDENTITY_KEY_BYTES] = {
    {0},
    {1},
    {0xec, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
     0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
     0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f},
    {0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4,
     0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6,
     0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05},
    {0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b,
     0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39,
     0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a},
};

static bool below_p(const uint8_t y[IDENTITY_KEY_BYTES])
{
    if (y[0] < 0xed || y[IDENTITY_KEY_BYTES - 1] != 0x7f)
        return true;
    for (size_t i = 1; i + 1 < IDENTITY_KEY_BYTES; i++) {
        if (y[i] != 0xff)
            return true;
    }
    return false;
}

bool identity_key_acceptable(const uint8_t key[IDENTITY_KEY_BYTES])
{
    uint8_t y[IDENTITY_KEY_BYTES];

    memcpy(y, key, sizeof(y));
    y[sizeof(y) - 1] &= (uint8_t)~SIGN_OF_X;
    if (!below_p(y))
        return false;
    for (size_t i = 0; i < sizeof(small_order) / sizeof(small_order[0]); i++) {
        if (memcmp(y, small_order[i], sizeof(y)) == 0)
            return false;
    }
    return true;
}

/* ---- The curve ---- */

/* Numbers of one calculation, all freed by the context. */
struct field {
    BN_CTX *ctx;
    BIGNUM *p, *d, *y, *square, *above, *below, *ret;
};

static void field_fini(struct field *field)
{
    if (field->ctx != NULL)
        BN_CTX_end(field->ctx);
    BN_CTX_free(field->ctx);
}

/* @return PARLEY_OK; PARLEY_ENOMEM, after which there is nothing to free */
static parley_status field_init(struct field *field, const uint8_t key[IDENTITY_KEY_BYTES])
{
    static const char p[] = "7fffffffffffffffffffffffffffffff"
                            "ffffffffffffffffffffffffffffffed";
    static const char d[] = "52036cee2b6ffe738cc740797779e898"
                            "00700a4d4141d8ab75eb4dca135978a3";
    uint8_t y[IDENTITY_KEY_BYTES];

    memcpy(y, key, sizeof(y));
    y[sizeof(y) - 1] &= (uint8_t)~SIGN_OF_X;
    field->ctx = BN_CTX_new();
    if (field->ctx == NULL)
        return PARLEY_ENOMEM;
    BN_CTX_start(field->ctx);
    field->p = BN_CTX_get(field->ctx);
    field->d = BN_CTX_get(field->ctx);
    field->y = BN_CTX_get(field->ctx);
    field->square = BN_CTX_get(field->ctx);
    field->above = BN_CTX_get(field->ctx);
    field->below = BN_CTX_get(field->ctx);
    field->ret = BN_CTX_get(field->ctx); /* NULL once any of them was */
    if (field->ret != NULL && BN_hex2bn(&field->p, p) != 0 && BN_hex2bn(&field->d, d) != 0 &&
        BN_lebin2bn(y, sizeof(y), field->y) != NULL)
        return PARLEY_OK;
    field_fini(field);
    return PARLEY_ENOMEM;
}

/* Whether (y^2 - 1) (d y^2 + 1) is a square: then so is their quotient, x^2. */
static parley_status on_curve(const uint8_t key[IDENTITY_KEY_BYTES])
{
    struct field f;
    int symbol = -2; /* as BN_kronecker() says that it failed */

    if (field_init(&f, key) != PARLEY_OK)
        return PARLEY_ENOMEM;
    if (BN_mod_sqr(f.square, f.y, f.p, f.ctx) &&
        BN_mod_mul(f.below, f.d, f.square, f.p, f.ctx) && BN_add_word(f.below, 1) &&
        BN_copy(f.above, f.square) != NULL && BN_sub_word(f.above, 1) &&
        BN_mod_mul(f.ret, f.above, f.below, f.p, f.ctx))
        symbol = BN_kronecker(f.ret, f.p, f.ctx);
    field_fini(&f);
    if (symbol == -2)
        return PARLEY_ENOMEM;
    return symbol == 1 ? PARLEY_OK : PARLEY_EINVAL;
}

static parley_status to_x25519(const uint8_t key[IDENTITY_KEY_BYTES],
                               uint8_t ret_u[IDENTITY_KEY_BYTES])
{
    struct field f;
    bool done;

    if (field_init(&f, key) != PARLEY_OK)
        return PARLEY_ENOMEM;
    /* 1 - y has an inverse: y = 1 is of small order, and refused before. */
    done = BN_one(f.above) && BN_mod_sub(f.below, f.above, f.y, f.p, f.ctx) &&
           BN_add_word(f.y, 1) && BN_mod_inverse(f.below, f.below, f.p, f.ctx) != NULL &&
           BN_mod_mul(f.ret, f.y, f.below, f.p, f.ctx) &&
           BN_bn2lebinpad(f.ret, ret_u, IDENTITY_KEY_BYTES) == IDENTITY_KEY_BYTES;
    field_fini(&f);
    return done ? PARLEY_OK : PARLEY_ENOMEM;
}

static parley_status usable(const uint8_t key[IDENTITY_KEY_BYTES])
{
    return identity_key_acceptable(key) ? on_curve(key) : PARLEY_EINVAL;
}

/* ---- Ours ---- */

/* The private half of SHA-512(seed); X25519 clamps it itself. */
static EVP_PKEY *agreement_key(const uint8_t seed[IDENTITY_SEED_BYTES])
{
    uint8_t expanded[SHA512_DIGEST_LENGTH];
    EVP_PKEY *key = NULL;

    if (EVP_Q_digest(NULL, "SHA512", NULL, seed, IDENTITY_SEED_BYTES, expanded, NULL))
        key =
            EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, NULL, expanded, IDENTITY_KEY_BYTES);
    OPENSSL_cleanse(expanded, sizeof(expanded));
    return key;
}

static bool ready_to_sign(struct identity *identity, const uint8_t seed[IDENTITY_SEED_BYTES])
{
    EVP_PKEY *key =
        EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, seed, IDENTITY_SEED_BYTES);
    size_t len = sizeof(identity->public);
    bool ready;

    identity->signing = EVP_MD_CTX_new();
    ready = key != NULL && identity->signing != NULL &&
            EVP_PKEY_get_raw_public_key(key, identity->public, &len) == 1 &&
            EVP_DigestSignInit(identity->signing, NULL, NULL, NULL, key) == 1;
    EVP_PKEY_free(key); /* the context has its own reference */
    return ready;
}

parley_status identity_new(const struct alloc *alloc, const uint8_t seed[IDENTITY_SEED_BYTES],
                           struct identity **ret_identity)
{
    struct identity *identity = alloc_zeroed(alloc, sizeof(*identity));

    if (identity == NULL)
        return PARLEY_ENOMEM;
    identity->alloc = alloc;
    identity->agreement = agreement_key(seed);
    if (identity->agreement == NULL || !ready_to_sign(identity, seed)) {
        identity_free(identity);
        return PARLEY_ENOMEM; /* nothing else can fail there */
    }
    *ret_identity = identity;
    return PARLEY_OK;
}

void identity_free(struct identity *identity)
{
    if (identity == NULL)
        return;
    EVP_MD_CTX_free(identity->signing);
    EVP_PKEY_free(identity->agreement);
    alloc_free(identity->alloc, identity);
}

const uint8_t *identity_public(const struct identity *identity)
{
    return identity->public;
}

parley_status identity_sign(const struct identity *identity, const void *data, size_t len,
                            uint8_t ret_signature[IDENTITY_SIGNATURE_BYTES])
{
    uint8_t signature[IDENTITY_SIGNATURE_BYTES];
    size_t signature_len = sizeof(signature);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool done = ctx != NULL && EVP_MD_CTX_copy_ex(ctx, identity->signing) == 1 &&
                EVP_DigestSign(ctx, signature, &signature_len, data, len) == 1;

    EVP_MD_CTX_free(ctx);
    if (!done)
        return PARLEY_ENOMEM;
    assert(signature_len == sizeof(signature));
    memcpy(ret_signature, signature, sizeof(signature));
    return PARLEY_OK;
}

/* ---- A shared secret ---- */

static parley_status derive(EVP_PKEY *ours, EVP_PKEY *theirs,
                            uint8_t ret_shared[IDENTITY_SHARED_BYTES])
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(ours, NULL);
    uint8_t shared[IDENTITY_SHARED_BYTES];
    size_t len = sizeof(shared);
    parley_status status = PARLEY_ENOMEM;

    ERR_set_mark(); /* as in identity_verify() */
    if (ctx != NULL && EVP_PKEY_derive_init(ctx) == 1 &&
        EVP_PKEY_derive_set_peer(ctx, theirs) == 1) {
        /* It fails where all bytes of the secret are zero. */
        status = EVP_PKEY_derive(ctx, shared, &len) == 1 ? PARLEY_OK : PARLEY_EINVAL;
    }
    ERR_pop_to_mark();
    if (status == PARLEY_OK)
        memcpy(ret_shared, shared, sizeof(shared));
    OPENSSL_cleanse(shared, sizeof(shared));
    EVP_PKEY_CTX_free(ctx);
    return status;
}

parley_status identity_shared(const struct identity *identity,
                              const uint8_t peer_key[IDENTITY_KEY_BYTES],
                              uint8_t ret_shared[IDENTITY_SHARED_BYTES])
{
    uint8_t u[IDENTITY_KEY_BYTES];
    parley_status status = usable(peer_key);
    EVP_PKEY *theirs;

    if (status == PARLEY_OK)
        status = to_x25519(peer_key, u);
    if (status != PARLEY_OK)
        return status;
    theirs = EVP_PKEY_new_raw_public_key(EVP_PKEY_X25519, NULL, u, sizeof(u));
    status = theirs != NULL ? derive(identity->agreement, theirs, ret_shared) : PARLEY_ENOMEM;
    EVP_PKEY_free(theirs);
    return status;
}

/* ---- Anybody's ---- */

parley_status identity_key_new(const struct alloc *alloc,
                               const uint8_t key[IDENTITY_KEY_BYTES],
                               struct identity_key **ret_key)
{
    parley_status status = usable(key);
    struct identity_key *made;
    EVP_PKEY *pkey;

    if (status != PARLEY_OK)
        return status;
    made = alloc_zeroed(alloc, sizeof(*made));
    if (made == NULL)
        return PARLEY_ENOMEM;
    made->alloc = alloc;
    memcpy(made->bytes, key, sizeof(made->bytes));
    pkey = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, key, IDENTITY_KEY_BYTES);
    made->verifying = EVP_MD_CTX_new();
    if (pkey == NULL || made->verifying == NULL ||
        EVP_DigestVerifyInit(made->verifying, NULL, NULL, NULL, pkey) != 1) {
        identity_key_free(made);
        made = NULL;
    }
    EVP_PKEY_free(pkey); /* the context has its own reference */
    if (made == NULL)
        return PARLEY_ENOMEM;
    *ret_key = made;
    return PARLEY_OK;
}

void identity_key_free(struct identity_key *key)
{
    if (key == NULL)
        return;
    EVP_MD_CTX_free(key->verifying);
    alloc_free(key->alloc, key);
}

const uint8_t *identity_key_bytes(const struct identity_key *key)
{
    return key->bytes;
}

bool identity_verify(const struct identity_key *key, const void *data, size_t len,
                     const uint8_t signature[IDENTITY_SIGNATURE_BYTES])
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool right;

    ERR_set_mark(); /* a bad signature must not look like an error of this thread's TLS */
    right = ctx != NULL && EVP_MD_CTX_copy_ex(ctx, key->verifying) == 1 &&
            EVP_DigestVerify(ctx, signature, IDENTITY_SIGNATURE_BYTES, data, len) == 1;
    ERR_pop_to_mark();
    EVP_MD_CTX_free(ctx);
    return right;
}

/* ---- As text ---- */

/* ssh hashes the key as it stands in its files: two strings, each behind its length. */
void identity_fingerprint(const uint8_t key[IDENTITY_KEY_BYTES],
                          char text[IDENTITY_FINGERPRINT_CHARS + 1])
{
    static const uint8_t prefix[] = "\0\0\0\013ssh-ed25519\0\0\0 "; /* 11 and 32 bytes */
    static const char algorithm[] = "SHA256:";
    uint8_t blob[sizeof(prefix) - 1 + IDENTITY_KEY_BYTES], digest[SHA256_DIGEST_LENGTH];
    char chars[44]; /* base64_chars(32): the last one is padding */

    static_assert(sizeof(prefix) - 1 == 4 + 11 + 4, "two lengths and a name");
    memcpy(blob, prefix, sizeof(prefix) - 1);
    memcpy(blob + sizeof(prefix) - 1, key, IDENTITY_KEY_BYTES);
    SHA256(blob, sizeof(blob), digest);
    base64_encode((const char *)digest, sizeof(digest), chars);
    memcpy(text, algorithm, sizeof(algorithm) - 1);
    memcpy(text + sizeof(algorithm) - 1, chars, sizeof(chars) - 1);
    text[IDENTITY_FINGERPRINT_CHARS] = '\0';
}

void identity_hex(const uint8_t key[IDENTITY_KEY_BYTES], char text[IDENTITY_KEY_HEX + 1])
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < IDENTITY_KEY_BYTES; i++) {
        text[2 * i] = digits[key[i] >> 4];
        text[2 * i + 1] = digits[key[i] & 15];
    }
    text[IDENTITY_KEY_HEX] = '\0';
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

bool identity_from_hex(const char *text, size_t len, uint8_t ret_key[IDENTITY_KEY_BYTES])
{
    uint8_t key[IDENTITY_KEY_BYTES];

    if (len != IDENTITY_KEY_HEX)
        return false;
    for (size_t i = 0; i < IDENTITY_KEY_BYTES; i++) {
        int high = hex_digit(text[2 * i]), low = hex_digit(text[2 * i + 1]);

        if (high < 0 || low < 0)
            return false;
        key[i] = (uint8_t)(high << 4 | low);
    }
    memcpy(ret_key, key, sizeof(key));
    return true;
}
