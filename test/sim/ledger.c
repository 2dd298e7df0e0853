/* SPDX-License-Identifier: Apache-2.0
 *
 * The ledger's messages, and where they stand in what is sent: whole, by a mark in their
 * payload, or as a chunk, which tells its transfer's id.
 */
#include "test/sim/ledger.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MARK "\"m\":"

static struct message_entry messages[MESSAGES_MAX];
static uint32_t messages_len;

void ledger_reset(void)
{
    messages_len = 0;
}

uint32_t ledger_len(void)
{
    return messages_len;
}

struct message_entry *ledger_get(uint32_t number)
{
    if (number >= messages_len)
        promise_broken("message %u was never posted", number);
    return &messages[number];
}

uint32_t ledger_number(const struct message_entry *message)
{
    return (uint32_t)(message - messages);
}

struct message_entry *ledger_add(void)
{
    struct message_entry *message;

    if (messages_len == MESSAGES_MAX)
        return NULL;
    message = &messages[messages_len++];
    memset(message, 0, sizeof(*message));
    return message;
}

void ledger_drop_last(void)
{
    messages_len--;
}

/* No two messages are padded alike, and no two places of one. */
size_t ledger_payload(uint32_t number, uint32_t padding, const char **ret_text)
{
    static char text[PAYLOAD_BYTES_MAX + 64];
    int len = snprintf(text, 64, "{" MARK "%u,\"p\":\"", number);
    uint32_t state = number * 2654435761u + 1;

    if (padding > PAYLOAD_BYTES_MAX)
        padding = PAYLOAD_BYTES_MAX;
    for (uint32_t i = 0; i < padding; i++) {
        state = state * 1664525u + 1013904223u;
        text[(uint32_t)len + i] = (char)('a' + (state >> 24) % 26);
    }
    memcpy(text + len + padding, "\"}", 3);
    *ret_text = text;
    return (size_t)len + padding + 2;
}

/* ---- Texts ---- */

static bool starts(const struct ledger_text *text, const char *with)
{
    size_t len = strlen(with);

    return (size_t)(text->end - text->at) > len && memcmp(text->at, with, len) == 0;
}

struct ledger_text ledger_text(const char *text, size_t len)
{
    static const char first[] = "\"first_seq\":";
    struct ledger_text reader = {.text = text, .at = text, .end = text + len};
    const char *found = memmem(text, len < 300 ? len : 300, first, sizeof(first) - 1);

    if (found != NULL)
        reader.first = strtoull(found + sizeof(first) - 1, NULL, 10);
    return reader;
}

/* In a batch they count by place. */
static uint64_t number_here(const struct ledger_text *text)
{
    static const char key[] = "\"sequence_num\":";
    const char *found;

    if (text->first != 0)
        return text->first + text->items - 1;
    found = memmem(text->text, (size_t)(text->end - text->text), key, sizeof(key) - 1);
    return found != NULL ? strtoull(found + sizeof(key) - 1, NULL, 10) : 0;
}

bool ledger_next(struct ledger_text *text, struct ledger_named *ret_named)
{
    static const char item[] = "\"msg_type\":", gap[] = "\"void\":true",
                      chunk[] = "\"chunk_id\":\"";

    *ret_named = (struct ledger_named){.message = NULL};
    while (text->at < text->end &&
           (text->at = memchr(text->at, '"', (size_t)(text->end - text->at))) != NULL) {
        if (starts(text, item) || starts(text, gap)) {
            text->items++;
        } else if (starts(text, chunk)) {
            transfers_read(text->at + sizeof(chunk) - 1, text->end, ret_named);
            ret_named->number = number_here(text);
            ret_named->single = text->first == 0;
        } else if (starts(text, MARK)) {
            ret_named->message =
                ledger_get((uint32_t)strtoul(text->at + sizeof(MARK) - 1, NULL, 10));
            ret_named->number = number_here(text);
        }
        text->at++;
        if (ret_named->message != NULL)
            return true;
    }
    text->at = text->end;
    return false;
}
