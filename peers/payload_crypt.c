/* SPDX-License-Identifier: Apache-2.0 */
#include "peers/payload_crypt.h"

#include <assert.h>
#include <openssl/crypto.h>
#include <string.h>

#include "peers/base64.h"

#define INFO      "e2e-encryption-key"
#define NONCE_OLD 16  /* older senders' */
#define AROUND    256 /* what stands around the ciphertext, the session's id included */

/* ---- Keys ---- */

bool payload_key_by_identity(const struct crypto *crypto, const uint8_t shared[32],
                             uint8_t ret_key[CRYPTO_KEY_BYTES])
{
    uint8_t prk[32];
    bool made = crypto_hkdf_extract(crypto, NULL, 0, shared, 32, prk) &&
                crypto_hkdf_expand(crypto, prk, INFO, strlen(INFO), ret_key, CRYPTO_KEY_BYTES);

    OPENSSL_cleanse(prk, sizeof(prk));
    return made;
}

parley_status payload_key_by_session(const struct crypto *crypto,
                                     const uint8_t private_key[CRYPTO_KEY_BYTES],
                                     const uint8_t public_key[CRYPTO_KEY_BYTES],
                                     uint8_t ret_key[CRYPTO_KEY_BYTES])
{
    static const char purpose[] = "encryption";
    uint8_t shared[32], prk[32];
    const struct crypto_bytes one = {shared, sizeof(shared)};
    const struct crypto_bytes two[] = {{prk, sizeof(prk)}, {purpose, sizeof(purpose) - 1}};
    parley_status status = crypto_x25519(private_key, public_key, shared);

    if (status == PARLEY_OK) {
        crypto_hsalsa20(shared, shared);
        if (!crypto_sha256(crypto, &one, 1, prk) || !crypto_sha256(crypto, two, 2, ret_key))
            status = PARLEY_ENOMEM;
    }
    OPENSSL_cleanse(shared, sizeof(shared));
    OPENSSL_cleanse(prk, sizeof(prk));
    return status;
}

/* ---- Encrypting ---- */

size_t payload_encrypted_bytes(size_t len)
{
    return base64_chars(len + CRYPTO_TAG_BYTES) + AROUND;
}

/* The ciphertext is made at the end of the place that its base64 will fill. */
static bool put_ciphertext(const struct crypto *crypto, const uint8_t *key,
                           const uint8_t *nonce, const char *payload, size_t len,
                           struct json_out *out)
{
    size_t chars = base64_chars(len + CRYPTO_TAG_BYTES);
    char *at = out->buffer + out->len, *sealed = at + chars - (len + CRYPTO_TAG_BYTES);

    if (out->overflow || out->capacity - out->len < chars ||
        !crypto_encrypt(crypto, key, nonce, PAYLOAD_NONCE_BYTES, payload, len,
                        (uint8_t *)sealed))
        return false;
    base64_encode(sealed, len + CRYPTO_TAG_BYTES, at);
    out->len += chars;
    return true;
}

bool payload_encrypt(const struct crypto *crypto, enum payload_form form,
                     const uint8_t key[CRYPTO_KEY_BYTES],
                     const uint8_t nonce[PAYLOAD_NONCE_BYTES], const char *session_id,
                     const char *payload, size_t len, struct json_out *out)
{
    char text[PAYLOAD_NONCE_BYTES / 3 * 4];

    assert(form != PAYLOAD_PLAIN);
    base64_encode((const char *)nonce, PAYLOAD_NONCE_BYTES, text);
    if (form == PAYLOAD_BY_SESSION) {
        json_put_text(out, "{\"_e2e_encrypted\":true,\"session_id\":\"");
        json_put_text(out, session_id);
        json_put_text(out, "\",\"data\":\"");
    } else {
        json_put_text(out, "{\"_encrypted_payload\":{\"ciphertext\":\"");
    }
    if (!put_ciphertext(crypto, key, nonce, payload, len, out))
        return false;
    json_put_text(out, "\",\"nonce\":\"");
    json_put(out, text, sizeof(text));
    json_put_text(out, form == PAYLOAD_BY_SESSION ? "\"}" : "\"}}");
    return !out->overflow;
}

/* ---- Decrypting ---- */

static const struct json_item *string_member(const struct json_doc *doc,
                                             const struct json_item *object, const char *key)
{
    const struct json_item *item = json_member(doc, object, key);

    return item != NULL && item->type == JSON_STRING ? item : NULL;
}

static parley_status read_by_session(const struct json_doc *doc, const struct json_item *item,
                                     struct payload_sealed *sealed)
{
    const struct json_item *id = string_member(doc, item, "session_id");

    sealed->form = PAYLOAD_BY_SESSION;
    sealed->text = string_member(doc, item, "data");
    sealed->nonce = string_member(doc, item, "nonce");
    if (id != NULL && json_string(doc, id, sealed->session_id, sizeof(sealed->session_id)) < 0)
        return PARLEY_EPROTO;
    return sealed->text != NULL && sealed->nonce != NULL ? PARLEY_OK : PARLEY_EPROTO;
}

parley_status payload_sealed_read(const struct json_doc *doc, const struct json_item *item,
                                  struct payload_sealed *ret_sealed)
{
    const struct json_item *flag = json_member(doc, item, "_e2e_encrypted");
    const struct json_item *inner = json_member(doc, item, "_encrypted_payload");

    memset(ret_sealed, 0, sizeof(*ret_sealed));
    if (flag != NULL && flag->type == JSON_TRUE)
        return read_by_session(doc, item, ret_sealed);
    if (inner == NULL || inner->type != JSON_OBJECT)
        return PARLEY_OK;
    ret_sealed->form = PAYLOAD_BY_IDENTITY;
    ret_sealed->text = string_member(doc, inner, "ciphertext");
    ret_sealed->nonce = string_member(doc, inner, "nonce");
    return ret_sealed->text != NULL && ret_sealed->nonce != NULL ? PARLEY_OK : PARLEY_EPROTO;
}

static bool decode(const struct json_doc *doc, const struct json_item *item, char *buffer,
                   size_t buffer_len, size_t *ret_len)
{
    int chars = json_string(doc, item, buffer, buffer_len);

    return chars >= 0 && base64_decode(buffer, (size_t)chars, buffer, ret_len);
}

parley_status payload_decrypt(const struct crypto *crypto, const uint8_t key[CRYPTO_KEY_BYTES],
                              const struct json_doc *doc, const struct payload_sealed *sealed,
                              char *buffer, size_t *ret_len)
{
    char nonce[(NONCE_OLD + 2) / 3 * 4 + 1];
    size_t nonce_len, len;
    parley_status status;

    if (!decode(doc, sealed->nonce, nonce, sizeof(nonce), &nonce_len) ||
        (nonce_len != PAYLOAD_NONCE_BYTES && nonce_len != NONCE_OLD) ||
        !decode(doc, sealed->text, buffer, payload_buffer_bytes(sealed), &len))
        return PARLEY_EREFUSED;
    status = crypto_decrypt(crypto, key, nonce, nonce_len, buffer, len, (uint8_t *)buffer);
    if (status != PARLEY_OK)
        return status;
    *ret_len = len - CRYPTO_TAG_BYTES;
    buffer[*ret_len] = '\0';
    return PARLEY_OK;
}
