/* What a measured process says to callgrind, which does nothing outside of it. */
#include <valgrind/callgrind.h>

void begin(void)
{
    CALLGRIND_START_INSTRUMENTATION;
    CALLGRIND_ZERO_STATS;
}

void end(const char *name)
{
    CALLGRIND_DUMP_STATS_AT(name);
    CALLGRIND_STOP_INSTRUMENTATION;
}

/* For a part that is entered many times: count inside it only, and dump the sum once. */
void toggle(void)
{
    CALLGRIND_TOGGLE_COLLECT;
}

void dump(const char *name)
{
    CALLGRIND_DUMP_STATS_AT(name);
}
