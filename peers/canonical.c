/* SPDX-License-Identifier: Apache-2.0
 *
 * Texts, order and nesting. Recursion is as deep as the text is nested, which json_scan()
 * bounds.
 */
#include "peers/canonical.h"

#include <assert.h>

#include "peers/json_text.h"

#define KEPT_BYTES          65536 /* of what was written, from one text to the next */
#define KEPT_MEMBERS        16384
#define SORTED_BY_INSERTION 12
#define FIXED_BYTES         512 /* keys and numbers of a message */

void canonical_init(struct canonical *canonical, const struct alloc *alloc)
{
    *canonical = (struct canonical){.alloc = alloc};
    json_init(&canonical->doc, alloc);
}

void canonical_fini(struct canonical *canonical)
{
    json_fini(&canonical->doc);
    alloc_free(canonical->alloc, canonical->order);
    alloc_free(canonical->alloc, canonical->bytes);
    *canonical = (struct canonical){.alloc = canonical->alloc};
}

/* ---- Strings ---- */

static void put_unit(struct json_out *out, unsigned unit)
{
    static const char hex[] = "0123456789abcdef";
    const char text[6] = {
        '\\',          'u', hex[unit >> 12 & 15], hex[unit >> 8 & 15], hex[unit >> 4 & 15],
        hex[unit & 15]};

    json_put(out, text, sizeof(text));
}

static void put_character(struct json_out *out, uint32_t character)
{
    static const char values[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";
    const char *found =
        character != 0 && character < 0x80 ? strchr(values, (int)character) : NULL;

    if (found != NULL) {
        char text[2] = {'\\', letters[found - values]};

        json_put(out, text, sizeof(text));
    } else if (character >= 0x20 && character < 0x7f) {
        char byte = (char)character;

        json_put(out, &byte, 1);
    } else if (character < 0x10000) {
        put_unit(out, character);
    } else {
        put_unit(out, 0xd800 + ((character - 0x10000) >> 10));
        put_unit(out, 0xdc00 + (character & 0x3ff));
    }
}

/* The character at `p`, which is well-formed. */
static uint32_t character_of(const char *p, size_t len)
{
    const unsigned char *byte = (const unsigned char *)p;
    uint32_t value;

    if (len == 1)
        return byte[0];
    value = byte[0] & (0x7fU >> len);
    for (size_t i = 1; i < len; i++)
        value = value << 6 | (byte[i] & 0x3f);
    return value;
}

/* The first byte that does not stand for itself: DEL among them, which JSON's plain text may
 * hold. `*plain` is where that ends, kept: a text of nothing but DEL is not read to its end
 * for each of them. */
static const char *plain_end(const char *p, const char *end, const char **plain)
{
    const char *del;

    if (p >= *plain)
        *plain = json_plain_end(p, end);
    del = p < *plain ? memchr(p, 0x7f, (size_t)(*plain - p)) : NULL;
    return del != NULL ? del : *plain;
}

/* @param escaped the text has its escapes still */
static void put_string(struct json_out *out, const char *p, const char *end, bool escaped)
{
    const char *plain = p;

    json_put(out, "\"", 1);
    while (p < end) {
        const char *special = plain_end(p, end, &plain);
        size_t len;

        json_put(out, p, (size_t)(special - p));
        p = special;
        if (p == end)
            break;
        if (*p == '\\' && escaped) {
            char piece[4];

            len = json_text_next(&p, piece);
            put_character(out, character_of(piece, len));
            continue;
        }
        len = (unsigned char)*p < 0x80 ? 1 : json_utf8_len(p, end);
        assert(len != 0); /* all texts were scanned */
        put_character(out, character_of(p, len));
        p += len;
    }
    json_put(out, "\"", 1);
}

/* ---- The order of keys: that of UTF-8's bytes is that of code points ---- */

struct key_reader {
    const char *at, *end;
    char piece[4];
    unsigned used, len;
};

static int next_byte(struct key_reader *reader)
{
    if (reader->used == reader->len) {
        if (reader->at == reader->end)
            return -1;
        reader->len = json_text_next(&reader->at, reader->piece);
        reader->used = 0;
    }
    return (unsigned char)reader->piece[reader->used++];
}

static bool escaped_before(const struct json_doc *doc, const struct json_item *a,
                           const struct json_item *b)
{
    const char *left = doc->text + a->key, *right = doc->text + b->key;
    struct key_reader one = {.at = left, .end = left + a->key_len};
    struct key_reader other = {.at = right, .end = right + b->key_len};
    int byte, against;

    do {
        byte = next_byte(&one);
        against = next_byte(&other);
    } while (byte == against && byte >= 0);
    return byte < against;
}

/* Whether the first item's key stands before the second's. */
static bool before(const struct json_doc *doc, uint32_t first, uint32_t second)
{
    const struct json_item *a = doc->items + first, *b = doc->items + second;
    size_t common = a->key_len < b->key_len ? a->key_len : b->key_len;
    int difference;

    if (a->key_escaped || b->key_escaped)
        return escaped_before(doc, a, b);
    difference = memcmp(doc->text + a->key, doc->text + b->key, common);
    return difference != 0 ? difference < 0 : a->key_len < b->key_len;
}

static void sort_few(const struct json_doc *doc, uint32_t *members, uint32_t len)
{
    for (uint32_t i = 1; i < len; i++) {
        uint32_t member = members[i], at = i;

        for (; at > 0 && before(doc, member, members[at - 1]); at--)
            members[at] = members[at - 1];
        members[at] = member;
    }
}

static void sift_down(const struct json_doc *doc, uint32_t *heap, uint32_t at, uint32_t len)
{
    uint32_t member = heap[at];

    for (uint32_t child = 2 * at + 1; child < len; child = 2 * at + 1) {
        if (child + 1 < len && before(doc, heap[child], heap[child + 1]))
            child++;
        if (!before(doc, member, heap[child]))
            break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = member;
}

/* A heap: no memory, and no order of keys that makes it slow. */
static void sort_many(const struct json_doc *doc, uint32_t *members, uint32_t len)
{
    for (uint32_t i = len / 2; i-- > 0;)
        sift_down(doc, members, i, len);
    for (uint32_t i = len; i-- > 1;) {
        uint32_t largest = members[0];

        members[0] = members[i];
        members[i] = largest;
        sift_down(doc, members, 0, i);
    }
}

/* ---- Values ---- */

struct writer {
    const struct json_doc *doc;
    struct json_out *out;
    uint32_t *order;
    uint32_t used, capacity;
};

static void put_value(struct writer *writer, const struct json_item *item);

static void put_object(struct writer *writer, const struct json_item *object)
{
    const struct json_doc *doc = writer->doc;
    uint32_t *members = writer->order + writer->used, len = 0;

    for (const struct json_item *item = json_first(doc, object); item != NULL;
         item = json_next(doc, item)) {
        assert(writer->used + len < writer->capacity);
        members[len++] = (uint32_t)(item - doc->items);
    }
    if (len <= SORTED_BY_INSERTION)
        sort_few(doc, members, len);
    else
        sort_many(doc, members, len);
    writer->used += len;
    json_put(writer->out, "{", 1);
    for (uint32_t i = 0; i < len; i++) {
        const struct json_item *item = doc->items + members[i];
        const char *key = doc->text + item->key;

        if (i > 0)
            json_put(writer->out, ",", 1);
        put_string(writer->out, key, key + item->key_len, item->key_escaped);
        json_put(writer->out, ":", 1);
        put_value(writer, item);
    }
    json_put(writer->out, "}", 1);
    writer->used -= len;
}

static void put_array(struct writer *writer, const struct json_item *array)
{
    const struct json_item *first = json_first(writer->doc, array);

    json_put(writer->out, "[", 1);
    for (const struct json_item *item = first; item != NULL;
         item = json_next(writer->doc, item)) {
        if (item != first)
            json_put(writer->out, ",", 1);
        put_value(writer, item);
    }
    json_put(writer->out, "]", 1);
}

static void put_value(struct writer *writer, const struct json_item *item)
{
    const char *text = writer->doc->text + item->value;

    switch ((enum json_type)item->type) {
    case JSON_NULL:
    case JSON_FALSE:
    case JSON_TRUE:
        json_put(writer->out, text, item->value_len);
        break;
    case JSON_NUMBER:
        canonical_number(writer->out, text, item->value_len);
        break;
    case JSON_STRING:
        put_string(writer->out, text, text + item->value_len, item->value_escaped);
        break;
    case JSON_ARRAY:
        put_array(writer, item);
        break;
    case JSON_OBJECT:
        put_object(writer, item);
        break;
    }
}

/* ---- Room ---- */

static bool room_for_bytes(struct canonical *canonical, size_t needed)
{
    char *bytes;

    if (canonical->capacity >= needed && canonical->capacity <= KEPT_BYTES)
        return true;
    if (needed < KEPT_BYTES / 16)
        needed = KEPT_BYTES / 16;
    bytes = alloc_bytes(canonical->alloc, needed);
    if (bytes == NULL)
        return false;
    alloc_free(canonical->alloc, canonical->bytes);
    canonical->bytes = bytes;
    canonical->capacity = needed;
    return true;
}

static bool room_for_order(struct canonical *canonical, uint32_t needed)
{
    uint32_t *order;

    if (canonical->order_capacity >= needed && canonical->order_capacity <= KEPT_MEMBERS)
        return true;
    if (needed < KEPT_MEMBERS / 64)
        needed = KEPT_MEMBERS / 64;
    order = alloc_bytes(canonical->alloc, needed * sizeof(*order));
    if (order == NULL)
        return false;
    alloc_free(canonical->alloc, canonical->order);
    canonical->order = order;
    canonical->order_capacity = needed;
    return true;
}

/* Scans, and sees to room for what will be written: `more` bytes besides. */
static parley_status prepare(struct canonical *canonical, const char *text, size_t len,
                             size_t more)
{
    const struct json_limits limits = {.depth_max = JSON_DEPTH_MAX,
                                       .bytes_max = JSON_BYTES_MAX};
    struct json_error error;
    parley_status status =
        json_scan(&canonical->doc, text, len, &limits, JSON_DEPTH_MAX, &error);

    if (status != PARLEY_OK)
        return status;
    if (!room_for_order(canonical, canonical->doc.count) ||
        !room_for_bytes(canonical, len * CANONICAL_GROWTH_MAX + more))
        return PARLEY_ENOMEM;
    return PARLEY_OK;
}

static void put_scanned(struct canonical *canonical, struct json_out *out)
{
    struct writer writer = {.doc = &canonical->doc,
                            .out = out,
                            .order = canonical->order,
                            .capacity = canonical->order_capacity};

    put_value(&writer, canonical->doc.items);
}

static struct json_out begin(const struct canonical *canonical)
{
    return (struct json_out){.buffer = canonical->bytes, .capacity = canonical->capacity};
}

static void end(const struct json_out *out, const char **ret_bytes, size_t *ret_len)
{
    assert(!out->overflow);
    *ret_bytes = out->buffer;
    *ret_len = out->len;
}

parley_status canonical_text(struct canonical *canonical, const char *text, size_t len,
                             const char **ret_bytes, size_t *ret_len)
{
    parley_status status = prepare(canonical, text, len, FIXED_BYTES);
    struct json_out out;

    if (status != PARLEY_OK)
        return status;
    out = begin(canonical);
    put_scanned(canonical, &out);
    end(&out, ret_bytes, ret_len);
    return PARLEY_OK;
}

/* ---- Messages ---- */

static void put_member(struct json_out *out, const char *key, const char *text)
{
    json_put_text(out, key);
    put_string(out, text, text + strlen(text), false);
}

static size_t texts_len(const struct canonical_message *message)
{
    size_t len = strlen(message->msg_type) + strlen(message->nonce) +
                 strlen(message->sender_id) + strlen(message->version);

    if (message->recipient_id != NULL)
        len += strlen(message->recipient_id) + strlen(message->session_id) +
               strlen(message->message_id);
    return len + message->timestamp_len;
}

static void put_timestamp(struct json_out *out, const struct canonical_message *message)
{
    const char *text = message->timestamp;

    json_put_text(out, ",\"timestamp\":");
    if (*text == '"')
        put_string(out, text + 1, text + message->timestamp_len - 1, true);
    else
        canonical_number(out, text, message->timestamp_len);
}

parley_status canonical_message(struct canonical *canonical,
                                const struct canonical_message *message,
                                const char **ret_bytes, size_t *ret_len)
{
    const bool bound = message->recipient_id != NULL;
    const char *payload = message->payload != NULL ? message->payload : "null";
    size_t payload_len = message->payload != NULL ? message->payload_len : 4;
    parley_status status = prepare(canonical, payload, payload_len,
                                   texts_len(message) * CANONICAL_GROWTH_MAX + FIXED_BYTES);
    struct json_out out;

    if (status != PARLEY_OK)
        return status;
    out = begin(canonical);
    json_put_text(&out, "{");
    if (bound) {
        json_put_text(&out, "\"base_seq\":");
        json_put_u64(&out, message->base_seq);
        put_member(&out, ",\"message_id\":", message->message_id);
        json_put_text(&out, ",");
    }
    put_member(&out, "\"msg_type\":", message->msg_type);
    put_member(&out, ",\"nonce\":", message->nonce);
    json_put_text(&out, ",\"payload\":");
    put_scanned(canonical, &out);
    if (bound)
        put_member(&out, ",\"recipient_id\":", message->recipient_id);
    put_member(&out, ",\"sender_id\":", message->sender_id);
    if (bound) {
        json_put_text(&out, ",\"sequence_num\":");
        json_put_u64(&out, message->number);
        put_member(&out, ",\"session_id\":", message->session_id);
    }
    put_timestamp(&out, message);
    put_member(&out, ",\"version\":", message->version);
    json_put_text(&out, "}");
    end(&out, ret_bytes, ret_len);
    return PARLEY_OK;
}
