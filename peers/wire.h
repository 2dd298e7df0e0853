/* SPDX-License-Identifier: Apache-2.0
 *
 * What the readers and writers of envelopes, batches and control messages share.
 */
#ifndef PARLEY_PEERS_WIRE_H
#define PARLEY_PEERS_WIRE_H

#include "peers/envelope.h"

/** Set *ret_error's text. @return PARLEY_EPROTO */
parley_status wire_unknown(struct envelope_error *ret_error); /* "Unknown message format" */
parley_status wire_missing(struct envelope_error *ret_error, const char *key);
parley_status wire_invalid(struct envelope_error *ret_error, const char *key);

/** A member that is there and not null, or NULL. */
const struct json_item *wire_member(const struct json_doc *doc, const struct json_item *object,
                                    const char *key);

/** The member `payload` if it is an object, or NULL. */
const struct json_item *wire_payload(const struct json_doc *doc, const struct json_item *root);

/** Tells whether `item` is the string `text`; NULL is not. */
bool wire_is(const struct json_doc *doc, const struct json_item *item, const char *text);

/** Reads a string of 1..len-1 bytes, or 0.. when `optional`: then NULL gives "". */
parley_status wire_text(const struct json_doc *doc, const struct json_item *item,
                        const char *key, bool optional, char *buffer, size_t len,
                        struct envelope_error *ret_error);

/** Reads a number of at least `least` (a numeric string too); NULL is missing. */
parley_status wire_number(const struct json_doc *doc, const struct json_item *item,
                          const char *key, uint64_t least, uint64_t *ret_value,
                          struct envelope_error *ret_error);

/** Reads seconds since the epoch: a number, or ISO 8601 ("Z", an offset, or UTC if none). */
bool wire_time(const struct json_doc *doc, const struct json_item *item, double *ret_seconds);

/** Writes 2026-11-22T20:55:44.590514+00:00, in quotes. */
void wire_put_iso(struct json_out *out, uint64_t timestamp_us);

/** Writes a string member's value. */
void wire_put(struct json_out *out, const char *text);

#endif
