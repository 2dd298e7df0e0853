/* SPDX-License-Identifier: Apache-2.0 */
#include "peers/cli/digest.h"

#include <openssl/evp.h>
#include <stdio.h>

void cli_digest(const char *bytes, size_t len, char text[DIGEST_TEXT])
{
    unsigned char sum[EVP_MAX_MD_SIZE];
    unsigned sum_len = 0;

    text[0] = '\0';
    if (EVP_Digest(bytes, len, sum, &sum_len, EVP_sha256(), NULL) != 1)
        return; /* no memory */
    for (unsigned i = 0; i < sum_len && 2 * i + 2 < DIGEST_TEXT; i++)
        snprintf(text + (size_t)2 * i, 3, "%02x", sum[i]);
}
