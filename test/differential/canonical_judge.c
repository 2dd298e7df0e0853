/* SPDX-License-Identifier: Apache-2.0
 *
 * Canonical bytes of JSON documents, for the differential test to compare.
 *
 * Standard input holds documents, each behind its length (4 bytes, little endian). Each is
 * answered with a record of the same form: what canonical_text() wrote, or nothing if it
 * refused.
 */
#include <stdio.h>
#include <stdlib.h>

#include "peers/canonical.h"

#define DOCUMENT_BYTES_MAX (1u << 24)

static bool read_u32(uint32_t *ret_value)
{
    unsigned char bytes[4];

    if (fread(bytes, 1, sizeof(bytes), stdin) != sizeof(bytes))
        return false;
    *ret_value = bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 |
                 (uint32_t)bytes[3] << 24;
    return true;
}

static void write_record(const char *bytes, size_t len)
{
    unsigned char head[4] = {len & 255, len >> 8 & 255, len >> 16 & 255, len >> 24 & 255};

    fwrite(head, 1, sizeof(head), stdout);
    fwrite(bytes, 1, len, stdout);
}

int main(void)
{
    struct canonical canonical;
    struct alloc alloc;
    uint32_t len;

    alloc_init(&alloc, NULL);
    canonical_init(&canonical, &alloc);
    while (read_u32(&len)) {
        const char *bytes = "";
        size_t bytes_len = 0;
        char *text; /* its own block: a sanitizer sees one byte too far */

        if (len > DOCUMENT_BYTES_MAX)
            return 2;
        text = malloc(len > 0 ? len : 1);
        if (text == NULL || fread(text, 1, len, stdin) != len)
            return 2;
        if (canonical_text(&canonical, text, len, &bytes, &bytes_len) != PARLEY_OK)
            bytes_len = 0;
        write_record(bytes, bytes_len);
        free(text);
    }
    canonical_fini(&canonical);
    return fflush(stdout) == 0 ? 0 : 2;
}
