/* SPDX-License-Identifier: Apache-2.0 */
#include "peers/chunk.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "peers/base64.h"

/* ---- Reading ---- */

/* A key beside the data, or inside of "chunk". */
static const struct json_item *find(const struct json_doc *doc,
                                    const struct json_item *payload, const char *key)
{
    const struct json_item *inner = json_member(doc, payload, "chunk");
    const struct json_item *item = NULL;

    if (inner != NULL && inner->type == JSON_OBJECT)
        item = json_member(doc, inner, key);
    if (item == NULL || item->type == JSON_NULL)
        item = json_member(doc, payload, key);
    return item != NULL && item->type != JSON_NULL ? item : NULL;
}

/* "chunk_id" first: a sender that has it may say "message_id" about each piece. */
static bool read_id(const struct json_doc *doc, const struct json_item *payload, char *id)
{
    static const char *const keys[] = {"chunk_id", "transfer_id", "message_id"};
    const struct json_item *item = NULL;

    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]) && item == NULL; i++)
        item = find(doc, payload, keys[i]);
    return item != NULL && json_string(doc, item, id, CHUNK_ID_MAX + 1) > 0;
}

static bool read_number(const struct json_doc *doc, const struct json_item *payload,
                        const char *key, uint64_t *ret_number)
{
    const struct json_item *item = find(doc, payload, key);

    return item != NULL && json_u64(doc, item, true, ret_number);
}

const char *chunk_read(const struct json_doc *doc, const struct json_item *payload,
                       struct chunk *ret_chunk)
{
    const struct json_item *checksum = find(doc, payload, "checksum");
    const struct json_item *ordered = find(doc, payload, "ordered");

    if (!read_id(doc, payload, ret_chunk->id))
        return "chunk without a chunk_id";
    if (!read_number(doc, payload, "chunk_index", &ret_chunk->index))
        return "chunk without a chunk_index";
    if (!read_number(doc, payload, "total_chunks", &ret_chunk->total))
        return "chunk without total_chunks";
    ret_chunk->data = find(doc, payload, "data");
    if (ret_chunk->data == NULL || ret_chunk->data->type != JSON_STRING)
        return "chunk without data";
    ret_chunk->ordered = ordered != NULL && ordered->type == JSON_TRUE;
    ret_chunk->checksum[0] = '\0';
    if (checksum != NULL)
        json_string_cut(doc, checksum, ret_chunk->checksum, sizeof(ret_chunk->checksum));
    return NULL;
}

const char *chunk_whole_read(const struct json_doc *doc, const struct json_item *root,
                             struct chunk_whole *ret_whole)
{
    const struct json_item *type = json_member(doc, root, "original_msg_type");
    const struct json_item *data = json_member(doc, root, "data");

    if (type == NULL || json_string(doc, type, ret_whole->type, sizeof(ret_whole->type)) <= 0)
        return "transfer without original_msg_type";
    if (strcmp(ret_whole->type, CHUNK_TYPE) == 0)
        return "transfer of a chunk";
    if (data == NULL || data->type != JSON_OBJECT)
        return "transfer without data";
    ret_whole->payload = doc->text + data->value;
    ret_whole->payload_len = data->value_len;
    return NULL;
}

bool chunks_missing_read(const char *detail, uint64_t *ret_from)
{
    uint64_t from = 0;

    if (strncmp(detail, HANDLER_ERROR, sizeof(HANDLER_ERROR) - 1) == 0)
        detail += sizeof(HANDLER_ERROR) - 1;
    if (strncmp(detail, CHUNKS_MISSING, sizeof(CHUNKS_MISSING) - 1) != 0)
        return false;
    detail += sizeof(CHUNKS_MISSING) - 1;
    if (*detail == '\0' || strlen(detail) > 10)
        return false;
    for (; *detail != '\0'; detail++) {
        if (*detail < '0' || *detail > '9')
            return false;
        from = 10 * from + (uint64_t)(*detail - '0');
    }
    *ret_from = from;
    return true;
}

/* ---- Cutting ---- */

static void write_id(char text[33], const uint8_t random[16])
{
    static const char hex[] = "0123456789abcdef";

    for (int i = 0; i < 16; i++) {
        text[2 * i] = hex[random[i] >> 4];
        text[2 * i + 1] = hex[random[i] & 15];
    }
    text[32] = '\0';
}

void chunk_cut_init(struct chunk_cut *cut, const uint8_t random[16], const char *type,
                    size_t type_len, const char *payload, size_t payload_len, size_t chars_max)
{
    assert(type_len <= ENVELOPE_TYPE_MAX && chars_max >= 4);
    write_id(cut->id, random);
    cut->head_len =
        (size_t)snprintf(cut->head, sizeof(cut->head),
                         "{\"original_msg_type\":\"%.*s\",\"data\":", (int)type_len, type);
    cut->type = type;
    cut->type_len = type_len;
    cut->payload = payload;
    cut->payload_len = payload_len;
    cut->piece_bytes = chars_max / 4 * 3;
    cut->total = (uint32_t)((chunk_cut_bytes(cut) + cut->piece_bytes - 1) / cut->piece_bytes);
}

uint64_t chunk_cut_bytes(const struct chunk_cut *cut)
{
    return cut->head_len + cut->payload_len + 1;
}

uint64_t chunk_cut_before(const struct chunk_cut *cut, uint32_t index)
{
    uint64_t before = (uint64_t)index * cut->piece_bytes;

    return index < cut->total ? before : chunk_cut_bytes(cut);
}

static size_t piece_len(const struct chunk_cut *cut, uint32_t index)
{
    return (size_t)(chunk_cut_before(cut, index + 1) - chunk_cut_before(cut, index));
}

size_t chunk_cut_room(const struct chunk_cut *cut, uint32_t index)
{
    return base64_chars(piece_len(cut, index)) + CHUNK_OVERHEAD_MAX;
}

/* A range of head, payload and closing brace, as if they stood in one text. */
static void copy(const struct chunk_cut *cut, uint64_t from, size_t len, char *to)
{
    const struct {
        const char *text;
        size_t len;
    } parts[] = {{cut->head, cut->head_len}, {cut->payload, cut->payload_len}, {"}", 1}};

    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]) && len > 0; i++) {
        size_t some;

        if (from >= parts[i].len) {
            from -= parts[i].len;
            continue;
        }
        some = parts[i].len - (size_t)from < len ? parts[i].len - (size_t)from : len;
        memcpy(to, parts[i].text + from, some);
        to += some;
        len -= some;
        from = 0;
    }
}

/* Into the end of its place, from where encoding never overtakes it. */
static void put_data(const struct chunk_cut *cut, uint32_t index, struct json_out *out)
{
    size_t len = piece_len(cut, index), chars = base64_chars(len);
    char *raw = out->buffer + out->len + chars - len;

    assert(out->capacity - out->len >= chars);
    copy(cut, chunk_cut_before(cut, index), len, raw);
    base64_encode(raw, len, out->buffer + out->len);
    out->len += chars;
}

size_t chunk_cut_write(const struct chunk_cut *cut, uint32_t index, char *buffer)
{
    struct json_out out = {.buffer = buffer, .capacity = chunk_cut_room(cut, index)};

    assert(index < cut->total);
    json_put_text(&out, "{\"chunk_id\":\"");
    json_put_text(&out, cut->id);
    json_put_text(&out, "\",\"message_id\":\"");
    json_put_text(&out, cut->id);
    json_put_text(&out, "\",\"chunk_index\":");
    json_put_u64(&out, index);
    json_put_text(&out, ",\"total_chunks\":");
    json_put_u64(&out, cut->total);
    json_put_text(&out, ",\"data\":\"");
    put_data(cut, index, &out);
    json_put_text(&out, "\",\"is_last\":");
    json_put_text(&out, index + 1 == cut->total ? "true" : "false");
    json_put_text(&out, ",\"original_msg_type\":\"");
    json_put(&out, cut->type, cut->type_len);
    json_put_text(&out, "\",\"ordered\":true}");
    assert(!out.overflow);
    return out.len;
}
