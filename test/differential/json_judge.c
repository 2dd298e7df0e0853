/* SPDX-License-Identifier: Apache-2.0
 *
 * What our reader makes of JSON documents, for the differential test to compare.
 *
 * Standard input holds documents, each behind its length (4 bytes, little endian). Each is
 * answered with a record of the same form: "R" if it is refused; else "A", what was
 * understood as compact JSON with sorted keys and every number as the 64 bits of its double,
 * a NUL, and for each number in the order of the text how json_u64() and json_double() took
 * it. With the argument `seconds` standard input holds 8-byte integers instead, each
 * answered with what json_put_seconds() writes and a newline.
 *
 * On the way it holds the reader's functions against each other and aborts when they differ.
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "peers/json.h"
#include "peers/json_text.h"

#define DOCUMENT_BYTES_MAX (1u << 24)
#define GROWTH_MAX         28 /* bytes written for one byte read; "0" takes most */

static const struct json_limits limits = {.depth_max = 32, .bytes_max = DOCUMENT_BYTES_MAX};

struct member {
    char *key; /* decoded */
    const struct json_item *item;
};

struct judge {
    struct alloc alloc;
    struct json_doc doc, shallow;
    char *buffer; /* what is being written */
    size_t buffer_bytes;
    char *arena; /* decoded keys and strings of the document */
    size_t arena_bytes, arena_used;
    struct json_out out;
};

/* A promise of the reader that this document shows to be broken. */
static void expect(const struct judge *judge, bool kept, const char *promise)
{
    if (kept)
        return;
    fprintf(stderr, "json_judge: %s, in the document ", promise);
    for (size_t i = 0; i < judge->doc.len; i++)
        fprintf(stderr, "%02x", (unsigned char)judge->doc.text[i]);
    fprintf(stderr, "\n");
    abort();
}

static void grow(char **block, size_t *bytes, size_t need)
{
    if (*bytes >= need)
        return;
    *bytes = need;
    *block = realloc(*block, need);
    if (*block == NULL)
        abort();
}

/* Decodes a recorded text to the arena, NUL-terminated. */
static char *decode(struct judge *judge, uint32_t from, uint32_t len, size_t *ret_len)
{
    const char *at = judge->doc.text + from, *end = at + len;
    char *start = judge->arena + judge->arena_used;

    while (at < end)
        judge->arena_used += json_text_next(&at, judge->arena + judge->arena_used);
    *ret_len = (size_t)(judge->arena + judge->arena_used - start);
    judge->arena[judge->arena_used++] = '\0';
    return start;
}

static void write_string(struct judge *judge, const struct json_item *item)
{
    size_t len;
    char *text = decode(judge, item->value, item->value_len, &len);
    char *copy = judge->arena + judge->arena_used; /* the arena has room for both */
    int copied = json_string(&judge->doc, item, copy, len + 1);

    if (memchr(text, '\0', len) != NULL) {
        expect(judge, copied == -1, "json_string() refuses U+0000");
    } else {
        expect(judge, copied == (int)len && memcmp(copy, text, len + 1) == 0,
               "json_string() decodes");
        json_string_cut(&judge->doc, item, copy, len + 1);
        expect(judge, memcmp(copy, text, len + 1) == 0, "json_string_cut() decodes");
        expect(judge, json_string(&judge->doc, item, copy, len) == -1,
               "json_string() stays within its buffer");
    }
    json_put_string(&judge->out, text, len);
}

static void write_number(struct judge *judge, const struct json_item *item)
{
    double value = judge->doc.text[item->value] == '-' ? -INFINITY : INFINITY;
    uint64_t bits;

    (void)json_double(&judge->doc, item, &value);
    memcpy(&bits, &value, sizeof(bits));
    json_put_u64(&judge->out, bits);
}

static int by_key(const void *a, const void *b)
{
    const struct member *left = a, *right = b;

    return strcmp(left->key, right->key); /* UTF-8 sorts by code point; no key holds NUL */
}

static void write_value(struct judge *judge, const struct json_item *item);

static void write_object(struct judge *judge, const struct json_item *object)
{
    const struct json_doc *doc = &judge->doc;
    struct member *members = malloc((object->value_len / 2 + 1) * sizeof(*members));
    size_t count = 0, ignored;

    for (const struct json_item *item = json_first(doc, object); item != NULL;
         item = json_next(doc, item)) {
        members[count].key = decode(judge, item->key, item->key_len, &ignored);
        members[count].item = item;
        expect(judge, json_member(doc, object, members[count].key) == item,
               "json_member() finds each member");
        count++;
    }
    if (count > 1)
        qsort(members, count, sizeof(*members), by_key);
    json_put_text(&judge->out, "{");
    for (size_t i = 0; i < count; i++) {
        json_put_text(&judge->out, i > 0 ? "," : "");
        json_put_string(&judge->out, members[i].key, strlen(members[i].key));
        json_put_text(&judge->out, ":");
        write_value(judge, members[i].item);
    }
    json_put_text(&judge->out, "}");
    free(members);
}

static void write_array(struct judge *judge, const struct json_item *array)
{
    const struct json_doc *doc = &judge->doc;
    const struct json_item *first = json_first(doc, array);

    json_put_text(&judge->out, "[");
    for (const struct json_item *item = first; item != NULL; item = json_next(doc, item)) {
        json_put_text(&judge->out, item != first ? "," : "");
        write_value(judge, item);
    }
    json_put_text(&judge->out, "]");
}

static void write_value(struct judge *judge, const struct json_item *item)
{
    switch ((enum json_type)item->type) {
    case JSON_NULL:
        json_put_text(&judge->out, "null");
        break;
    case JSON_FALSE:
        json_put_text(&judge->out, "false");
        break;
    case JSON_TRUE:
        json_put_text(&judge->out, "true");
        break;
    case JSON_NUMBER:
        write_number(judge, item);
        break;
    case JSON_STRING:
        write_string(judge, item);
        break;
    case JSON_ARRAY:
        write_array(judge, item);
        break;
    case JSON_OBJECT:
        write_object(judge, item);
        break;
    }
}

/* "12," an integer; "-," not one for json_u64(); "!," no double either. */
static void write_integers(struct judge *judge)
{
    for (uint32_t i = 0; i < judge->doc.count; i++) {
        const struct json_item *item = &judge->doc.items[i];
        uint64_t integer;
        double value;

        if (item->type != JSON_NUMBER)
            continue;
        if (json_u64(&judge->doc, item, false, &integer))
            json_put_u64(&judge->out, integer);
        else
            json_put_text(&judge->out, json_double(&judge->doc, item, &value) ? "-" : "!");
        json_put_text(&judge->out, ",");
    }
}

/* A scan that records less, or nothing, comes to the same end and the same values. */
static void compare_scans(struct judge *judge, parley_status status)
{
    const struct json_doc *doc = &judge->doc;
    struct json_doc *shallow = &judge->shallow;
    bool object = status == PARLEY_OK && doc->items[0].type == JSON_OBJECT;
    struct json_error error;
    uint32_t at = 0;

    expect(judge, json_scan(shallow, doc->text, doc->len, &limits, 1, &error) == status,
           "json_scan() judges alike at any record_depth");
    for (uint32_t i = 0; i < doc->count; i++) {
        const struct json_item *item = &doc->items[i];

        if (item->depth > 1)
            continue;
        expect(judge,
               at < shallow->count && shallow->items[at].value == item->value &&
                   shallow->items[at].value_len == item->value_len &&
                   shallow->items[at].key == item->key,
               "json_scan() records alike at any record_depth");
        at++;
    }
    expect(judge, at == shallow->count, "json_scan() records no deeper than asked");
    expect(judge,
           json_check_object(shallow, doc->text, doc->len, &limits, &error) ==
               (object ? PARLEY_OK : PARLEY_EPROTO),
           "json_check_object() takes what json_scan() calls an object");
}

static void judge_document(struct judge *judge, const char *text, uint32_t len)
{
    struct json_error error;
    parley_status status = json_scan(&judge->doc, text, len, &limits, JSON_DEPTH_MAX, &error);

    compare_scans(judge, status);
    grow(&judge->buffer, &judge->buffer_bytes, (size_t)len * GROWTH_MAX + 64);
    grow(&judge->arena, &judge->arena_bytes, (size_t)len * 3 + 64);
    judge->arena_used = 0;
    judge->out = (struct json_out){.buffer = judge->buffer, .capacity = judge->buffer_bytes};
    if (status != PARLEY_OK) {
        json_put_text(&judge->out, "R");
        return;
    }
    json_put_text(&judge->out, "A");
    write_value(judge, judge->doc.items);
    json_put(&judge->out, "", 1);
    write_integers(judge);
    expect(judge, !judge->out.overflow, "what is written fits");
}

static bool read_u32(uint32_t *ret_value)
{
    unsigned char bytes[4];

    if (fread(bytes, 1, sizeof(bytes), stdin) != sizeof(bytes))
        return false;
    *ret_value = bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 |
                 (uint32_t)bytes[3] << 24;
    return true;
}

static void write_record(const struct json_out *out)
{
    uint32_t len = (uint32_t)out->len;
    unsigned char bytes[4] = {len & 255, len >> 8 & 255, len >> 16 & 255, len >> 24};

    fwrite(bytes, 1, sizeof(bytes), stdout);
    fwrite(out->buffer, 1, out->len, stdout);
}

static int judge_documents(void)
{
    struct judge judge = {.buffer = NULL};
    uint32_t len;

    alloc_init(&judge.alloc, NULL);
    json_init(&judge.doc, &judge.alloc);
    json_init(&judge.shallow, &judge.alloc);
    while (read_u32(&len)) {
        char *text; /* its own block: a sanitizer sees one byte too far */

        if (len > DOCUMENT_BYTES_MAX)
            return 2;
        text = malloc(len > 0 ? len : 1);
        if (text == NULL || fread(text, 1, len, stdin) != len)
            return 2;
        judge_document(&judge, text, len);
        write_record(&judge.out);
        free(text);
    }
    json_fini(&judge.doc);
    json_fini(&judge.shallow);
    free(judge.buffer);
    free(judge.arena);
    return fflush(stdout) == 0 ? 0 : 2;
}

static int write_seconds(void)
{
    uint32_t low, high;

    while (read_u32(&low) && read_u32(&high)) {
        char buffer[64];
        struct json_out out = {.buffer = buffer, .capacity = sizeof(buffer)};

        json_put_seconds(&out, (uint64_t)high << 32 | low);
        json_put_text(&out, "\n");
        fwrite(buffer, 1, out.len, stdout);
    }
    return fflush(stdout) == 0 ? 0 : 2;
}

int main(int argc, char **argv)
{
    return argc == 2 && strcmp(argv[1], "seconds") == 0 ? write_seconds() : judge_documents();
}
