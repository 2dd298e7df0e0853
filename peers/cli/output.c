/* SPDX-License-Identifier: Apache-2.0
 *
 * What every command prints the same way: mistakes, JSON strings, text from outside.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "parley.h"
#include "peers/cli/cli.h"

enum cli_exit cli_fail(const struct cli_setup *setup, enum cli_exit code, const char *format,
                       ...)
{
    char text[2 * CLI_ERROR_MAX];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    fprintf(stderr, "%s: %s\n", setup->command, text);
    return code;
}

enum cli_exit cli_open_failed(const struct cli_setup *setup, parley_status status,
                              const char *error)
{
    return cli_fail(setup, status == PARLEY_EURL ? CLI_USAGE : CLI_FAILED, "%s",
                    error[0] != '\0' ? error : parley_strerror(status));
}

void cli_json_string(FILE *file, const char *text)
{
    if (text == NULL) {
        fputs("null", file);
        return;
    }
    fputc('"', file);
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;

        if (c == '"' || c == '\\')
            fprintf(file, "\\%c", c);
        else if (c < ' ' || c == 0x7f)
            fprintf(file, "\\u%04x", c);
        else
            fputc(c, file);
    }
    fputc('"', file);
}

struct range {
    uint32_t first, last;
};

/* Of two columns: the blocks that East Asian scripts and emoji fill. */
static const struct range wide[] = {
    {0x1100, 0x115f},   {0x2e80, 0x303e},   {0x3041, 0xa4cf},   {0xac00, 0xd7a3},
    {0xf900, 0xfaff},   {0xfe30, 0xfe6f},   {0xff00, 0xff60},   {0xffe0, 0xffe6},
    {0x1f300, 0x1f64f}, {0x1f680, 0x1f6ff}, {0x1f900, 0x1f9ff}, {0x20000, 0x3fffd},
};

/* Of none: they join the character before. */
static const struct range joined[] = {
    {0x300, 0x36f}, {0x200b, 0x200d}, {0x20d0, 0x20ff}, {0xfe00, 0xfe0f}};

/* What steers a terminal: C0, DEL, C1; line breaks, and what turns the writing around. */
static const struct range steering[] = {
    {0, 0x1f}, {0x7f, 0x9f}, {0x200e, 0x200f}, {0x2028, 0x202e}, {0x2066, 0x2069}};

#define IS_IN(ranges, code) is_in(ranges, sizeof(ranges) / sizeof((ranges)[0]), code)

static bool is_in(const struct range *ranges, size_t len, uint32_t code)
{
    for (size_t i = 0; i < len; i++) {
        if (code >= ranges[i].first && code <= ranges[i].last)
            return true;
    }
    return false;
}

/* The character at `text`, in as many bytes as its first one says and are there. */
static uint32_t character(const char *text, size_t len, size_t *ret_bytes)
{
    unsigned char first = (unsigned char)text[0];
    size_t wanted = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : first >= 0xc0 ? 2 : 1;
    uint32_t code = wanted == 1 ? first : first & (0x7fu >> wanted);
    size_t i = 1;

    for (; i < wanted && i < len && ((unsigned char)text[i] & 0xc0) == 0x80; i++)
        code = code << 6 | ((unsigned char)text[i] & 0x3f);
    *ret_bytes = i;
    return code;
}

size_t cli_plain_text(FILE *file, const char *text, size_t len, size_t columns)
{
    size_t used = 0;

    for (size_t at = 0, bytes; at < len; at += bytes) {
        uint32_t code = character(text + at, len - at, &bytes);
        bool usual = code >= ' ' && code < 0x7f; /* most are, and there may be millions */
        bool steers = !usual && IS_IN(steering, code);
        size_t width = usual ? 1 : IS_IN(wide, code) ? 2 : !IS_IN(joined, code);

        if (width > columns - used)
            break;
        used += width;
        if (file == NULL)
            continue;
        if (usual || steers)
            putc(steers ? ' ' : text[at], file);
        else
            fwrite(text + at, 1, bytes, file);
    }
    return used;
}

enum cli_exit cli_finish(const struct cli_setup *setup, enum cli_exit code)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return code;
    return cli_fail(setup, CLI_FAILED, "standard output cannot be written");
}
