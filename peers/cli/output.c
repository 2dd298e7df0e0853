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

/* Bytes of the character at `text`: as many as its first byte says and are there. */
static size_t character_len(const char *text, size_t len)
{
    unsigned char first = (unsigned char)text[0];
    size_t wanted = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : first >= 0xc0 ? 2 : 1;
    size_t i = 1;

    while (i < wanted && i < len && ((unsigned char)text[i] & 0xc0) == 0x80)
        i++;
    return i;
}

size_t cli_plain_text(FILE *file, const char *text, size_t len, size_t columns)
{
    size_t used = 0;

    for (size_t at = 0; at < len && used < columns; used++) {
        size_t bytes = character_len(text + at, len - at);
        unsigned char first = (unsigned char)text[at];
        /* C0, DEL, and C1 as UTF-8 has it */
        bool control = first < ' ' || first == 0x7f ||
                       (first == 0xc2 && bytes == 2 && (unsigned char)text[at + 1] < 0xa0);

        if (control)
            fputc(' ', file);
        else
            fwrite(text + at, 1, bytes, file);
        at += bytes;
    }
    return used;
}

enum cli_exit cli_finish(const struct cli_setup *setup, enum cli_exit code)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return code;
    return cli_fail(setup, CLI_FAILED, "standard output cannot be written");
}
