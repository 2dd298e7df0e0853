/* SPDX-License-Identifier: Apache-2.0
 *
 * What every reader of envelopes, batches and control messages promises about what it gives
 * out. Included by their fuzz targets.
 */
#ifndef PARLEY_TEST_FUZZ_WIRE_CHECK_H
#define PARLEY_TEST_FUZZ_WIRE_CHECK_H

#include <math.h>

#include "peers/envelope.h"
#include "test/fuzz/fuzz.h"

/** A reader that refused said why, in words PROTOCOL.md knows. */
static inline void check_refusal(parley_status status, const struct envelope_error *error)
{
    static const char *const beginnings[] = {"Unknown message format", "Unsupported version: ",
                                             "Missing required field: ", "Invalid field: "};
    bool known = false;

    FUZZ_CHECK(status == PARLEY_EPROTO);
    FUZZ_CHECK(memchr(error->text, '\0', sizeof(error->text)) != NULL);
    for (size_t i = 0; i < sizeof(beginnings) / sizeof(beginnings[0]); i++)
        known = known || strncmp(error->text, beginnings[i], strlen(beginnings[i])) == 0;
    FUZZ_CHECK(known);
}

/** A payload is a view of one object in the text, and is JSON by itself. */
static inline void check_payload(const struct json_doc *doc, const char *payload, size_t len)
{
    struct fuzz_json inner;

    FUZZ_CHECK(len >= 2 && fuzz_within(doc, payload, len));
    fuzz_json_init(&inner, payload, len, 0);
    FUZZ_CHECK(inner.status == PARLEY_OK && inner.doc.items[0].type == JSON_OBJECT);
    fuzz_json_fini(&inner);
}

#define ENDS(text) (memchr((text), '\0', sizeof(text)) != NULL)

/** Holds for every envelope that was read, by whichever reader. */
static inline void check_envelope(const struct json_doc *doc, const struct envelope *envelope)
{
    FUZZ_CHECK(ENDS(envelope->sender_id) && ENDS(envelope->recipient_id));
    FUZZ_CHECK(ENDS(envelope->session_id) && ENDS(envelope->message_id));
    FUZZ_CHECK(ENDS(envelope->msg_type));
    if (envelope->is_void) {
        FUZZ_CHECK(envelope->payload == NULL && envelope->payload_len == 0);
        return;
    }
    FUZZ_CHECK(envelope->msg_type[0] != '\0' && isfinite(envelope->timestamp));
    FUZZ_CHECK(envelope->number <= INT64_MAX && envelope->base_seq <= envelope->number);
    check_payload(doc, envelope->payload, envelope->payload_len);
}

/** Microseconds of a time that was read, if a sender of ours could have said it; else 1. */
static inline uint64_t microseconds(double seconds)
{
    return seconds >= 0 && seconds < 4e9 ? (uint64_t)(seconds * 1e6 + 0.5) : 1;
}

/** What was written as `us` reads back as the double nearest to it. */
static inline bool same_time(double seconds, uint64_t us)
{
    return seconds == (double)us / 1e6;
}

#endif
