/* SPDX-License-Identifier: Apache-2.0
 *
 * What a misspelt word was meant to be.
 */
#include <string.h>

#include "peers/cli/cli.h"

#define WORD_MAX 32

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Letters to change, add, drop or swap with their neighbour (optimal string alignment). */
static size_t edit_distance(const char *a, const char *b)
{
    size_t cost[WORD_MAX + 1][WORD_MAX + 1];
    size_t a_len = strlen(a), b_len = strlen(b);

    for (size_t i = 0; i <= a_len; i++)
        cost[i][0] = i;
    for (size_t j = 0; j <= b_len; j++)
        cost[0][j] = j;
    for (size_t i = 1; i <= a_len; i++) {
        for (size_t j = 1; j <= b_len; j++) {
            size_t change = cost[i - 1][j - 1] + (a[i - 1] != b[j - 1]);

            cost[i][j] = smaller(change, 1 + smaller(cost[i - 1][j], cost[i][j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                cost[i][j] = smaller(cost[i][j], cost[i - 2][j - 2] + 1);
        }
    }
    return cost[a_len][b_len];
}

const char *cli_nearest(const char *word, const char *const *names)
{
    size_t best = 2 + strlen(word) / 6; /* farther away is no misspelling */
    const char *nearest = NULL;

    if (strlen(word) > WORD_MAX)
        return NULL;
    for (; *names != NULL; names++) {
        size_t distance = strlen(*names) <= WORD_MAX ? edit_distance(word, *names) : best;

        if (distance < best) {
            best = distance;
            nearest = *names;
        }
    }
    return nearest;
}
