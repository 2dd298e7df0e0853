/* SPDX-License-Identifier: Apache-2.0 */
#include "peers/seal.h"

#include <assert.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <string.h>

#define SALT_BYTES  4
#define NONCE_BYTES 12
#define COUNTER_END (SEAL_FRAMES_MAX + SEAL_FRAMES_BEYOND)

static void put_u32(uint8_t *bytes, uint32_t value)
{
    for (unsigned i = 0; i < 4; i++)
        bytes[i] = (uint8_t)(value >> (24 - 8 * i));
}

static uint32_t get_u32(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 |
           (uint32_t)bytes[3];
}

/* ---- Keys ---- */

static bool set_key(struct seal *seal, const struct crypto *crypto,
                    const struct seal_keys *keys, const uint8_t info[6], bool sealing)
{
    uint8_t made[CRYPTO_KEY_BYTES + SALT_BYTES];
    bool set;

    seal->context = EVP_CIPHER_CTX_new();
    set = seal->context != NULL &&
          crypto_hkdf_expand(crypto, keys->secret, info, 6, made, sizeof(made)) &&
          EVP_CipherInit_ex2(seal->context, crypto->aes_gcm, made, NULL, sealing ? 1 : 0,
                             NULL) == 1;
    if (set)
        memcpy(seal->salt, made + CRYPTO_KEY_BYTES, SALT_BYTES);
    OPENSSL_cleanse(made, sizeof(made));
    return set;
}

parley_status seal_init(struct seal *seal, const struct crypto *crypto,
                        const struct seal_keys *keys, enum seal_direction direction,
                        enum seal_transport transport, uint32_t epoch, bool sealing)
{
    uint8_t info[6] = {(uint8_t)direction, (uint8_t)transport};

    memset(seal, 0, sizeof(*seal));
    put_u32(info + 2, epoch);
    seal->epoch = epoch;
    seal->id_len = strlen(keys->session_id);
    memcpy(seal->bound, keys->session_id, seal->id_len);
    if (set_key(seal, crypto, keys, info, sealing))
        return PARLEY_OK;
    seal_fini(seal);
    return PARLEY_ENOMEM;
}

void seal_fini(struct seal *seal)
{
    EVP_CIPHER_CTX_free(seal->context); /* wipes its key */
    OPENSSL_cleanse(seal, sizeof(*seal));
}

/* ---- Frames ---- */

/* Sets the nonce and takes the additional data in. */
static bool begin(struct seal *seal, const uint8_t *header)
{
    uint8_t nonce[NONCE_BYTES];
    int out;

    memcpy(nonce, seal->salt, SALT_BYTES);
    memcpy(nonce + SALT_BYTES, header + 1, NONCE_BYTES - SALT_BYTES);
    memcpy(seal->bound + seal->id_len, header, SEAL_HEADER_BYTES);
    return EVP_CipherInit_ex2(seal->context, NULL, NULL, nonce, -1, NULL) == 1 &&
           EVP_CipherUpdate(seal->context, NULL, &out, seal->bound,
                            (int)(seal->id_len + SEAL_HEADER_BYTES)) == 1;
}

static bool encrypt(struct seal *seal, const uint8_t *header, uint8_t *text, size_t len)
{
    int out;

    return begin(seal, header) &&
           EVP_EncryptUpdate(seal->context, text, &out, text, (int)len) == 1 &&
           EVP_EncryptFinal_ex(seal->context, text + len, &out) == 1 &&
           EVP_CIPHER_CTX_ctrl(seal->context, EVP_CTRL_AEAD_GET_TAG, CRYPTO_TAG_BYTES,
                               text + len) == 1;
}

parley_status seal_close_as(struct seal *seal, uint32_t counter, void *frame, size_t text_len)
{
    uint8_t *header = frame;

    assert(text_len <= INT32_MAX - SEAL_OVERHEAD);
    if (counter < seal->next)
        return PARLEY_EINVAL;
    if (counter >= COUNTER_END)
        return PARLEY_ELIMIT;
    /* Even if it fails now: half an encryption must not be followed by another one. */
    seal->next = (uint64_t)counter + 1;
    header[0] = SEAL_VERSION;
    put_u32(header + 1, seal->epoch);
    put_u32(header + 5, counter);
    return encrypt(seal, header, header + SEAL_HEADER_BYTES, text_len) ? PARLEY_OK
                                                                       : PARLEY_ENOMEM;
}

parley_status seal_close_frame(struct seal *seal, void *frame, size_t text_len)
{
    if (seal->next >= COUNTER_END)
        return PARLEY_ELIMIT;
    return seal_close_as(seal, (uint32_t)seal->next, frame, text_len);
}

bool seal_peek(const void *frame, size_t len, uint32_t *ret_epoch, uint32_t *ret_counter)
{
    const uint8_t *header = frame;

    if (len < SEAL_OVERHEAD || len > INT32_MAX || header[0] != SEAL_VERSION)
        return false;
    *ret_epoch = get_u32(header + 1);
    *ret_counter = get_u32(header + 5);
    return true;
}

static parley_status decrypt(struct seal *seal, const uint8_t *header, uint8_t *text,
                             size_t len)
{
    int out;

    if (!begin(seal, header) ||
        EVP_DecryptUpdate(seal->context, text, &out, text, (int)len) != 1 ||
        EVP_CIPHER_CTX_ctrl(seal->context, EVP_CTRL_AEAD_SET_TAG, CRYPTO_TAG_BYTES,
                            text + len) != 1)
        return PARLEY_ENOMEM; /* nothing else can fail there */
    return EVP_DecryptFinal_ex(seal->context, text + len, &out) == 1 ? PARLEY_OK
                                                                     : PARLEY_EREFUSED;
}

parley_status seal_open_frame(struct seal *seal, bool gaps, void *frame, size_t len,
                              char **ret_text, size_t *ret_len)
{
    uint8_t *header = frame, *text = header + SEAL_HEADER_BYTES;
    size_t text_len = len - SEAL_OVERHEAD;
    uint32_t epoch, counter;
    parley_status status;

    if (!seal_peek(frame, len, &epoch, &counter) || epoch != seal->epoch)
        return PARLEY_EPROTO;
    if (counter < seal->next || (counter > seal->next && !gaps) || counter >= COUNTER_END)
        return PARLEY_EINVAL;
    status = decrypt(seal, header, text, text_len);
    if (status != PARLEY_OK) {
        ERR_clear_error(); /* TLS on this thread takes what it finds there for its own */
        return status;
    }
    seal->next = (uint64_t)counter + 1;
    text[text_len] = '\0';
    *ret_text = (char *)text;
    *ret_len = text_len;
    return PARLEY_OK;
}
