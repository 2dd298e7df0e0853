/* SPDX-License-Identifier: Apache-2.0
 *
 * Runs the programs of bench/rivals beside parley: see rivals.h. They lie in rivals/ next
 * to this program. Each round runs all of them, so that a machine's moods meet everybody.
 */
#include "bench/rivals.h"

#include <cjson/cJSON.h>
#include <inttypes.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

static const char *const rival_names[RIVAL_COUNT] = {"lws_plain", "epoll_pair"};

/* X(member, decimals) */
#define RIVAL_MAP(X)               \
    X(messages_per_s, 0)           \
    X(seconds, 3)                  \
    X(bytes_per_message, 1)        \
    X(client_cpu_s_per_million, 4) \
    X(server_cpu_s_per_million, 4)

static bool parse(const char *text, struct rival_figures *ret_figures)
{
    cJSON *json = cJSON_Parse(text);
    bool good = json != NULL;
#define RIVAL_TAKE_(member, decimals)                                        \
    {                                                                        \
        const cJSON *item = cJSON_GetObjectItemCaseSensitive(json, #member); \
        good = good && cJSON_IsNumber(item);                                 \
        ret_figures->member = cJSON_IsNumber(item) ? item->valuedouble : 0;  \
    }
    RIVAL_MAP(RIVAL_TAKE_)
#undef RIVAL_TAKE_
    cJSON_Delete(json);
    return good && ret_figures->messages_per_s > 0;
}

static bool run_rival(const struct fanout *fanout, const char *name,
                      struct rival_figures *ret_figures)
{
    char self[PATH_MAX], command[PATH_MAX + 256], text[1024];
    ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);
    if (len <= 0)
        return false;
    self[len] = '\0';
    *strrchr(self, '/') = '\0';
    snprintf(command, sizeof(command),
             "exec '%s/rivals/%s' --peers %" PRIu64 " --messages %" PRIu64
             " --payload %" PRIu64 " --window %" PRIu64,
             self, name, fanout->peers, fanout->messages, fanout->payload_bytes,
             fanout->window);
    /* Our own programs with numbers for arguments: nothing a shell could mistake. */
    FILE *output = popen(command, "re"); /* NOLINT(bugprone-command-processor,cert-env33-c) */
    if (!output)
        return false;
    size_t got = fread(text, 1, sizeof(text) - 1, output);
    text[got] = '\0';
    bool good = pclose(output) == 0 && parse(text, ret_figures);
    if (!good)
        fprintf(stderr, "parley-bench: %s/rivals/%s failed (make builds it)\n", self, name);
    return good;
}

enum fanout_end contest_run(const struct fanout *fanout, struct contest *ret_contest)
{
    enum fanout_end worst = FANOUT_GOOD;
    ret_contest->rounds = 0;
    for (size_t round = 0; round < RIVAL_ROUNDS; round++) {
        enum fanout_end end = fanout_run(fanout, &ret_contest->parley[round]);
        if (end == FANOUT_NOT_RUN)
            return end;
        worst = end > worst ? end : worst;
        for (size_t i = 0; i < RIVAL_COUNT; i++)
            if (!run_rival(fanout, rival_names[i], &ret_contest->rival[i][round]))
                return FANOUT_NOT_RUN;
        ret_contest->rounds++;
    }
    return worst;
}

double contest_median(const double *values, size_t values_len)
{
    double sorted[RIVAL_ROUNDS] = {0};
    for (size_t i = 0; i < values_len; i++) {
        size_t at = i;
        for (; at > 0 && sorted[at - 1] > values[i]; at--)
            sorted[at] = sorted[at - 1];
        sorted[at] = values[i];
    }
    return values_len > 0 ? sorted[values_len / 2] : 0;
}

size_t contest_median_round(const struct contest *contest)
{
    double rates[RIVAL_ROUNDS] = {0};
    for (size_t i = 0; i < contest->rounds; i++)
        rates[i] = contest->parley[i].messages_per_s;
    double median = contest_median(rates, contest->rounds);
    for (size_t i = 0; i < contest->rounds; i++)
        if (rates[i] >= median && rates[i] <= median)
            return i;
    return 0;
}

double contest_ratio(const struct contest *contest, size_t rival)
{
    double ratios[RIVAL_ROUNDS] = {0};
    for (size_t i = 0; i < contest->rounds; i++)
        ratios[i] =
            contest->parley[i].messages_per_s / contest->rival[rival][i].messages_per_s;
    return contest_median(ratios, contest->rounds);
}

static double median_of(const struct contest *contest, size_t rival, size_t offset)
{
    double values[RIVAL_ROUNDS] = {0};
    for (size_t i = 0; i < contest->rounds; i++)
        memcpy(&values[i], (const char *)&contest->rival[rival][i] + offset, sizeof(double));
    return contest_median(values, contest->rounds);
}

static void print_json(FILE *out, const struct contest *contest)
{
    for (size_t i = 0; i < RIVAL_COUNT; i++)
        fprintf(out, ",\"vs_%s\":%.3f", rival_names[i], contest_ratio(contest, i));
    fputs(",\"rivals\":{", out);
    for (size_t i = 0; i < RIVAL_COUNT; i++) {
        fprintf(out, "%s\"%s\":{", i > 0 ? "," : "", rival_names[i]);
        const char *comma = "";
#define RIVAL_JSON_(member, decimals)                                       \
    fprintf(out, "%s\"" #member "\":%.*f", comma, decimals,                 \
            median_of(contest, i, offsetof(struct rival_figures, member))); \
    comma = ",";
        RIVAL_MAP(RIVAL_JSON_)
#undef RIVAL_JSON_
        fputc('}', out);
    }
    fputc('}', out);
}

static void print_table(FILE *out, const struct contest *contest)
{
    fprintf(out, "\n%-26s", "medians of 3 rounds");
    for (size_t i = 0; i < RIVAL_COUNT; i++)
        fprintf(out, " %18s", rival_names[i]);
#define RIVAL_ROW_(member, decimals)         \
    fprintf(out, "\n%-26s", #member);        \
    for (size_t i = 0; i < RIVAL_COUNT; i++) \
        fprintf(out, " %18.*f", decimals,    \
                median_of(contest, i, offsetof(struct rival_figures, member)));
    RIVAL_MAP(RIVAL_ROW_)
#undef RIVAL_ROW_
    for (size_t i = 0; i < RIVAL_COUNT; i++)
        fprintf(out, "\nvs_%-23s %18.3f", rival_names[i], contest_ratio(contest, i));
    fputs("  (parley's messages_per_s over the rival's)\n", out);
}

void contest_print(FILE *out, const struct contest *contest, bool json)
{
    if (json)
        print_json(out, contest);
    else
        print_table(out, contest);
}
