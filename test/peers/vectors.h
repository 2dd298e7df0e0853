/* SPDX-License-Identifier: Apache-2.0
 *
 * test/vectors.json, as a tree, and bytes out of its hexadecimal texts.
 */
#ifndef PARLEY_TEST_VECTORS_H
#define PARLEY_TEST_VECTORS_H

#include <cjson/cJSON.h>
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

    CHECK(file != NULL);
    if (file == NULL)
        return NULL;
    fseek(file, 0, SEEK_END);
    size = ftell(file);
    rewind(file);
    text = calloc(1, (size_t)size + 1);
    CHECK_U64(fread(text, 1, (size_t)size, file), size);
    fclose(file);
    all = cJSON_Parse(text);
    free(text);
    CHECK(all != NULL);
    return all;
}

/** @return bytes read */
static inline size_t vector_hex(const char *text, uint8_t *ret_bytes)
{
    size_t len = 0;
    unsigned byte;

    for (; sscanf(text, "%2x", &byte) == 1; text += 2)
        ret_bytes[len++] = (uint8_t)byte;
    return len;
}

#endif
