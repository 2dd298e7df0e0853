/* SPDX-License-Identifier: Apache-2.0
 *
 * Fields: each reader checks one value and, when it is at fault, says which key it was. The
 * texts are those of PROTOCOL.md's replies; peers match on them, people read them.
 */
#include "peers/wire.h"

#include <stdio.h>

parley_status wire_unknown(struct envelope_error *ret_error)
{
    snprintf(ret_error->text, sizeof(ret_error->text), "Unknown message format");
    return PARLEY_EPROTO;
}

parley_status wire_missing(struct envelope_error *ret_error, const char *key)
{
    snprintf(ret_error->text, sizeof(ret_error->text), "Missing required field: %s", key);
    return PARLEY_EPROTO;
}

parley_status wire_invalid(struct envelope_error *ret_error, const char *key)
{
    snprintf(ret_error->text, sizeof(ret_error->text), "Invalid field: %s", key);
    return PARLEY_EPROTO;
}

const struct json_item *wire_member(const struct json_doc *doc, const struct json_item *object,
                                    const char *key)
{
    const struct json_item *item = object != NULL ? json_member(doc, object, key) : NULL;

    return item != NULL && item->type != JSON_NULL ? item : NULL;
}

const struct json_item *wire_payload(const struct json_doc *doc, const struct json_item *root)
{
    const struct json_item *payload = wire_member(doc, root, "payload");

    return payload != NULL && payload->type == JSON_OBJECT ? payload : NULL;
}

bool wire_is(const struct json_doc *doc, const struct json_item *item, const char *text)
{
    char buffer[ENVELOPE_TYPE_MAX + 1];

    return item != NULL && json_string(doc, item, buffer, sizeof(buffer)) >= 0 &&
           strcmp(buffer, text) == 0;
}

parley_status wire_text(const struct json_doc *doc, const struct json_item *item,
                        const char *key, bool optional, char *buffer, size_t len,
                        struct envelope_error *ret_error)
{
    int used;

    if (item == NULL) {
        if (!optional)
            return wire_missing(ret_error, key);
        buffer[0] = '\0';
        return PARLEY_OK;
    }
    used = json_string(doc, item, buffer, len);
    if (used < 0)
        return wire_invalid(ret_error, key);
    if (used == 0 && !optional)
        return wire_missing(ret_error, key);
    return PARLEY_OK;
}

parley_status wire_number(const struct json_doc *doc, const struct json_item *item,
                          const char *key, uint64_t least, uint64_t *ret_value,
                          struct envelope_error *ret_error)
{
    uint64_t value;

    if (item == NULL)
        return wire_missing(ret_error, key);
    if (!json_u64(doc, item, true, &value) || value < least)
        return wire_invalid(ret_error, key);
    *ret_value = value;
    return PARLEY_OK;
}

void wire_put(struct json_out *out, const char *text)
{
    json_put_string(out, text, strlen(text));
}
