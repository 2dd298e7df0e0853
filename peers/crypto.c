/* SPDX-License-Identifier: Apache-2.0 */
#include "peers/crypto.h"

#include <assert.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <string.h>

#define BLOCK 32 /* of SHA-256 */

parley_status crypto_init(struct crypto *crypto)
{
    crypto->aes_gcm = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
    crypto->sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    crypto->hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    if (crypto->aes_gcm != NULL && crypto->sha256 != NULL && crypto->hmac != NULL)
        return PARLEY_OK;
    crypto_fini(crypto);
    return PARLEY_ENOMEM; /* OpenSSL 3.0 has them all */
}

void crypto_fini(struct crypto *crypto)
{
    EVP_CIPHER_free(crypto->aes_gcm);
    EVP_MD_free(crypto->sha256);
    EVP_MAC_free(crypto->hmac);
    memset(crypto, 0, sizeof(*crypto));
}

/* ---- Hashes ---- */

bool crypto_sha256(const struct crypto *crypto, const struct crypto_bytes *parts,
                   size_t parts_len, uint8_t ret_digest[32])
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    uint8_t digest[BLOCK];
    bool made = context != NULL && EVP_DigestInit_ex2(context, crypto->sha256, NULL) == 1;

    for (size_t i = 0; made && i < parts_len; i++)
        made = EVP_DigestUpdate(context, parts[i].bytes, parts[i].len) == 1;
    made = made && EVP_DigestFinal_ex(context, digest, NULL) == 1;
    EVP_MD_CTX_free(context);
    if (made)
        memcpy(ret_digest, digest, BLOCK);
    OPENSSL_cleanse(digest, sizeof(digest));
    return made;
}

static bool hmac(const struct crypto *crypto, const void *key, size_t key_len,
                 const struct crypto_bytes *parts, size_t parts_len, uint8_t ret_mac[BLOCK])
{
    char digest[] = "SHA256";
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
        OSSL_PARAM_construct_end(),
    };
    EVP_MAC_CTX *context = EVP_MAC_CTX_new(crypto->hmac);
    bool made = context != NULL && EVP_MAC_init(context, key, key_len, params) == 1;
    size_t len;

    for (size_t i = 0; made && i < parts_len; i++)
        made = EVP_MAC_update(context, parts[i].bytes, parts[i].len) == 1;
    made = made && EVP_MAC_final(context, ret_mac, &len, BLOCK) == 1;
    EVP_MAC_CTX_free(context);
    return made;
}

bool crypto_hkdf_extract(const struct crypto *crypto, const void *salt, size_t salt_len,
                         const void *secret, size_t secret_len, uint8_t ret_prk[32])
{
    static const uint8_t none[BLOCK];
    const struct crypto_bytes part = {secret, secret_len};

    if (salt == NULL) {
        salt = none;
        salt_len = sizeof(none);
    }
    return hmac(crypto, salt, salt_len, &part, 1, ret_prk);
}

bool crypto_hkdf_expand(const struct crypto *crypto, const uint8_t prk[32], const void *info,
                        size_t info_len, uint8_t *ret_bytes, size_t len)
{
    uint8_t blocks[2][BLOCK];
    const uint8_t first = 1, second = 2;
    const struct crypto_bytes one[] = {{info, info_len}, {&first, 1}};
    const struct crypto_bytes two[] = {{blocks[0], BLOCK}, {info, info_len}, {&second, 1}};
    bool made;

    assert(len <= sizeof(blocks));
    made = hmac(crypto, prk, BLOCK, one, 2, blocks[0]) &&
           (len <= BLOCK || hmac(crypto, prk, BLOCK, two, 3, blocks[1]));
    if (made)
        memcpy(ret_bytes, blocks, len);
    OPENSSL_cleanse(blocks, sizeof(blocks));
    return made;
}

/* ---- X25519 ---- */

bool crypto_x25519_public(const uint8_t private_key[32], uint8_t ret_public[32])
{
    EVP_PKEY *key =
        EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, NULL, private_key, CRYPTO_KEY_BYTES);
    size_t len = CRYPTO_KEY_BYTES;
    bool made = key != NULL && EVP_PKEY_get_raw_public_key(key, ret_public, &len) == 1;

    EVP_PKEY_free(key);
    return made;
}

static bool all_zero(const uint8_t bytes[32])
{
    uint8_t any = 0;

    for (size_t i = 0; i < CRYPTO_KEY_BYTES; i++)
        any |= bytes[i];
    return any == 0;
}

/* OpenSSL fails to derive an all-zero result: what else fails there is memory. */
static parley_status derive(EVP_PKEY *own, EVP_PKEY *other, uint8_t shared[32])
{
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new(own, NULL);
    parley_status status = PARLEY_ENOMEM;
    size_t len = CRYPTO_KEY_BYTES;

    if (context != NULL && EVP_PKEY_derive_init(context) == 1 &&
        EVP_PKEY_derive_set_peer_ex(context, other, 0) == 1)
        status = EVP_PKEY_derive(context, shared, &len) == 1 && !all_zero(shared)
                     ? PARLEY_OK
                     : PARLEY_EREFUSED;
    EVP_PKEY_CTX_free(context);
    return status;
}

parley_status crypto_x25519(const uint8_t private_key[32], const uint8_t public_key[32],
                            uint8_t ret_shared[32])
{
    EVP_PKEY *own =
        EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, NULL, private_key, CRYPTO_KEY_BYTES);
    EVP_PKEY *other =
        EVP_PKEY_new_raw_public_key(EVP_PKEY_X25519, NULL, public_key, CRYPTO_KEY_BYTES);
    parley_status status = PARLEY_ENOMEM;
    uint8_t shared[CRYPTO_KEY_BYTES] = {0};

    if (own != NULL && other != NULL)
        status = derive(own, other, shared);
    if (status == PARLEY_OK)
        memcpy(ret_shared, shared, sizeof(shared));
    else
        ERR_clear_error(); /* TLS on this thread takes what it finds there for its own */
    OPENSSL_cleanse(shared, sizeof(shared));
    EVP_PKEY_free(own);
    EVP_PKEY_free(other);
    return status;
}

/* ---- AES-256-GCM, one text at a time ---- */

static EVP_CIPHER_CTX *begin(const struct crypto *crypto, const uint8_t key[32],
                             const void *nonce, size_t nonce_len, int sealing)
{
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_size_t(OSSL_CIPHER_PARAM_IVLEN, &nonce_len),
        OSSL_PARAM_construct_end(),
    };
    EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();

    if (context != NULL &&
        EVP_CipherInit_ex2(context, crypto->aes_gcm, NULL, NULL, sealing, params) == 1 &&
        EVP_CipherInit_ex2(context, NULL, key, nonce, sealing, NULL) == 1)
        return context;
    EVP_CIPHER_CTX_free(context);
    return NULL;
}

bool crypto_encrypt(const struct crypto *crypto, const uint8_t key[32], const void *nonce,
                    size_t nonce_len, const void *text, size_t len, uint8_t *to)
{
    EVP_CIPHER_CTX *context = begin(crypto, key, nonce, nonce_len, 1);
    bool made;
    int out;

    assert(len <= INT32_MAX);
    made =
        context != NULL && EVP_EncryptUpdate(context, to, &out, text, (int)len) == 1 &&
        EVP_EncryptFinal_ex(context, to + len, &out) == 1 &&
        EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, CRYPTO_TAG_BYTES, to + len) == 1;
    EVP_CIPHER_CTX_free(context);
    return made;
}

parley_status crypto_decrypt(const struct crypto *crypto, const uint8_t key[32],
                             const void *nonce, size_t nonce_len, const void *sealed,
                             size_t len, uint8_t *to)
{
    const uint8_t *from = sealed;
    uint8_t tag[CRYPTO_TAG_BYTES];
    EVP_CIPHER_CTX *context;
    parley_status status = PARLEY_ENOMEM;
    int out;

    if (len < CRYPTO_TAG_BYTES || len > INT32_MAX)
        return PARLEY_EREFUSED;
    len -= CRYPTO_TAG_BYTES;
    memcpy(tag, from + len, sizeof(tag));
    context = begin(crypto, key, nonce, nonce_len, 0);
    if (context != NULL && EVP_DecryptUpdate(context, to, &out, from, (int)len) == 1 &&
        EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, sizeof(tag), tag) == 1)
        status =
            EVP_DecryptFinal_ex(context, to + len, &out) == 1 ? PARLEY_OK : PARLEY_EREFUSED;
    if (status != PARLEY_OK) {
        OPENSSL_cleanse(to, len);
        ERR_clear_error(); /* as above */
    }
    EVP_CIPHER_CTX_free(context);
    return status;
}

/* ---- HSalsa20 ---- */

static uint32_t rotate(uint32_t word, unsigned by)
{
    return word << by | word >> (32 - by);
}

static void quarter(uint32_t x[16], unsigned a, unsigned b, unsigned c, unsigned d)
{
    x[b] ^= rotate(x[a] + x[d], 7);
    x[c] ^= rotate(x[b] + x[a], 9);
    x[d] ^= rotate(x[c] + x[b], 13);
    x[a] ^= rotate(x[d] + x[c], 18);
}

static void double_round(uint32_t x[16])
{
    quarter(x, 0, 4, 8, 12);
    quarter(x, 5, 9, 13, 1);
    quarter(x, 10, 14, 2, 6);
    quarter(x, 15, 3, 7, 11);
    quarter(x, 0, 1, 2, 3);
    quarter(x, 5, 6, 7, 4);
    quarter(x, 10, 11, 8, 9);
    quarter(x, 15, 12, 13, 14);
}

static uint32_t load_le(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 |
           (uint32_t)bytes[3] << 24;
}

static void store_le(uint8_t *bytes, uint32_t word)
{
    for (unsigned i = 0; i < 4; i++)
        bytes[i] = (uint8_t)(word >> (8 * i));
}

/* Salsa20's state with a nonce of zeros; of its last round the diagonal and the nonce's places
 * are taken, without adding the first state. */
void crypto_hsalsa20(const uint8_t key[32], uint8_t ret_key[32])
{
    static const unsigned taken[8] = {0, 5, 10, 15, 6, 7, 8, 9};
    uint32_t x[16] = {
        [0] = 0x61707865, [5] = 0x3320646e, [10] = 0x79622d32, [15] = 0x6b206574};

    for (unsigned i = 0; i < 4; i++) {
        x[1 + i] = load_le(key + 4 * (size_t)i);
        x[11 + i] = load_le(key + 16 + 4 * (size_t)i);
    }
    for (unsigned i = 0; i < 10; i++)
        double_round(x);
    for (unsigned i = 0; i < 8; i++)
        store_le(ret_key + 4 * (size_t)i, x[taken[i]]);
    OPENSSL_cleanse(x, sizeof(x));
}
