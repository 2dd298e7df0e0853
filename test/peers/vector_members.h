/* SPDX-License-Identifier: Apache-2.0
 *
 * Members of the objects in test/vectors.json, by key.
 */
#ifndef PARLEY_TEST_VECTOR_MEMBERS_H
#define PARLEY_TEST_VECTOR_MEMBERS_H

#include <string.h>

#include "peers/base64.h"
#include "test/peers/vectors.h"

static inline const char *member_text(const cJSON *object, const char *key)
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItem(object, key));

    CHECK(text != NULL);
    return text != NULL ? text : "";
}

static inline size_t member_hex(const cJSON *object, const char *key, uint8_t *bytes)
{
    return vector_hex(member_text(object, key), bytes);
}

static inline size_t member_base64(const cJSON *object, const char *key, uint8_t *bytes)
{
    const char *text = member_text(object, key);
    size_t len = 0;

    CHECK(base64_decode(text, strlen(text), (char *)bytes, &len));
    return len;
}

#endif
