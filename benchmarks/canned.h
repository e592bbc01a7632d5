/* What the two ends of the benchmark agree on: the canned answer, and the stamp in each chunk of a stream. */

#ifndef CANNED_H
#define CANNED_H

#include <stdint.h>
#include <time.h>

#define SENTENCE "Your refund was approved and reaches you within three days. "
#define CONTENT SENTENCE SENTENCE SENTENCE SENTENCE SENTENCE SENTENCE SENTENCE SENTENCE
#define USAGE                                                                                                \
    "{\"prompt_tokens\":120,\"completion_tokens\":40,\"total_tokens\":160,"                                  \
    "\"prompt_tokens_details\":{\"cached_tokens\":0}}"
#define ANSWER                                                                                               \
    "{\"id\":\"chatcmpl-canned\",\"object\":\"chat.completion\",\"created\":1732400000,"                     \
    "\"model\":\"gpt-4o-2024-08-06\",\"choices\":[{\"index\":0,\"message\":{"                                \
    "\"role\":\"assistant\",\"content\":\"" CONTENT "\",\"refusal\":null},\"logprobs\":null,"                \
    "\"finish_reason\":\"stop\"}],\"usage\":" USAGE ",\"service_tier\":\"default\","                         \
    "\"system_fingerprint\":\"fp_canned\"}"

/* A token's text is the mark and the nanoseconds at which the provider sent it, on the clock of now_ns(). */
#define STAMP_MARK '@'
#define STAMP_DIGITS 19

/* CLOCK_MONOTONIC, which both processes share. */
static inline uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static inline struct timespec timespec_of(uint64_t ns) {
    return (struct timespec){.tv_sec = (time_t)(ns / 1000000000u), .tv_nsec = (long)(ns % 1000000000u)};
}

#endif
