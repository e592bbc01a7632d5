/* Reading one HTTP answer as it comes: head, framing, then a stream's lines or a document's bytes.
 *
 * It decides nothing: what it has seen stands in `struct answer`, and whoever reads it judges.
 */

#ifndef ANSWER_H
#define ANSWER_H

#include "canned.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { HEAD_BYTES = 8192, BODY_BYTES = 8192 };

/* HEAD → LENGTH → WHOLE, or HEAD → SIZE → DATA → DATA_END → SIZE … → TRAILER → WHOLE; or BROKEN. */
enum progress { HEAD, LENGTH, SIZE, DATA, DATA_END, TRAILER, WHOLE, BROKEN };

struct answer {
    enum progress progress;
    size_t left;                 /* bytes of the body (LENGTH) or of the HTTP chunk (DATA) still to come */
    size_t head_size, line_size; /* line: a chunk's size line, or a trailer */
    size_t body_size;            /* of a document; of a stream, the line that has begun */
    bool streams;                /* lines are wanted, not the document */
    bool done;                   /* the stream said [DONE] */
    unsigned tokens;             /* chunks with a stamp */
    char head[HEAD_BYTES + 1], line[64], body[BODY_BYTES + 1];
};

/* Called for each stamped chunk, with the time at which the provider sent it. */
typedef void on_token(void *context, uint64_t sent_ns);

static inline void begin_answer(struct answer *answer, bool streams) {
    memset(answer, 0, offsetof(struct answer, head));
    answer->streams = streams;
}

static inline void take_line(struct answer *answer, const char *line, size_t size, on_token *report,
                             void *context) {
    if (size < 6 || memcmp(line, "data:", 5)) return;
    if (memmem(line, size, "[DONE]", 6)) answer->done = true;
    const char *mark = memchr(line, STAMP_MARK, size);
    if (!mark || (size_t)(line + size - mark) <= STAMP_DIGITS) return;
    uint64_t sent_ns = 0;
    for (int place = 1; place <= STAMP_DIGITS; place++)
        sent_ns = 10 * sent_ns + (uint64_t)(mark[place] - '0');
    answer->tokens++;
    report(context, sent_ns);
}

/* Keep bytes for later: the document, or the beginning of a line. */
static inline void keep(struct answer *answer, const char *bytes, size_t size) {
    if (answer->body_size + size > BODY_BYTES) {
        answer->progress = BROKEN;
        return;
    }
    memcpy(answer->body + answer->body_size, bytes, size);
    answer->body_size += size;
}

static inline void take_body(struct answer *answer, const char *bytes, size_t size, on_token *report,
                             void *context) {
    if (!answer->streams) {
        keep(answer, bytes, size);
        return;
    }
    for (const char *end; (end = memchr(bytes, '\n', size));) {
        size_t line = (size_t)(end - bytes);
        if (answer->body_size) {
            keep(answer, bytes, line);
            take_line(answer, answer->body, answer->body_size, report, context);
            answer->body_size = 0;
        } else {
            take_line(answer, bytes, line, report, context);
        }
        size -= line + 1;
        bytes = end + 1;
    }
    keep(answer, bytes, size);
}

/* The head is whole: how is the body framed? */
static inline void end_head(struct answer *answer) {
    answer->head[answer->head_size] = 0;
    const char *length = strcasestr(answer->head, "\r\ncontent-length:");
    if (length)
        answer->left = strtoul(length + 17, NULL, 10);
    else if (!strcasestr(answer->head, "\r\ntransfer-encoding: chunked"))
        answer->progress = BROKEN;
    if (answer->progress != BROKEN) answer->progress = !length ? SIZE : answer->left ? LENGTH : WHOLE;
}

/* A size line of the chunked coding, or a line after the last chunk (RFC 9112, section 7.1). */
static inline void end_line(struct answer *answer) {
    answer->line[answer->line_size] = 0;
    if (answer->progress == TRAILER) {
        if (answer->line_size <= 1) answer->progress = WHOLE;
    } else if (answer->progress == DATA_END) {
        answer->progress = answer->line_size == 1 ? SIZE : BROKEN;
    } else {
        char *end;
        answer->left = strtoul(answer->line, &end, 16);
        answer->progress = end == answer->line ? BROKEN : answer->left ? DATA : TRAILER;
    }
    answer->line_size = 0;
}

/* How many of the bytes belong to the state at hand; they are taken. */
static inline size_t take_some(struct answer *answer, const char *bytes, size_t size, on_token *report,
                               void *context) {
    size_t some = size < answer->left ? size : answer->left;
    switch (answer->progress) {
    case HEAD:
        answer->head[answer->head_size++] = *bytes;
        if (answer->head_size >= 4 && !memcmp(answer->head + answer->head_size - 4, "\r\n\r\n", 4))
            end_head(answer);
        else if (answer->head_size == HEAD_BYTES)
            answer->progress = BROKEN;
        return 1;
    case LENGTH:
    case DATA:
        take_body(answer, bytes, some, report, context);
        answer->left -= some;
        if (!answer->left && answer->progress != BROKEN)
            answer->progress = answer->progress == DATA ? DATA_END : WHOLE;
        return some;
    case SIZE:
    case DATA_END:
    case TRAILER:
        if (*bytes == '\n')
            end_line(answer);
        else if (answer->line_size < sizeof answer->line - 1)
            answer->line[answer->line_size++] = *bytes;
        else
            answer->progress = BROKEN;
        return 1;
    default: /* bytes after the answer */
        answer->progress = BROKEN;
        return size;
    }
}

/* Take what one read brought. */
static inline void take(struct answer *answer, const char *bytes, size_t size, on_token *report,
                        void *context) {
    while (size && answer->progress != BROKEN) {
        size_t taken = take_some(answer, bytes, size, report, context);
        bytes += taken;
        size -= taken;
    }
}

/* Status 200, everything there; a document must be the provider's bytes (`exact`) or hold its text. */
static inline bool is_good(struct answer *answer, unsigned tokens, bool exact) {
    if (answer->progress != WHOLE || memcmp(answer->head + 8, " 200 ", 5)) return false;
    if (answer->streams) return answer->done && answer->tokens == tokens;
    if (exact)
        return answer->body_size == sizeof ANSWER - 1 && !memcmp(answer->body, ANSWER, sizeof ANSWER - 1);
    return memmem(answer->body, answer->body_size, CONTENT, sizeof CONTENT - 1) != NULL;
}

/* A 503 that says when to come again: somebody's overload. */
static inline bool is_refusal(const struct answer *answer) {
    return answer->progress == WHOLE && !memcmp(answer->head + 8, " 503 ", 5) &&
           strcasestr(answer->head, "\r\nretry-after: ");
}

#endif
