/* SPDX-License-Identifier: Apache-2.0
 *
 * Base64 as RFC 4648, section 4 has it. Decoding is strict and canonical: the length is a
 * multiple of 4, padding stands only at the end and is there, the bits it leaves over are 0.
 * So whatever was decoded encodes to the same text again.
 */
#ifndef PARLEY_PEERS_BASE64_H
#define PARLEY_PEERS_BASE64_H

#include <stdbool.h>
#include <stddef.h>

/** Characters that `bytes` bytes become. */
static inline size_t base64_chars(size_t bytes)
{
    return (bytes + 2) / 3 * 4;
}

/** Encodes; `text` holds base64_chars(len), no NUL is added. The bytes may stand at the very
 * end of what `text` holds. */
void base64_encode(const char *bytes, size_t len, char *text);

/** Decodes; `bytes` holds len / 4 * 3, and may be `text`. @return whether it is base64; if
 * not, what is in `bytes` is of no use */
bool base64_decode(const char *text, size_t len, char *bytes, size_t *ret_len);

#endif
