/* SPDX-License-Identifier: Apache-2.0
 *
 * The figures of one fan-out: see report.h.
 */
#include "bench/report.h"

#include <inttypes.h>
#include <string.h>

#define NUMBER_TEXT_MAX 48

/* Digits in groups of three. */
static void group(char *text, double value, int decimals)
{
    char plain[NUMBER_TEXT_MAX];
    snprintf(plain, sizeof(plain), "%.*f", decimals, value);
    size_t whole = strcspn(plain, "."), at = 0;
    for (size_t i = 0; plain[i] != '\0' && at < NUMBER_TEXT_MAX - 2; i++) {
        if (i > 0 && i < whole && (whole - i) % 3 == 0 && plain[i - 1] != '-')
            text[at++] = ',';
        text[at++] = plain[i];
    }
    text[at] = '\0';
}

void report_table(FILE *out, const struct report *reports, const char *const *titles,
                  size_t reports_len)
{
    fprintf(out, "%-26s", "");
    for (size_t i = 0; i < reports_len; i++)
        fprintf(out, " %18s", titles[i]);
    fputc('\n', out);
#define REPORT_ROW_(member, type, decimals)                                      \
    fprintf(out, "%-26s", #member);                                              \
    for (size_t i = 0; i < reports_len; i++) {                                   \
        char text[NUMBER_TEXT_MAX];                                              \
        group(text, (double)reports[i].member, decimals);                        \
        bool flag = strcmp(#type, "bool") == 0;                                  \
        fprintf(out, " %18s", flag ? (reports[i].member ? "yes" : "no") : text); \
    }                                                                            \
    fputc('\n', out);
    REPORT_MAP(REPORT_ROW_)
#undef REPORT_ROW_
}

void report_json(FILE *out, const struct report *report)
{
    const char *comma = "";
#define REPORT_JSON_(member, type, decimals)                                             \
    if (strcmp(#type, "bool") == 0)                                                      \
        fprintf(out, "%s\"" #member "\":%s", comma, report->member ? "true" : "false");  \
    else                                                                                 \
        fprintf(out, "%s\"" #member "\":%.*f", comma, decimals, (double)report->member); \
    comma = ",";
    REPORT_MAP(REPORT_JSON_)
#undef REPORT_JSON_
}

unsigned report_expect(const char *title, const char *what, uint64_t seen, uint64_t expected)
{
    if (seen == expected)
        return 0;
    fprintf(stderr, "parley-bench: %s: %s: expected %" PRIu64 ", seen %" PRIu64 "\n", title,
            what, expected, seen);
    return 1;
}
