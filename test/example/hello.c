/* SPDX-License-Identifier: Apache-2.0
 *
 * Sends one message and says what became of it.
 */
#include <parley.h>
#include <stdio.h>

static void on_result(const parley_result *result, void *user)
{
    printf("hello: %s after %u attempt(s), %.1f ms. %s\n",
           parley_outcome_name(result->outcome), result->attempts, result->latency_ns / 1e6,
           result->detail);
    *(parley_outcome *)user = result->outcome;
}

int main(int argc, char **argv)
{
    const char text[] = "{\"greeting\":\"hello\"}";
    char error[512] = "cannot add the peer or post to it";
    parley_outcome outcome = PARLEY_CANCELLED;
    parley_message message;
    parley_peer peer;
    parley *runtime;

    if (argc != 2)
        return fprintf(stderr, "usage: hello URL\n"), 2;
    if (parley_open(NULL, error, sizeof(error), &runtime) != PARLEY_OK)
        return fprintf(stderr, "hello: %s\n", error), 1;

    parley_message_init(&message, "greeting", text, sizeof(text) - 1);
    if (parley_peer_add(runtime, "friend", argv[1], NULL, &peer) != PARLEY_OK ||
        parley_send(runtime, peer, &message, on_result, &outcome, NULL) != PARLEY_OK)
        fprintf(stderr, "hello: %s\n", error);

    parley_drain(runtime, 10000, NULL); /* waits for the result, 10 s at most */
    parley_close(runtime);              /* after this no callback runs any more */
    return outcome == PARLEY_DELIVERED ? 0 : 1;
}
