/* SPDX-License-Identifier: Apache-2.0
 *
 * Signatures of messages: the vectors in both directions, and every part of a message changed
 * after it was signed.
 */
#include <cjson/cJSON.h>

#include "peers/base64.h"
#include "peers/signature.h"
#include "test/peers/scanned.h"
#include "test/peers/vectors.h"

static struct alloc alloc;
static struct canonical canonical;
static struct identity *identity;
static struct identity_key *key, *other_key;

static void begin(void)
{
    uint8_t seed[32], other[32];
    struct identity *somebody;

    alloc_init(&alloc, NULL);
    canonical_init(&canonical, &alloc);
    for (uint8_t i = 0; i < 32; i++) {
        seed[i] = i; /* the vectors' */
        other[i] = 0x20 + i;
    }
    CHECK_STATUS(identity_new(&alloc, seed, &identity), OK);
    CHECK_STATUS(identity_new(&alloc, other, &somebody), OK);
    CHECK_STATUS(identity_key_new(&alloc, identity_public(identity), &key), OK);
    CHECK_STATUS(identity_key_new(&alloc, identity_public(somebody), &other_key), OK);
    identity_free(somebody);
}

static void end(void)
{
    identity_key_free(key);
    identity_key_free(other_key);
    identity_free(identity);
    canonical_fini(&canonical);
}

/* ---- Complete envelopes ---- */

static enum signature_verdict verdict_on(const char *text, const struct identity_key *of)
{
    struct envelope_error error;
    struct envelope envelope;
    struct scanned s;
    enum signature_verdict verdict = SIGNATURE_MISSING;

    scanned_good(&s, text);
    CHECK_STATUS(envelope_read(&s.doc, s.doc.items, &envelope, &error), OK);
    verdict = signature_check_envelope(&canonical, of, &s.doc, s.doc.items, &envelope, "us");
    scanned_fini(&s);
    return verdict;
}

/* The vectors whose payload is an object: that is what messages carry. */
static void envelopes_of_the_vectors(void)
{
    cJSON *all = vectors_load();
    const cJSON *vector;
    unsigned count = 0;

    begin();
    cJSON_ArrayForEach(vector, cJSON_GetObjectItem(all, "signed_messages"))
    {
        const char *text = cJSON_GetObjectItem(vector, "wire_json")->valuestring;
        cJSON *wire = cJSON_Parse(text);

        if (cJSON_IsObject(cJSON_GetObjectItem(wire, "payload"))) {
            CHECK_U64(verdict_on(text, key), SIGNATURE_PLAIN);
            CHECK_U64(verdict_on(text, other_key), SIGNATURE_INVALID);
            count++;
        }
        cJSON_Delete(wire);
    }
    CHECK_U64(count, 11);
    cJSON_Delete(all);
    end();
}

static const uint8_t nonce_bytes[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

static struct envelope_fields fields_of(const char *payload)
{
    return (struct envelope_fields){
        .sender_id = "orig-a",
        .recipient_id = "us",
        .session_id = "11111111-2222-4333-8444-555555555555",
        .msg_type = "status",
        .msg_type_len = 6,
        .payload = payload,
        .payload_len = payload != NULL ? strlen(payload) : 0,
        .timestamp_us = UINT64_C(1700000000500000),
        .number = 7,
        .nonce = nonce_bytes,
        .message_id = "m-1",
        .version = "1.0",
        .base_seq = 3,
    };
}

static void we_sign_as_the_vectors_do(void)
{
    struct envelope_fields fields = fields_of("{\"text\" : \"hi\"}");
    struct signed_texts texts;

    begin();
    CHECK_STATUS(signature_envelope(&canonical, identity, &fields, &texts), OK);
    CHECK_TEXT(fields.signature, "SnuGR67kIdbZPGw7cbn5xQ3z7yX+Urr/9cSYonB8fTgQbQfCMcLFxemDztM8"
                                 "H7Zg2wz2XS8Rpv7NmNexA1K+AA==");
    CHECK(fields.bound != NULL);
    fields = fields_of("{\"text\" : \"hi\"}");
    fields.version = "0.3"; /* has no place to be bound to */
    CHECK_STATUS(signature_envelope(&canonical, identity, &fields, &texts), OK);
    CHECK(fields.signature != NULL && fields.bound == NULL);
    end();
}

static const char *replaced(char *buffer, size_t len, const char *text, const char *from,
                            const char *to)
{
    const char *at = strstr(text, from);

    if (!CHECK(at != NULL))
        return text;
    snprintf(buffer, len, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    return buffer;
}

/* What is not covered by the older signature is by ours. */
static void a_changed_envelope_is_refused(void)
{
    static const char *const changes[][2] = {
        {"\"text\":\"hi\"", "\"text\":\"ho\""},
        {"1700000000.5", "1700000000.6"},
        {"AAECAw", "BAECAw"},
        {"\"sender_id\":\"orig-a\"", "\"sender_id\":\"orig-b\""},
        {"\"msg_type\":\"status\"", "\"msg_type\":\"statuS\""},
        {"\"sequence_num\":7", "\"sequence_num\":8"},
        {"\"base_seq\":3", "\"base_seq\":4"},
        {"\"base_seq\":3,", ""},
        {"-555555555555\"", "-555555555556\""},
        {"\"message_id\":\"m-1\"", "\"message_id\":\"m-2\""},
        {"\"signature\":\"", "\"signature\":\"A"},
        {"\"parley_signature\":\"", "\"parley_signature\":\" "},
    };
    struct envelope_fields fields = fields_of("{\"text\":\"hi\"}");
    struct signed_texts texts;
    struct written w;
    char wire[4096], changed[4096];

    begin();
    CHECK_STATUS(signature_envelope(&canonical, identity, &fields, &texts), OK);
    envelope_write(written_init(&w), &fields);
    snprintf(wire, sizeof(wire), "%s", written_text(&w));
    CHECK_U64(verdict_on(wire, key), SIGNATURE_BOUND);
    for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
        replaced(changed, sizeof(changed), wire, changes[i][0], changes[i][1]);
        if (verdict_on(changed, key) != SIGNATURE_INVALID)
            CHECK_TEXT(changed, "(refused)");
    }
    /* without ours it is bound to nothing, written anew it is the same */
    replaced(changed, sizeof(changed), wire, "\"parley_signature\"", "\"other\"");
    CHECK_U64(verdict_on(changed, key), SIGNATURE_PLAIN);
    replaced(changed, sizeof(changed), wire, "{\"text\":\"hi\"}",
             "{ \"te\\u0078t\": \"hi\" }");
    CHECK_U64(verdict_on(changed, key), SIGNATURE_BOUND);
    end();
}

/* Some readers take such a message for said now: its copies would stay fresh for ever. */
static void what_says_no_time_is_nobodys(void)
{
    static const char form[] =
        "{%s\"payload\":{},\"nonce\":\"n\",\"sender_id\":\"orig-a\",\"msg_type\":\"x\","
        "\"version\":\"1.0\",\"session_id\":\"s\",\"sequence_num\":1,\"signature\":\"%s\"}";
    const struct canonical_message message = {.msg_type = "x",
                                              .nonce = "n",
                                              .sender_id = "orig-a",
                                              .version = "1.0",
                                              .payload = "{}",
                                              .payload_len = 2,
                                              .timestamp = "0",
                                              .timestamp_len = 1};
    const struct envelope envelope = {.sender_id = "orig-a",
                                      .session_id = "s",
                                      .msg_type = "x",
                                      .payload = "{}",
                                      .payload_len = 2,
                                      .number = 1};
    char signature[SIGNATURE_CHARS + 1] = "", text[512];
    uint8_t bytes[IDENTITY_SIGNATURE_BYTES];
    const char *signed_bytes;
    size_t len;

    begin();
    CHECK_STATUS(canonical_message(&canonical, &message, &signed_bytes, &len), OK);
    CHECK_STATUS(identity_sign(identity, signed_bytes, len, bytes), OK);
    base64_encode((const char *)bytes, sizeof(bytes), signature);
    for (int with = 0; with < 2; with++) {
        struct scanned s;

        snprintf(text, sizeof(text), form, with ? "\"timestamp\":0," : "", signature);
        scanned_good(&s, text);
        CHECK_U64(
            signature_check_envelope(&canonical, key, &s.doc, s.doc.items, &envelope, "us"),
            with ? SIGNATURE_PLAIN : SIGNATURE_INVALID);
        scanned_fini(&s);
    }
    end();
}

/* ---- Batches ---- */

static enum signature_verdict verdict_in(const char *text, const char *sender,
                                         const char *recipient)
{
    struct envelope_error error;
    enum signature_verdict verdict;
    struct batch batch;
    struct scanned s;

    scanned_good(&s, text);
    CHECK_STATUS(batch_read(&s.doc, s.doc.items, &batch, &error), OK);
    verdict = signature_check_in_batch(&canonical, key, &s.doc,
                                       batch.messages != NULL ? batch.messages : s.doc.items,
                                       &batch, batch.first_seq, sender, recipient);
    scanned_fini(&s);
    return verdict;
}

static void batch_of(struct written *w, const char *payload, bool empty)
{
    struct envelope_fields fields = fields_of(payload);
    struct json_out *out = written_init(w);
    struct signed_texts texts;

    fields.message_id = NULL;
    if (empty)
        fields.number = 0;
    CHECK_STATUS(signature_in_batch(&canonical, identity, &fields, &texts), OK);
    batch_begin(out, fields.session_id, fields.base_seq, 7);
    fields.sender_id = NULL;
    if (empty) {
        batch_end_signed(out, &fields);
    } else {
        CHECK(batch_add(out, &fields, true));
        batch_end(out);
    }
}

static void a_changed_batch_is_refused(void)
{
    static const char *const changes[][2] = {
        {"\"first_seq\":7", "\"first_seq\":8"},
        {"\"base_seq\":3", "\"base_seq\":2"},
        {"-555555555555\"", "-555555555556\""},
        {"{\"text\":\"hi\"}", "{}"},
        {"\"msg_type\":\"status\"", "\"msg_type\":\"x\""},
        {"\"msg_type\"", "\"message_id\":\"m\",\"msg_type\""},
        {"\"msg_type\"", "\"void\":true,\"msg_type\""},
        {"\"msg_type\"", "\"version\":\"0.3\",\"msg_type\""},
    };
    struct written w;
    char changed[2048];

    begin();
    batch_of(&w, "{\"text\":\"hi\"}", false);
    CHECK_U64(verdict_in(written_text(&w), "orig-a", "us"), SIGNATURE_BOUND);
    CHECK_U64(verdict_in(written_text(&w), "orig-b", "us"), SIGNATURE_INVALID);
    CHECK_U64(verdict_in(written_text(&w), "orig-a", "them"), SIGNATURE_INVALID);
    for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
        replaced(changed, sizeof(changed), written_text(&w), changes[i][0], changes[i][1]);
        if (verdict_in(changed, "orig-a", "us") != SIGNATURE_INVALID)
            CHECK_TEXT(changed, "(refused)");
    }
    replaced(changed, sizeof(changed), written_text(&w), "parley_signature", "signature");
    CHECK_U64(verdict_in(changed, "orig-a", "us"), SIGNATURE_MISSING);
    end();
}

/* A void closes its number and nothing else; a batch without messages says base_seq. */
static void voids_and_empty_batches_are_signed(void)
{
    struct written w;
    char changed[2048], copy[2048];

    begin();
    batch_of(&w, NULL, false);
    CHECK_CONTAINS(written_text(&w), "{\"void\":true,\"timestamp\":1700000000.5,\"nonce\":");
    CHECK_U64(verdict_in(written_text(&w), "orig-a", "us"), SIGNATURE_BOUND);
    replaced(changed, sizeof(changed), written_text(&w), "\"first_seq\":7", "\"first_seq\":6");
    CHECK_U64(verdict_in(changed, "orig-a", "us"), SIGNATURE_INVALID);
    replaced(changed, sizeof(changed), written_text(&w), "\"void\":true",
             "\"msg_type\":\"x\",\"payload\":{}");
    CHECK_U64(verdict_in(changed, "orig-a", "us"), SIGNATURE_INVALID);
    batch_of(&w, NULL, true);
    CHECK_CONTAINS(written_text(&w), "\"messages\":[],\"timestamp\":1700000000.5,\"nonce\":");
    CHECK_U64(verdict_in(written_text(&w), "orig-a", "us"), SIGNATURE_BOUND);
    replaced(changed, sizeof(changed), written_text(&w), "\"base_seq\":3", "\"base_seq\":7");
    CHECK_U64(verdict_in(changed, "orig-a", "us"), SIGNATURE_INVALID);
    replaced(changed, sizeof(changed), written_text(&w), "\"messages\":[],",
             "\"messages\":[{\"void\":true,");
    replaced(copy, sizeof(copy), changed, "\"}", "\"}]}");
    CHECK_U64(verdict_in(copy, "orig-a", "us"), SIGNATURE_INVALID);
    end();
}

/* ---- An older client ---- */

static enum signature_verdict client_verdict(const char *id, const char *type,
                                             const char *signature)
{
    enum signature_verdict verdict;
    struct scanned s;
    char text[1024];

    snprintf(text, sizeof(text),
             "{\"message_id\":\"%s\",\"type\":\"%s\",\"from_entity\":\"orig-a\",\"to_entity\":"
             "\"us\",\"timestamp\":1795380700.7550988,\"payload\":{},\"signature\":%s}",
             id, type, signature);
    scanned_good(&s, text);
    verdict = signature_check_client(key, &s.doc, s.doc.items);
    scanned_fini(&s);
    return verdict;
}

static void an_older_clients_signature_covers_three_members(void)
{
    cJSON *all = vectors_load();
    const cJSON *vector = cJSON_GetObjectItem(all, "ws_client_signature");
    const char *hex = cJSON_GetObjectItem(vector, "signature_hex")->valuestring;
    char quoted[140];

    begin();
    snprintf(quoted, sizeof(quoted), "\"%s\"", hex);
    CHECK_U64(client_verdict("3068f76d-089a-4054-8ad0-7e0e053e970d", "MESSAGE", quoted),
              SIGNATURE_PLAIN);
    CHECK_U64(client_verdict("3068f76d-089a-4054-8ad0-7e0e053e970e", "MESSAGE", quoted),
              SIGNATURE_INVALID);
    CHECK_U64(client_verdict("3068f76d-089a-4054-8ad0-7e0e053e970d", "BYE", quoted),
              SIGNATURE_INVALID);
    CHECK_U64(client_verdict("a", "MESSAGE", "null"), SIGNATURE_MISSING);
    CHECK_U64(client_verdict("a", "MESSAGE", "\"00\""), SIGNATURE_INVALID);
    CHECK_U64(client_verdict("a", "MESSAGE", "7"), SIGNATURE_INVALID);
    cJSON_Delete(all);
    end();
}

static const struct check_test tests[] = {
    {"envelopes of the vectors", envelopes_of_the_vectors},
    {"we sign as the vectors do", we_sign_as_the_vectors_do},
    {"a changed envelope is refused", a_changed_envelope_is_refused},
    {"what says no time is nobody's", what_says_no_time_is_nobodys},
    {"a changed batch is refused", a_changed_batch_is_refused},
    {"voids and empty batches are signed", voids_and_empty_batches_are_signed},
    {"an older client's signature covers three members",
     an_older_clients_signature_covers_three_members},
};

CHECK_MAIN("signature", tests)
