/* SPDX-License-Identifier: Apache-2.0
 *
 * A text scanned for one check, and a buffer written for one. Included by the test programs
 * of the wire's readers and writers.
 */
#ifndef PARLEY_TEST_SCANNED_H
#define PARLEY_TEST_SCANNED_H

#include <stdlib.h>
#include <string.h>

#include "peers/envelope.h"
#include "test/check.h"

struct scanned {
    struct alloc alloc;
    struct json_doc doc;
    char *text; /* exactly as long as it must be: a sanitizer sees one byte too far */
    parley_status status;
};

static void scanned_init(struct scanned *s, const char *text, size_t len)
{
    static const struct json_limits limits = {.depth_max = 32, .bytes_max = 1 << 20};
    struct json_error error = {0, ""};

    alloc_init(&s->alloc, NULL);
    json_init(&s->doc, &s->alloc);
    s->text = alloc_bytes(&s->alloc, len > 0 ? len : 1);
    memcpy(s->text, text, len);
    s->status = json_scan(&s->doc, s->text, len, &limits, ACK_RECORD_DEPTH, &error);
}

static void scanned_good(struct scanned *s, const char *text)
{
    scanned_init(s, text, strlen(text));
    CHECK_TEXT(parley_status_name(s->status), "OK");
}

static void scanned_fini(struct scanned *s)
{
    json_fini(&s->doc);
    alloc_free(&s->alloc, s->text);
}

struct written {
    char buffer[4096];
    struct json_out out;
};

static struct json_out *written_init(struct written *w)
{
    w->out = (struct json_out){.buffer = w->buffer, .capacity = sizeof(w->buffer) - 1};
    return &w->out;
}

static const char *written_text(struct written *w)
{
    CHECK(!w->out.overflow);
    w->buffer[w->out.len] = '\0';
    return w->buffer;
}

#endif
