/* SPDX-License-Identifier: Apache-2.0
 *
 * Batches: each message read has its view inside the text; what was read is written into a
 * buffer that may be too small, and as much of it as was taken reads back in order.
 */
#include "peers/envelope.h"

#include "test/fuzz/fuzz.h"
#include "test/fuzz/wire_check.h"

#define MESSAGES_MAX 48

/* What signs a message is not looked at by those who write and read batches. */
static const uint8_t nonce[16] = {1, 2, 3};
static const char bound[] = "AAAA";

struct read {
    struct batch batch;
    struct envelope messages[MESSAGES_MAX];
    size_t len;
};

/* The connection's, where a message does not say who sends it. */
static void begin_message(struct envelope *envelope, const struct batch *batch)
{
    memset(envelope, 0xee, sizeof(*envelope));
    snprintf(envelope->sender_id, sizeof(envelope->sender_id), "connection");
    envelope->recipient_id[0] = envelope->message_id[0] = '\0';
    snprintf(envelope->session_id, sizeof(envelope->session_id), "%s", batch->session_id);
    envelope->number = envelope->base_seq = 1;
}

/* Reads all there is; messages that are refused leave no trace in `read`. */
static bool read_batch(const struct fuzz_json *json, struct read *read)
{
    struct envelope_error error;
    parley_status status = batch_read(&json->doc, json->doc.items, &read->batch, &error);

    read->len = 0;
    if (status != PARLEY_OK) {
        check_refusal(status, &error);
        return false;
    }
    FUZZ_CHECK(ENDS(read->batch.session_id) && read->batch.session_id[0] != '\0');
    FUZZ_CHECK(read->batch.base_seq >= 1 && read->batch.first_seq >= 1);
    FUZZ_CHECK(frame_kind(&json->doc, json->doc.items) == FRAME_BATCH);
    for (const struct json_item *item = read->batch.messages;
         item != NULL && read->len < MESSAGES_MAX; item = json_next(&json->doc, item)) {
        struct envelope *envelope = &read->messages[read->len];

        begin_message(envelope, &read->batch);
        status = batch_message_read(&json->doc, item, envelope, &error);
        if (status != PARLEY_OK) {
            check_refusal(status, &error);
            continue;
        }
        check_envelope(&json->doc, envelope);
        read->len++;
    }
    return true;
}

/* Voids are written without a payload; names are written as they stand. */
static bool fields_of(const struct envelope *envelope, bool is_signed,
                      struct envelope_fields *ret)
{
    size_t type_len = strlen(envelope->msg_type);

    *ret = (struct envelope_fields){.msg_type = envelope->msg_type,
                                    .msg_type_len = type_len,
                                    .payload = envelope->payload,
                                    .payload_len = envelope->payload_len,
                                    .redelivered = envelope->redelivered,
                                    .nonce = nonce,
                                    .bound = is_signed ? bound : NULL};
    if (envelope->is_void)
        return true;
    ret->timestamp_us = microseconds(envelope->timestamp);
    ret->sender_id =
        strcmp(envelope->sender_id, "connection") != 0 ? envelope->sender_id : NULL;
    return message_type_valid(envelope->msg_type, type_len) &&
           (ret->sender_id == NULL || entity_id_valid(ret->sender_id));
}

static void check_same(const struct envelope *seen, const struct envelope *expected)
{
    FUZZ_CHECK(seen->is_void == expected->is_void);
    if (seen->is_void)
        return;
    FUZZ_CHECK(seen->redelivered == expected->redelivered);
    FUZZ_CHECK(strcmp(seen->msg_type, expected->msg_type) == 0);
    FUZZ_CHECK(strcmp(seen->sender_id, expected->sender_id) == 0);
    FUZZ_CHECK(seen->payload_len == expected->payload_len);
    FUZZ_CHECK(memcmp(seen->payload, expected->payload, seen->payload_len) == 0);
    FUZZ_CHECK(same_time(seen->timestamp, microseconds(expected->timestamp)));
}

/* What was written, read again: the same messages in the same order. */
static void check_written(const struct json_out *out, const struct batch *batch,
                          const struct envelope *const *taken, size_t taken_len)
{
    static struct read again;
    struct fuzz_json json;

    fuzz_json_init(&json, out->buffer, out->len, BATCH_RECORD_DEPTH);
    FUZZ_CHECK(json.status == PARLEY_OK);
    FUZZ_CHECK(read_batch(&json, &again) && again.len == taken_len);
    FUZZ_CHECK(strcmp(again.batch.session_id, batch->session_id) == 0);
    FUZZ_CHECK(again.batch.base_seq == batch->base_seq &&
               again.batch.first_seq == batch->first_seq);
    for (size_t i = 0; i < taken_len; i++)
        check_same(&again.messages[i], taken[i]);
    fuzz_json_fini(&json);
}

/* Adds until the first message does not fit, as a sender does. @return bytes written */
static size_t check_writer(const struct read *read, size_t capacity)
{
    struct json_out out = fuzz_out(capacity);
    const struct envelope *taken[MESSAGES_MAX];
    const struct envelope_fields nothing = {.nonce = nonce, .bound = bound};
    bool is_signed = read->batch.base_seq % 3 == 0;
    size_t taken_len = 0;

    batch_begin(&out, read->batch.session_id, read->batch.base_seq, read->batch.first_seq);
    for (size_t i = 0; i < read->len; i++) {
        struct envelope_fields fields;
        size_t before = out.len;

        if (!fields_of(&read->messages[i], is_signed, &fields))
            continue;
        if (!batch_add(&out, &fields, taken_len == 0)) {
            FUZZ_CHECK(out.len == before);
            break;
        }
        FUZZ_CHECK(out.len > before && out.len <= out.capacity - 2);
        taken[taken_len++] = &read->messages[i];
    }
    if (is_signed && taken_len == 0)
        batch_end_signed(&out, &nothing);
    else
        batch_end(&out);
    FUZZ_CHECK(taken_len == 0 || !out.overflow); /* its room was kept */
    if (!out.overflow)
        check_written(&out, &read->batch, taken, taken_len);
    free(out.buffer);
    return out.len;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static struct read read;
    struct fuzz_json json;
    size_t whole, less;

    fuzz_json_init(&json, data, len, BATCH_RECORD_DEPTH);
    if (json.status == PARLEY_OK && read_batch(&json, &read)) {
        whole = check_writer(&read, 2 * len + (MESSAGES_MAX + 4) * (BATCH_MESSAGE_OVERHEAD +
                                                                    BATCH_SIGNED_OVERHEAD));
        less = 1 + read.batch.first_seq % 48; /* the last message is near the end */
        check_writer(&read, whole);
        check_writer(&read, whole > less ? whole - less : 0);
        check_writer(&read, whole / 2 + less);
    }
    fuzz_json_fini(&json);
    return 0;
}
