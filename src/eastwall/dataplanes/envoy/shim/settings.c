#include "settings.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef bool (*take_line)(void *target, const char *key, const char *value);

static bool each_line(const char *text, size_t size, take_line take, void *target, char *error, size_t error_size) {
  char line[512];
  for (size_t at = 0; at < size;) {
    const char *end = memchr(text + at, '\n', size - at);
    size_t length = end ? (size_t)(end - text) - at : size - at;
    if (length >= sizeof line || memchr(text + at, 0, length)) {
      snprintf(error, error_size, "a line of the shim's configuration is too long or holds a NUL");
      return false;
    }
    memcpy(line, text + at, length);
    line[length] = 0;
    at += length + 1;
    if (!length) continue;
    char *equals = strchr(line, '=');
    if (equals) *equals = 0;
    if (!equals || !take(target, line, equals + 1)) {
      snprintf(error, error_size, "bad line in the shim's configuration: `%s%s%s`", line, equals ? "=" : "", equals ? equals + 1 : "");
      return false;
    }
  }
  return true;
}

static bool number(const char *value, uint64_t low, uint64_t high, uint64_t *result) {
  char *end;
  errno = 0;
  unsigned long long parsed = strtoull(value, &end, 10);
  if (*value < '0' || *value > '9' || *end || errno || parsed < low || parsed > high) return false;
  *result = parsed;
  return true;
}

static bool choice(const char *value, const char *no, const char *yes, bool *result) {
  *result = !strcmp(value, yes);
  return *result || !strcmp(value, no);
}

static bool text_value(const char *value, char *target, size_t size) {
  size_t length = strlen(value);
  if (!length || length >= size) return false;
  memcpy(target, value, length + 1);
  return true;
}

static bool route_line(void *target, const char *key, const char *value) {
  struct ew_route *route = target;
  if (!strcmp(key, "service")) return text_value(value, route->service, sizeof route->service);
  if (!strcmp(key, "fail")) return choice(value, "open", "closed", &route->fail_closed);
  if (!strcmp(key, "over_limit")) return choice(value, "pass", "block", &route->block_over_limit);
  if (!strcmp(key, "max_body")) return number(value, 0, 32u << 20, &route->max_body);
  if (strcmp(key, "mode")) return false;
  static const char *const modes[] = {"discover", "monitor", "enforce"};
  for (int mode = EW_DISCOVER; mode <= EW_ENFORCE; mode++) {
    if (strcmp(value, modes[mode])) continue;
    route->mode = (enum ew_mode)mode;
    return true;
  }
  return false;
}

struct ew_route *ew_route_parse(const char *text, size_t size, char *error, size_t error_size) {
  struct ew_route *route = calloc(1, sizeof *route);
  if (!route) return NULL;
  atomic_init(&route->references, 1);
  route->max_body = 1 << 20;
  bool good = each_line(text, size, route_line, route, error, error_size);
  if (good && !route->service[0]) {
    snprintf(error, error_size, "a route's shim configuration names no service");
    good = false;
  }
  if (!good) {
    free(route);
    return NULL;
  }
  route->service_size = strlen(route->service);
  return route;
}

struct ew_route *ew_route_hold(struct ew_route *route) {
  atomic_fetch_add_explicit(&route->references, 1, memory_order_relaxed);
  return route;
}

void ew_route_release(struct ew_route *route) {
  if (route && atomic_fetch_sub_explicit(&route->references, 1, memory_order_acq_rel) == 1) free(route);
}

static bool options_line(void *target, const char *key, const char *value) {
  struct ew_options *options = target;
  if (!strcmp(key, "engine")) {
    if (options->engine_count == EW_ENGINES) return false;
    return text_value(value, options->engine[options->engine_count++], sizeof options->engine[0]);
  }
  if (!strcmp(key, "deadline_ms")) return number(value, 10, 60000, &options->deadline_ms);
  if (!strcmp(key, "hold_ms")) return number(value, 10, 60000, &options->hold_ms);
  if (!strcmp(key, "probe_ms")) return number(value, 10, 60000, &options->probe_ms);
  if (!strcmp(key, "misses")) return number(value, 1, 1000, &options->misses);
  if (!strcmp(key, "outstanding")) return number(value, 1, 1 << 20, &options->outstanding);
  if (!strcmp(key, "pending_bytes")) return number(value, 1 << 16, 1u << 30, &options->pending_bytes);
  if (!strcmp(key, "copy_bytes")) return number(value, 1 << 16, 1ull << 40, &options->copy_bytes);
  if (!strcmp(key, "problem_base")) return text_value(value, options->problem_base, sizeof options->problem_base);
  return false;
}

bool ew_options_parse(const char *text, size_t size, struct ew_options *options, char *error, size_t error_size) {
  *options = (struct ew_options){
      .deadline_ms = 1000, .hold_ms = 2000, .probe_ms = 200, .misses = 3, .outstanding = 8192, .pending_bytes = 32 << 20, .copy_bytes = 256 << 20,
      .problem_base = "urn:eastwall:problem:",
  };
  if (!each_line(text, size, options_line, options, error, error_size)) return false;
  if (options->engine_count) return true;
  snprintf(error, error_size, "the shim's configuration names no engine");
  return false;
}
