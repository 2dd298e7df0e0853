/* SPDX-License-Identifier: Apache-2.0
 *
 * The few algorithms that sessions and old payload encryptions are made of, over OpenSSL.
 *
 * OpenSSL looks an algorithm up by name, slowly and under a lock: a runtime fetches each once
 * and shares it. Keys are 32 random bytes of ours, never made inside OpenSSL. All functions
 * here that compute are pure; whatever holds a secret wipes it before it returns.
 *
 * Threads: a struct crypto is immutable once made. Any thread.
 */
#ifndef PARLEY_PEERS_CRYPTO_H
#define PARLEY_PEERS_CRYPTO_H

#include <openssl/evp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "parley.h"

#define CRYPTO_KEY_BYTES 32
#define CRYPTO_TAG_BYTES 16

struct crypto {
    EVP_CIPHER *aes_gcm;
    EVP_MD *sha256;
    EVP_MAC *hmac;
};

/** @return PARLEY_OK; PARLEY_ENOMEM */
parley_status crypto_init(struct crypto *crypto);
/** Harmless when zeroed. */
void crypto_fini(struct crypto *crypto);

/** A piece of what is hashed. */
struct crypto_bytes {
    const void *bytes;
    size_t len;
};

/* Each returns false only for lack of memory, and then nothing has been written. */

bool crypto_sha256(const struct crypto *crypto, const struct crypto_bytes *parts,
                   size_t parts_len, uint8_t ret_digest[32]);

/** RFC 5869. @param salt NULL: 32 zero bytes */
bool crypto_hkdf_extract(const struct crypto *crypto, const void *salt, size_t salt_len,
                         const void *secret, size_t secret_len, uint8_t ret_prk[32]);
/** At most 64 bytes. */
bool crypto_hkdf_expand(const struct crypto *crypto, const uint8_t prk[32], const void *info,
                        size_t info_len, uint8_t *ret_bytes, size_t len);

/** The public key of a private one. */
bool crypto_x25519_public(const uint8_t private_key[32], uint8_t ret_public[32]);
/** @return PARLEY_OK; PARLEY_EREFUSED (the result is all zero: the key is of small order);
 *          PARLEY_ENOMEM */
parley_status crypto_x25519(const uint8_t private_key[32], const uint8_t public_key[32],
                            uint8_t ret_shared[32]);

/** AES-256-GCM without additional data, the tag behind the ciphertext. `to` holds `len` and
 *  CRYPTO_TAG_BYTES more. */
bool crypto_encrypt(const struct crypto *crypto, const uint8_t key[32], const void *nonce,
                    size_t nonce_len, const void *text, size_t len, uint8_t *to);
/** `to` holds `len` without the tag. @return PARLEY_OK; PARLEY_EREFUSED (the tag is wrong:
 * what is in `to` has been wiped); PARLEY_ENOMEM */
parley_status crypto_decrypt(const struct crypto *crypto, const uint8_t key[32],
                             const void *nonce, size_t nonce_len, const void *sealed,
                             size_t len, uint8_t *to);

/** The core of crypto_box_beforenm: the key that libsodium makes of an X25519 result.
 *  HSalsa20 (Bernstein, "Extending the Salsa20 nonce") of `key` and 16 zero bytes. */
void crypto_hsalsa20(const uint8_t key[32], uint8_t ret_key[32]);

#endif
