/* SPDX-License-Identifier: Apache-2.0
 *
 * Control messages: every reader on every text, whatever kind it calls itself, since a peer
 * may say anything; what was read is written and read again with the same values.
 */
#include "peers/envelope.h"

#include "test/fuzz/fuzz.h"
#include "test/fuzz/wire_check.h"

#define ROOM         65536
#define REJECTED_MAX 40

struct rejections {
    struct wire_rejection entries[REJECTED_MAX];
    char details[REJECTED_MAX][PARLEY_DETAIL_MAX];
    size_t len;
};

static void read_rejections(const struct json_doc *doc, const struct json_item *first,
                            struct rejections *ret)
{
    ret->len = 0;
    for (const struct json_item *item = first; item != NULL && ret->len < REJECTED_MAX;
         item = json_next(doc, item)) {
        struct wire_rejection *entry = &ret->entries[ret->len];
        char *detail = ret->details[ret->len];

        memset(detail, 0xee, PARLEY_DETAIL_MAX);
        if (rejection_read(doc, item, &entry->number, detail) != PARLEY_OK)
            continue;
        FUZZ_CHECK(memchr(detail, '\0', PARLEY_DETAIL_MAX) != NULL);
        FUZZ_CHECK(entry->number <= INT64_MAX);
        entry->detail = detail;
        ret->len++;
    }
}

static void check_rejections(const struct rejections *seen, const struct rejections *expected)
{
    FUZZ_CHECK(seen->len == expected->len);
    for (size_t i = 0; i < seen->len; i++) {
        FUZZ_CHECK(seen->entries[i].number == expected->entries[i].number);
        FUZZ_CHECK(strcmp(seen->details[i], expected->details[i]) == 0);
    }
}

/* Scans what was written and tells its kind. */
static void scan_written(const struct json_out *out, struct fuzz_json *json,
                         enum frame_kind expected)
{
    FUZZ_CHECK(!out->overflow);
    fuzz_json_init(json, out->buffer, out->len, ACK_RECORD_DEPTH);
    FUZZ_CHECK(json->status == PARLEY_OK);
    FUZZ_CHECK(frame_kind(&json->doc, json->doc.items) == expected);
}

/* ---- greetings ---- */

static void check_greeting(const struct greeting *seen, const struct greeting *expected)
{
    FUZZ_CHECK(strcmp(seen->entity_id, expected->entity_id) == 0);
    FUZZ_CHECK(strcmp(seen->session_id, expected->session_id) == 0);
    FUZZ_CHECK(seen->parley == expected->parley);
    if (!expected->parley)
        return;
    FUZZ_CHECK(seen->max_message_bytes == expected->max_message_bytes);
    FUZZ_CHECK(seen->max_batch_bytes == expected->max_batch_bytes);
    FUZZ_CHECK(seen->max_in_flight == expected->max_in_flight);
    FUZZ_CHECK(strcmp(seen->peer_session_id, expected->peer_session_id) == 0);
    if (expected->peer_session_id[0] == '\0')
        return;
    FUZZ_CHECK(seen->last_seq_known == expected->last_seq_known);
    FUZZ_CHECK(seen->last_seq == expected->last_seq);
}

static void write_greeting(const struct greeting *greeting, const struct rejections *rejected,
                           bool hello, uint64_t us)
{
    static struct rejections again;
    struct json_out out = fuzz_out(ROOM);
    struct envelope_error error;
    struct greeting seen;
    struct fuzz_json json;

    if (hello)
        greeting_write_hello(&out, greeting, rejected->entries, rejected->len, us);
    else
        greeting_write_connected(&out, greeting, rejected->entries, rejected->len, us);
    scan_written(&out, &json, hello ? FRAME_HELLO : FRAME_STATUS_CONNECTED);
    FUZZ_CHECK(greeting_read(&json.doc, json.doc.items, &seen, &error) == PARLEY_OK);
    check_greeting(&seen, greeting);
    if (seen.rejected != NULL || (greeting->parley && greeting->peer_session_id[0] != '\0')) {
        read_rejections(&json.doc, seen.rejected, &again);
        check_rejections(&again, rejected);
    }
    fuzz_json_fini(&json);
    free(out.buffer);
}

static void try_greeting(const struct fuzz_json *json, uint64_t us)
{
    static struct rejections rejected;
    struct greeting greeting;
    struct envelope_error error;
    parley_status status;

    memset(&greeting, 0xee, sizeof(greeting));
    status = greeting_read(&json->doc, json->doc.items, &greeting, &error);
    if (status != PARLEY_OK) {
        check_refusal(status, &error);
        return;
    }
    FUZZ_CHECK(ENDS(greeting.entity_id) && ENDS(greeting.session_id));
    FUZZ_CHECK(ENDS(greeting.peer_session_id));
    FUZZ_CHECK(greeting.last_seq_known || greeting.last_seq == 0);
    read_rejections(&json->doc, greeting.rejected, &rejected);
    write_greeting(&greeting, &rejected, true, us);
    write_greeting(&greeting, &rejected, false, us);
}

/* ---- acknowledgements ---- */

static void try_ack(const struct fuzz_json *json)
{
    static struct rejections rejected, again;
    struct json_out out;
    struct ack ack, seen;
    struct envelope_error error;
    struct fuzz_json written;
    parley_status status = ack_read(&json->doc, json->doc.items, &ack, &error);

    if (status != PARLEY_OK) {
        check_refusal(status, &error);
        return;
    }
    FUZZ_CHECK(ENDS(ack.session_id) && ack.session_id[0] != '\0');
    read_rejections(&json->doc, ack.rejected, &rejected);
    out = fuzz_out(ROOM);
    ack_write(&out, ack.session_id, ack.ack_seq, rejected.entries, rejected.len);
    scan_written(&out, &written, FRAME_ACK);
    FUZZ_CHECK(ack_read(&written.doc, written.doc.items, &seen, &error) == PARLEY_OK);
    FUZZ_CHECK(strcmp(seen.session_id, ack.session_id) == 0 && seen.ack_seq == ack.ack_seq);
    read_rejections(&written.doc, seen.rejected, &again);
    check_rejections(&again, &rejected);
    fuzz_json_fini(&written);
    free(out.buffer);
}

/* ---- errors and replies ---- */

#define TEXT_MAX 96

static void try_texts(const struct fuzz_json *json)
{
    char *text = fuzz_memory(TEXT_MAX), *again = fuzz_memory(TEXT_MAX);
    struct json_out out = fuzz_out(ROOM);
    struct fuzz_json written;

    error_read(&json->doc, json->doc.items, text, TEXT_MAX);
    error_write(&out, text, 0);
    scan_written(&out, &written, FRAME_ERROR);
    error_read(&written.doc, written.doc.items, again, TEXT_MAX);
    FUZZ_CHECK(strcmp(text, again) == 0);
    fuzz_json_fini(&written);

    detail_read(&json->doc, json->doc.items, text, TEXT_MAX);
    out.len = 0;
    detail_write(&out, text);
    scan_written(&out, &written, FRAME_OTHER);
    detail_read(&written.doc, written.doc.items, again, TEXT_MAX);
    FUZZ_CHECK(strcmp(text, again) == 0);
    fuzz_json_fini(&written);

    out.len = 0;
    received_write(&out, text, false);
    scan_written(&out, &written, FRAME_OTHER);
    FUZZ_CHECK(json_member(&written.doc, written.doc.items, "entity_id") != NULL);
    fuzz_json_fini(&written);
    free(out.buffer);
    free(again);
    free(text);
}

/* ---- small things ---- */

static void check_uuid(const uint8_t *data, size_t len)
{
    uint8_t random[16] = {0};
    char text[37];

    memcpy(random, data, len < 16 ? len : 16);
    uuid_write(text, random);
    FUZZ_CHECK(strlen(text) == 36 && strspn(text, "0123456789abcdef-") == 36);
    FUZZ_CHECK(text[14] == '4' && strchr("89ab", text[19]) != NULL);
    FUZZ_CHECK(text[8] == '-' && text[13] == '-' && text[18] == '-' && text[23] == '-');
    FUZZ_CHECK(entity_id_valid(text));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct fuzz_json json;
    uint64_t us = 0;

    if (len == 0)
        return 0;
    memcpy(&us, data + len - (len < 8 ? len : 8), len < 8 ? len : 8);
    fuzz_json_init(&json, data, len, ACK_RECORD_DEPTH);
    if (json.status == PARLEY_OK) {
        FUZZ_CHECK(frame_kind(&json.doc, json.doc.items) <= FRAME_OTHER);
        try_greeting(&json, us);
        try_ack(&json);
        try_texts(&json);
    }
    fuzz_json_fini(&json);
    check_uuid(data, len);
    return 0;
}
