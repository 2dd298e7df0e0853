/* SPDX-License-Identifier: Apache-2.0
 *
 * Tokens made for tests: any header and payload, signed with HS256.
 */
#ifndef PARLEY_TEST_TOKENS_H
#define PARLEY_TEST_TOKENS_H

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define SECRET       "0123456789abcdef0123456789abcdef"
#define HEADER_HS256 "{\"alg\":\"HS256\",\"typ\":\"JWT\"}"

/* @return length; `text` is NUL-terminated */
static inline size_t base64url(char *text, const void *bytes, size_t len)
{
    static const char digits[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    const uint8_t *in = bytes;
    uint32_t bits = 0;
    unsigned held = 0;
    size_t used = 0;

    for (size_t i = 0; i < len; i++) {
        bits = bits << 8 | in[i];
        for (held += 8; held >= 6; held -= 6)
            text[used++] = digits[bits >> (held - 6) & 63];
    }
    if (held > 0)
        text[used++] = digits[bits << (6 - held) & 63];
    text[used] = '\0';
    return used;
}

/* Appends the signature to "header.payload". */
static inline void token_sign(char *token, const char *secret)
{
    uint8_t mac[EVP_MAX_MD_SIZE];
    size_t len = strlen(token);
    unsigned mac_len;

    HMAC(EVP_sha256(), secret, (int)strlen(secret), (const uint8_t *)token, len, mac,
         &mac_len);
    token[len] = '.';
    base64url(token + len + 1, mac, mac_len);
}

static inline void token_make(char *token, const char *header, const char *payload,
                              const char *secret)
{
    size_t len = base64url(token, header, strlen(header));

    token[len] = '.';
    base64url(token + len + 1, payload, strlen(payload));
    token_sign(token, secret);
}

/* A token for `sub` that expires `for_s` seconds from now. */
static inline const char *token_for(char *token, const char *sub, long for_s)
{
    long now = (long)time(NULL);
    char payload[256];

    snprintf(payload, sizeof(payload), "{\"sub\":\"%s\",\"iat\":%ld,\"exp\":%ld}", sub, now,
             now + for_s);
    token_make(token, HEADER_HS256, payload, SECRET);
    return token;
}

#endif
