/* SPDX-License-Identifier: Apache-2.0
 *
<<<<<<< HEAD
 * test/vectors.json, for tests of what is cryptographic.
=======
 * test/vectors.json, as a tree, and bytes out of its hexadecimal texts.
>>>>>>> wt-signed
 */
#ifndef PARLEY_TEST_VECTORS_H
#define PARLEY_TEST_VECTORS_H

#include <cjson/cJSON.h>
<<<<<<< HEAD
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "peers/base64.h"
#include "test/check.h"

/** The whole file; cJSON_Delete() it. */
static inline cJSON *vectors_load(void)
{
    FILE *file = fopen("test/vectors.json", "rb");
    static char text[256 * 1024];
    size_t len = file != NULL ? fread(text, 1, sizeof(text) - 1, file) : 0;
    cJSON *all;

    if (file != NULL)
        fclose(file);
    text[len] = '\0';
    all = cJSON_Parse(text);
=======
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "test/check.h"

/** NULL when there is none, which fails the test. */
static inline cJSON *vectors_load(void)
{
    FILE *file = fopen("test/vectors.json", "rb");
    char *text;
    long size;
    cJSON *all;

    if (!CHECK(file != NULL))
        return NULL;
    fseek(file, 0, SEEK_END);
    size = ftell(file);
    rewind(file);
    text = calloc(1, (size_t)size + 1);
    CHECK_U64(fread(text, 1, (size_t)size, file), size);
    fclose(file);
    all = cJSON_Parse(text);
    free(text);
>>>>>>> wt-signed
    CHECK(all != NULL);
    return all;
}

<<<<<<< HEAD
static inline const char *vector_text(const cJSON *object, const char *key)
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItem(object, key));

    CHECK(text != NULL);
    return text != NULL ? text : "";
}

/** @return bytes decoded */
static inline size_t from_hex(const char *text, uint8_t *bytes)
{
    size_t len = strlen(text) / 2;

    for (size_t i = 0; i < len; i++) {
        const char pair[3] = {text[2 * i], text[2 * i + 1], '\0'};

        bytes[i] = (uint8_t)strtoul(pair, NULL, 16);
    }
    return len;
}

static inline size_t vector_hex(const cJSON *object, const char *key, uint8_t *bytes)
{
    return from_hex(vector_text(object, key), bytes);
}

static inline size_t vector_base64(const cJSON *object, const char *key, uint8_t *bytes)
{
    const char *text = vector_text(object, key);
    size_t len = 0;

    CHECK(base64_decode(text, strlen(text), (char *)bytes, &len));
=======
/** @return bytes read */
static inline size_t vector_hex(const char *text, uint8_t *ret_bytes)
{
    size_t len = 0;
    unsigned byte;

    for (; sscanf(text, "%2x", &byte) == 1; text += 2)
        ret_bytes[len++] = (uint8_t)byte;
>>>>>>> wt-signed
    return len;
}

#endif
