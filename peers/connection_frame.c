/* SPDX-License-Identifier: Apache-2.0 */
#include "peers/connection.h"
#include "peers/service.h"

void connection_frame(struct connection *connection, const struct json_doc *doc,
                      const char *text, size_t len)
{
    (void)doc;
    (void)text;
    (void)len;
    connection->bench->counts.unhandled++;
}
