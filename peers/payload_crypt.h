/* SPDX-License-Identifier: Apache-2.0
 *
 * The two ways in which older peers encrypt a payload (PROTOCOL.md, "Payload encryption"): by
 * the two identities, or by the session that a three-way handshake has made. Each has its way
 * to a key; from there on both are AES-256-GCM in base64 inside a small object that takes the
 * payload's place. Pure: keys, nonces and texts in, texts out.
 */
#ifndef PARLEY_PEERS_PAYLOAD_CRYPT_H
#define PARLEY_PEERS_PAYLOAD_CRYPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "parley.h"
#include "peers/crypto.h"
#include "peers/envelope.h"
#include "peers/json.h"

#define PAYLOAD_NONCE_BYTES 12 /* that we send; 16 are taken, too */

enum payload_form {
    PAYLOAD_PLAIN,
    PAYLOAD_BY_IDENTITY, /* {"_encrypted_payload":{"ciphertext","nonce"}} */
    PAYLOAD_BY_SESSION,  /* {"_e2e_encrypted":true,"session_id","data","nonce"} */
};

/** The key of two identities, from what identity_shared() gives. @return false: no memory */
bool payload_key_by_identity(const struct crypto *crypto, const uint8_t shared[32],
                             uint8_t ret_key[CRYPTO_KEY_BYTES]);

/** The key of a session, from our ephemeral private key and the other side's public one.
 *  @return as crypto_x25519() */
parley_status payload_key_by_session(const struct crypto *crypto,
                                     const uint8_t private_key[CRYPTO_KEY_BYTES],
                                     const uint8_t public_key[CRYPTO_KEY_BYTES],
                                     uint8_t ret_key[CRYPTO_KEY_BYTES]);

/** Bytes that a payload of `len` becomes, at most. */
size_t payload_encrypted_bytes(size_t len);

/**
 * Writes the object that takes a payload's place. @param session_id with _BY_SESSION; it has
 * nothing to escape. `out` has room for payload_encrypted_bytes().
 *
 * @return false: no memory, or no room; nothing of the payload is in what was written
 */
bool payload_encrypt(const struct crypto *crypto, enum payload_form form,
                     const uint8_t key[CRYPTO_KEY_BYTES],
                     const uint8_t nonce[PAYLOAD_NONCE_BYTES], const char *session_id,
                     const char *payload, size_t len, struct json_out *out);

/** An encrypted payload as it came. Views into the document. */
struct payload_sealed {
    enum payload_form form;
    char session_id[ENVELOPE_SESSION_MAX + 1]; /* _BY_SESSION's; "" if it names none */
    const struct json_item *text, *nonce;
};

/** Looks at a payload: `item` is an object, recorded down to two levels below itself.
 *  @return PARLEY_OK (perhaps _PLAIN); PARLEY_EPROTO (it says it is encrypted, and is not) */
parley_status payload_sealed_read(const struct json_doc *doc, const struct json_item *item,
                                  struct payload_sealed *ret_sealed);

/** Bytes that payload_decrypt() wants as its buffer. */
static inline size_t payload_buffer_bytes(const struct payload_sealed *sealed)
{
    return (size_t)sealed->text->value_len + 1;
}

/**
 * Decrypts.
 *
 * @return PARLEY_OK, the NUL-terminated text in `buffer`; PARLEY_EREFUSED (not base64, or the
 *         tag is wrong); PARLEY_ENOMEM
 */
parley_status payload_decrypt(const struct crypto *crypto, const uint8_t key[CRYPTO_KEY_BYTES],
                              const struct json_doc *doc, const struct payload_sealed *sealed,
                              char *buffer, size_t *ret_len);

#endif
