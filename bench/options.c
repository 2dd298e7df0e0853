/* SPDX-License-Identifier: Apache-2.0
 *
 * Command line options as a table: see options.h.
 */
#include "bench/options.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int options_wrong(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("parley-bench: ", stderr);
    vfprintf(stderr, format, arguments);
    fputs(" (--help lists the options)\n", stderr);
    va_end(arguments);
    return EXIT_USAGE;
}

static void print_help(const char *usage, const struct option_spec *specs, size_t specs_len)
{
    printf("%s\n", usage);
    for (size_t i = 0; i < specs_len; i++) {
        char left[64];
        bool apart = specs[i].argument && specs[i].kind != OPTION_WORD;
        snprintf(left, sizeof(left), "--%s%s%s", specs[i].name, apart ? " " : "",
                 specs[i].argument ? specs[i].argument : "");
        printf("  %-26s %s", left, specs[i].help);
        if (specs[i].kind == OPTION_NUMBER)
            printf(" [%" PRIu64 "]", *(uint64_t *)specs[i].value);
        putchar('\n');
    }
    printf("  %-26s %s\n", "--help", "this text");
}

static const struct option_spec *find(const struct option_spec *specs, size_t specs_len,
                                      const char *name, size_t name_len)
{
    for (size_t i = 0; i < specs_len; i++)
        if (strlen(specs[i].name) == name_len && memcmp(specs[i].name, name, name_len) == 0)
            return &specs[i];
    return NULL;
}

static int take_number(const struct option_spec *spec, const char *text)
{
    char *end = NULL;
    errno = 0;
    uint64_t number = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || number < spec->min ||
        number > spec->max)
        return options_wrong("--%s: expected a number from %" PRIu64 " to %" PRIu64
                             ", not \"%s\"",
                             spec->name, spec->min, spec->max, text);
    *(uint64_t *)spec->value = number;
    return -1;
}

static int take_seconds(const struct option_spec *spec, const char *text)
{
    char *end = NULL;
    double seconds = strtod(text, &end);
    if (end == text || *end != '\0' || !isfinite(seconds) || seconds < 0)
        return options_wrong("--%s: expected seconds, not \"%s\"", spec->name, text);
    *(double *)spec->value = seconds;
    return -1;
}

static int take(const struct option_spec *spec, const char *text)
{
    switch (spec->kind) {
    case OPTION_NUMBER:
        return take_number(spec, text);
    case OPTION_SECONDS:
        return take_seconds(spec, text);
    case OPTION_TEXT:
    case OPTION_WORD:
        *(const char **)spec->value = text;
        return -1;
    case OPTION_FLAG:
        break;
    }
    return options_wrong("--%s takes no value", spec->name);
}

int options_parse(const char *usage, const struct option_spec *specs, size_t specs_len,
                  int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0) {
            print_help(usage, specs, specs_len);
            return EXIT_OK;
        }
        const char *name = argv[i] + 2;
        size_t name_len = strncmp(argv[i], "--", 2) == 0 ? strcspn(name, "=") : 0;
        const struct option_spec *spec = find(specs, specs_len, name, name_len);
        if (name_len == 0 || !spec)
            return options_wrong("unknown option \"%s\"", argv[i]);
        const char *text = name[name_len] == '=' ? name + name_len + 1 : NULL;
        if (spec->kind == OPTION_FLAG && !text) {
            *(bool *)spec->value = true;
            continue;
        }
        if (spec->kind == OPTION_WORD && !text)
            text = "";
        if (!text && i + 1 == argc)
            return options_wrong("--%s needs a value", spec->name);
        int code = take(spec, text ? text : argv[++i]);
        if (code >= 0)
            return code;
    }
    return -1;
}
