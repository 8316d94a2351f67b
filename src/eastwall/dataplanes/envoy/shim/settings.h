/* What Envoy's configuration tells the shim: `key=value` lines, written by ../render.py. An unknown or bad line is an error. */
#ifndef EW_SETTINGS_H
#define EW_SETTINGS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum ew_mode { EW_DISCOVER, EW_MONITOR, EW_ENFORCE };

/* Per service, from the route (hot by RDS). Counted references: a stream keeps the settings it began with. */
struct ew_route {
  atomic_int references;
  enum ew_mode mode;
  bool fail_closed;
  bool block_over_limit;
  uint64_t max_body;
  size_t service_size;
  char service[256];
};

#define EW_ENGINES 32

/* Per listener, from the filter: how to reach the engines. Equal text shares one pool. */
struct ew_options {
  size_t engine_count;
  char engine[EW_ENGINES][108];
  uint64_t deadline_ms;    /* how long a call waits for a verdict */
  uint64_t hold_ms;        /* how long a response without an end is held back before what has come is judged */
  uint64_t probe_ms;       /* how often an ejected or lost engine is tried */
  uint64_t misses;         /* missed deadlines in a row that eject an engine */
  uint64_t outstanding;    /* calls that may wait at the same time */
  uint64_t pending_bytes;  /* bytes that may wait to be written to one engine */
  uint64_t copy_bytes;     /* bytes of passing bodies that may be held as copies, over all calls */
  char problem_base[256];  /* prefix of the `type` of problem documents */
};

/* NULL and a one-line `error` when the text is bad. */
struct ew_route *ew_route_parse(const char *text, size_t size, char *error, size_t error_size);
struct ew_route *ew_route_hold(struct ew_route *route);
void ew_route_release(struct ew_route *route);
bool ew_options_parse(const char *text, size_t size, struct ew_options *options, char *error, size_t error_size);

#endif
