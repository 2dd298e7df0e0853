/* SPDX-License-Identifier: Apache-2.0
 *
 * Who somebody is: an Ed25519 key (RFC 8032). With the private half we sign and agree on
 * secrets, with the public half of a peer we check what it signed.
 *
 * Pure but for memory: no clock, no file, no random bytes. Both structures never change
 * after _new(), so any thread uses them at the same time; their contexts, made once, are
 * copied for each operation, which saves OpenSSL's locked look-up of the algorithm.
 */
#ifndef PARLEY_PEERS_IDENTITY_H
#define PARLEY_PEERS_IDENTITY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "parley.h"
#include "runtime/alloc.h"

#define IDENTITY_SEED_BYTES        32
#define IDENTITY_KEY_BYTES         32
#define IDENTITY_SIGNATURE_BYTES   64
#define IDENTITY_SHARED_BYTES      32
#define IDENTITY_KEY_HEX           (2 * IDENTITY_KEY_BYTES)
#define IDENTITY_FINGERPRINT_CHARS (7 + 43) /* "SHA256:" and base64 without padding */

struct identity;     /* a private key of ours */
struct identity_key; /* a public key, ready to verify with */

/* ---- Ours ---- */

/**
 * Makes the identity of a seed: 32 random bytes, the caller's to wipe. OpenSSL keeps the
 * only copy, in its secure heap where the host has set one up, and wipes it.
 *
 * @param alloc outlives the identity
 * @return PARLEY_OK; PARLEY_ENOMEM
 */
parley_status identity_new(const struct alloc *alloc, const uint8_t seed[IDENTITY_SEED_BYTES],
                           struct identity **ret_identity);

/** Wipes and frees it. NULL is allowed. */
void identity_free(struct identity *identity);

/** The public half, IDENTITY_KEY_BYTES. */
const uint8_t *identity_public(const struct identity *identity);

/** Signs; takes some 60 µs. @return PARLEY_OK; PARLEY_ENOMEM */
parley_status identity_sign(const struct identity *identity, const void *data, size_t len,
                            uint8_t ret_signature[IDENTITY_SIGNATURE_BYTES]);

/**
 * The secret that both identities share: each mapped to X25519 (private: the first half of
 * SHA-512 of the seed; public: u = (1 + y) / (1 - y)), and agreed upon by RFC 7748.
 *
 * @return PARLEY_OK; PARLEY_EINVAL (not an acceptable key, or the secret is all zero);
 *         PARLEY_ENOMEM
 * Source: PROTOCOL.md, Encrypted payloads.
 */
parley_status identity_shared(const struct identity *identity,
                              const uint8_t peer_key[IDENTITY_KEY_BYTES],
                              uint8_t ret_shared[IDENTITY_SHARED_BYTES]);

/* ---- Anybody's ---- */

/**
 * Whether a public key is worth trusting: the one encoding of its point (y < 2^255 - 19), and
 * not one of the few points with which signatures of nobody verify or secrets are zero.
 * identity_key_new() asks this, and whether there is such a point at all.
 */
bool identity_key_acceptable(const uint8_t key[IDENTITY_KEY_BYTES]);

/** @return PARLEY_OK; PARLEY_EINVAL (not an acceptable key); PARLEY_ENOMEM */
parley_status identity_key_new(const struct alloc *alloc,
                               const uint8_t key[IDENTITY_KEY_BYTES],
                               struct identity_key **ret_key);

/** NULL is allowed. */
void identity_key_free(struct identity_key *key);

/** Its IDENTITY_KEY_BYTES. */
const uint8_t *identity_key_bytes(const struct identity_key *key);

/** Whether the key's owner signed exactly that; takes some 170 µs. False, too, where memory
 *  lacks. */
bool identity_verify(const struct identity_key *key, const void *data, size_t len,
                     const uint8_t signature[IDENTITY_SIGNATURE_BYTES]);

/** The key as people compare it, "SHA256:" and base64, as ssh prints it, NUL-terminated. */
void identity_fingerprint(const uint8_t key[IDENTITY_KEY_BYTES],
                          char text[IDENTITY_FINGERPRINT_CHARS + 1]);

/* ---- As text ---- */

/** Lower-case hex, NUL-terminated. */
void identity_hex(const uint8_t key[IDENTITY_KEY_BYTES], char text[IDENTITY_KEY_HEX + 1]);

/** Reads IDENTITY_KEY_HEX hex digits of either case. @return whether there were just those */
bool identity_from_hex(const char *text, size_t len, uint8_t ret_key[IDENTITY_KEY_BYTES]);

#endif
