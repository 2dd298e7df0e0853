/* SPDX-License-Identifier: Apache-2.0 */
#include "peers/cli/payload.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define READ_BYTES  ((size_t)64 << 10)
#define WHERE_MAX   320
#define JSON_BLANKS " \t\r\n"

/* ---- Sources ---- */

enum cli_exit payloads_init(struct payloads *payloads, const struct cli_setup *setup,
                            size_t sources_max)
{
    payloads->setup = setup;
    payloads->sources = calloc(sources_max + 1, sizeof(*payloads->sources));
    if (payloads->sources == NULL)
        return cli_fail(setup, CLI_FAILED, "out of memory");
    return CLI_OK;
}

enum cli_exit payloads_add_file(struct payloads *payloads, const char *path)
{
    bool standard = strcmp(path, "-") == 0;

    for (size_t i = 0; i < payloads->sources_len && standard; i++) {
        if (payloads->sources[i].text == NULL && payloads->sources[i].name == NULL)
            return cli_fail(payloads->setup, CLI_USAGE,
                            "standard input can be read only once");
    }
    payloads->sources[payloads->sources_len++] =
        (struct payload_source){.name = standard ? NULL : path, .file = -1};
    return CLI_OK;
}

enum cli_exit payloads_add_text(struct payloads *payloads, const char *text)
{
    if (strcmp(text, "-") == 0)
        return payloads_add_file(payloads, text);
    payloads->sources[payloads->sources_len++] =
        (struct payload_source){.text = text, .file = -1};
    return CLI_OK;
}

enum cli_exit payloads_open(struct payloads *payloads)
{
    for (size_t i = 0; i < payloads->sources_len; i++) {
        struct payload_source *source = &payloads->sources[i];

        if (source->text != NULL)
            continue;
        source->file =
            source->name == NULL ? STDIN_FILENO : open(source->name, O_RDONLY | O_CLOEXEC);
        if (source->file < 0)
            return cli_fail(payloads->setup, CLI_FAILED, "%.200s: %s", source->name,
                            strerror(errno));
    }
    return CLI_OK;
}

void payloads_bound(struct payloads *payloads, const parley_options *options)
{
    payloads->bytes_max = options->transfer_bytes_max > options->message_bytes_max
                              ? options->transfer_bytes_max
                              : options->message_bytes_max;
}

static void close_source(struct payload_source *source)
{
    if (source->name != NULL && source->file >= 0)
        close(source->file);
    source->file = -1;
}

void payloads_free(struct payloads *payloads)
{
    for (size_t i = 0; i < payloads->sources_len; i++)
        close_source(&payloads->sources[i]);
    free(payloads->sources);
    free(payloads->bytes);
    payloads->sources = NULL;
    payloads->bytes = NULL;
    payloads->sources_len = 0;
}

/* ---- Messages ---- */

/* Where the current payload stands: "orders.jsonl: line 3", "message 2 (b.json)". */
static void write_where(const struct payloads *payloads, size_t number, char *buffer,
                        size_t len)
{
    const struct payload_source *source = &payloads->sources[payloads->at];
    const char *name = source->name != NULL ? source->name : "standard input";

    if (source->text != NULL)
        snprintf(buffer, len, "message %zu", number);
    else if (!payloads->lines)
        snprintf(buffer, len, "message %zu (%.200s)", number, name);
    else if (source->name != NULL)
        snprintf(buffer, len, "%.200s: line %zu", name, payloads->line);
    else
        snprintf(buffer, len, "line %zu", payloads->line);
}

enum cli_exit payloads_refused(const struct payloads *payloads, size_t number,
                               parley_status status)
{
    char where[WHERE_MAX];

    write_where(payloads, number, where, sizeof(where));
    if (status == PARLEY_EINVAL)
        return cli_fail(payloads->setup, CLI_USAGE,
                        "%s: expected a payload that is one JSON object", where);
    return cli_fail(payloads->setup, status == PARLEY_ETOOBIG ? CLI_USAGE : CLI_FAILED,
                    "%s: %s", where, parley_strerror(status));
}

static enum payload_state too_long(struct payloads *payloads)
{
    char where[WHERE_MAX];

    payloads->line++;
    write_where(payloads, payloads->at + 1, where, sizeof(where));
    cli_fail(payloads->setup, CLI_USAGE,
             "%s: longer than limits.transfer_bytes_max (%zu bytes)", where,
             payloads->bytes_max);
    return PAYLOAD_FAILED;
}

/* ---- Reading ---- */

int payloads_file(const struct payloads *payloads)
{
    return payloads->sources[payloads->at].file;
}

/* Makes room for one more read: first what was taken goes. */
static bool make_room(struct payloads *payloads)
{
    char *grown;

    if (payloads->start > 0) {
        payloads->used -= payloads->start;
        memmove(payloads->bytes, payloads->bytes + payloads->start, payloads->used);
        payloads->start = 0;
    }
    if (payloads->room - payloads->used >= READ_BYTES)
        return true;
    grown = realloc(payloads->bytes, payloads->room * 2 + READ_BYTES);
    if (grown == NULL)
        return false;
    payloads->bytes = grown;
    payloads->room = payloads->room * 2 + READ_BYTES;
    return true;
}

enum cli_exit payloads_read(struct payloads *payloads)
{
    const struct payload_source *source = &payloads->sources[payloads->at];
    ssize_t got;

    if (!make_room(payloads))
        return cli_fail(payloads->setup, CLI_FAILED, "out of memory");
    got = read(source->file, payloads->bytes + payloads->used, READ_BYTES);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return CLI_OK;
    if (got < 0)
        return cli_fail(payloads->setup, CLI_FAILED, "%.200s: %s",
                        source->name != NULL ? source->name : "standard input",
                        strerror(errno));
    payloads->ended = got == 0;
    payloads->used += (size_t)got;
    return CLI_OK;
}

static void next_source(struct payloads *payloads)
{
    close_source(&payloads->sources[payloads->at]);
    payloads->at++;
    payloads->start = payloads->used = 0;
    payloads->ended = payloads->given = false;
}

static bool is_blank(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '\0' || strchr(JSON_BLANKS, text[i]) == NULL)
            return false;
    }
    return true;
}

/* The file as one payload; an editor's last newline is not part of it, and does not count:
 * up to one read of blanks. */
static enum payload_state take_whole(struct payloads *payloads, const char **ret_text,
                                     size_t *ret_len)
{
    size_t len = payloads->used;

    if (len > payloads->bytes_max + READ_BYTES)
        return too_long(payloads);
    while (len > 0 && is_blank(payloads->bytes + len - 1, 1) &&
           (payloads->ended || len > payloads->bytes_max))
        len--;
    if (len > payloads->bytes_max)
        return too_long(payloads);
    if (!payloads->ended)
        return PAYLOAD_READ;
    payloads->given = true;
    *ret_text = payloads->bytes != NULL ? payloads->bytes : "";
    *ret_len = len;
    return PAYLOAD_READY;
}

/* The next line that says something; the last one needs no newline. */
static enum payload_state take_line(struct payloads *payloads, const char **ret_text,
                                    size_t *ret_len)
{
    while (payloads->start < payloads->used) {
        const char *text = payloads->bytes + payloads->start;
        size_t rest = payloads->used - payloads->start;
        const char *newline = memchr(text, '\n', rest);
        size_t len = newline != NULL ? (size_t)(newline - text) : rest;

        if (len > payloads->bytes_max)
            return too_long(payloads);
        if (newline == NULL && !payloads->ended)
            return PAYLOAD_READ;
        payloads->start += len + (newline != NULL);
        payloads->line++;
        if (is_blank(text, len))
            continue;
        *ret_text = text;
        *ret_len = len;
        return PAYLOAD_READY;
    }
    return payloads->ended ? PAYLOAD_END : PAYLOAD_READ;
}

enum payload_state payloads_next(struct payloads *payloads, const char **ret_text,
                                 size_t *ret_len)
{
    const struct payload_source *source;

    if (payloads->given)
        next_source(payloads);
    if (payloads->at == payloads->sources_len)
        return PAYLOAD_END;
    source = &payloads->sources[payloads->at];
    if (source->text != NULL) {
        payloads->given = true;
        *ret_text = source->text;
        *ret_len = strlen(source->text);
        return PAYLOAD_READY;
    }
    if (payloads->lines)
        return take_line(payloads, ret_text, ret_len);
    return take_whole(payloads, ret_text, ret_len);
}
