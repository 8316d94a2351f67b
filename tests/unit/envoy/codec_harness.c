/* The shim's pure parts behind a pipe, for tests: reads commands from stdin, writes answers to stdout.
 *
 * Command: one byte, u32 length, that many bytes. Answer: u32 length, that many bytes. Integers little-endian, as on the machine. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "frames.h"
#include "settings.h"
#include "ulid.h"

static void respond(const void *data, size_t size) {
  uint32_t length = (uint32_t)size;
  fwrite(&length, sizeof length, 1, stdout);
  if (size) fwrite(data, 1, size, stdout);
  fflush(stdout);
}

/* Fields as text: deny|has_body|status|want|set|remove, then each field, then the body, separated by newlines. */
static void read_verdict(const uint8_t *data, size_t size) {
  struct ew_verdict verdict;
  if (!ew_read_verdict(data, size, &verdict)) {
    respond("bad", 3);
    return;
  }
  struct ew_buffer out = {0};
  char head[64];
  int length = snprintf(head, sizeof head, "%d|%d|%u|%u|%u|%u\n", verdict.deny, verdict.has_body, verdict.status, verdict.want_response, verdict.set_count,
                        verdict.remove_count);
  ew_buffer_append(&out, head, (size_t)length);
  const char *cursor = verdict.text;
  for (unsigned i = 0; i < 2u * verdict.set_count + verdict.remove_count; i++) {
    size_t field_size;
    const char *field = ew_next_field(&cursor, &field_size);
    ew_buffer_append(&out, field, field_size);
    ew_buffer_append(&out, "\n", 1);
  }
  ew_buffer_append(&out, verdict.body, verdict.body_size);
  respond(out.data, out.size);
  ew_buffer_free(&out);
}

/* Likewise: end|has_body|part|consumed|trailers, fields, body. */
static void read_release(const uint8_t *data, size_t size) {
  struct ew_release release;
  if (!ew_read_release(data, size, &release)) {
    respond("bad", 3);
    return;
  }
  struct ew_buffer out = {0};
  char head[64];
  int length = snprintf(head, sizeof head, "%d|%d|%d|%u|%u\n", release.end, release.has_body, release.part, release.consumed, release.trailer_count);
  ew_buffer_append(&out, head, (size_t)length);
  const char *cursor = release.text;
  for (unsigned i = 0; i < 2u * release.trailer_count; i++) {
    size_t field_size;
    const char *field = ew_next_field(&cursor, &field_size);
    ew_buffer_append(&out, field, field_size);
    ew_buffer_append(&out, "\n", 1);
  }
  ew_buffer_append(&out, release.body, release.body_size);
  respond(out.data, out.size);
  ew_buffer_free(&out);
}

/* Every frame of a stream: kind, flags and wire id, as the shim's reader would walk it. */
static void walk(const uint8_t *data, size_t size) {
  struct ew_header header;
  struct ew_buffer out = {0};
  size_t at = 0;
  int found;
  while ((found = ew_read_header(data + at, size - at, &header)) == 1 && header.length <= size - at) {
    char line[64];
    int length = snprintf(line, sizeof line, "%u %u %llu\n", header.kind, header.flags, (unsigned long long)header.wire);
    ew_buffer_append(&out, line, (size_t)length);
    at += header.length;
  }
  ew_buffer_append(&out, found < 0 ? "bad" : "end", 3);
  respond(out.data, out.size);
  ew_buffer_free(&out);
}

/* Makes a frame from: kind, flags, body_state (bytes), port or status (u16), wire (u64), a, b, c (u64), time (double), then
 * u32-length-prefixed fields up to a length of 0xffffffff, then the body; of COMPLETED instead, when there is more: states of the
 * copies, gRPC status plus one, whether they are taken out again (bytes), u32 length of the first copy, both copies. */
static void make(const uint8_t *data, size_t size) {
  uint8_t kind = data[0], flags = data[1], state = data[2];
  uint16_t number;
  uint64_t wire, a, b, c;
  double time;
  memcpy(&number, data + 3, 2);
  memcpy(&wire, data + 5, 8);
  memcpy(&a, data + 13, 8);
  memcpy(&b, data + 21, 8);
  memcpy(&c, data + 29, 8);
  memcpy(&time, data + 37, 8);
  struct ew_buffer frame = {0};
  if (kind == EW_REQUEST) ew_open_request(&frame, time, number, flags & EW_FLAG_TLS);
  else if (kind == EW_RESPONSE) ew_open_response(&frame, number);
  else if (kind == EW_COMPLETED) ew_open_completed(&frame, time, a, b, c, number);
  else if (kind == EW_PIECE) ew_open_piece(&frame, (uint8_t)number);
  else ew_open_ping(&frame);
  size_t at = 45;
  for (;;) {
    uint32_t length;
    memcpy(&length, data + at, 4);
    at += 4;
    if (length == 0xffffffff) break;
    ew_text(&frame, (const char *)data + at, length);
    at += length;
  }
  if (kind != EW_PING) ew_close_text(&frame);
  if (kind == EW_COMPLETED && at < size) {
    const uint8_t *how = data + at;
    uint32_t first;
    memcpy(&first, how + 4, 4);
    at += 8;
    struct ew_buffer request = {0}, response = {0};
    ew_buffer_append(&request, data + at, first);
    ew_buffer_append(&response, data + at + first, size - at - first);
    ew_add_copies(&frame, &request, how[0], &response, how[1], how[2]);
    ew_finish(&frame, wire, 0, 0);
    if (how[3]) ew_strip_copies(&frame);
    ew_buffer_free(&request);
    ew_buffer_free(&response);
  } else {
    ew_buffer_append(&frame, data + at, size - at);
  }
  ew_finish(&frame, wire, flags & (uint8_t)~EW_FLAG_TLS, state);
  respond(frame.data, frame.size);
  ew_buffer_free(&frame);
}

static void parse_route(const uint8_t *data, size_t size) {
  char error[640] = "", out[512];
  struct ew_route *route = ew_route_parse((const char *)data, size, error, sizeof error);
  if (!route) {
    respond(error, strlen(error));
    return;
  }
  int length = snprintf(out, sizeof out, "ok %s %d %d %d %llu", route->service, (int)route->mode, route->fail_closed, route->block_over_limit,
                        (unsigned long long)route->max_body);
  respond(out, (size_t)length);
  ew_route_release(route);
}

static void parse_options(const uint8_t *data, size_t size) {
  char error[640] = "";
  static struct ew_options options;
  if (!ew_options_parse((const char *)data, size, &options, error, sizeof error)) {
    respond(error, strlen(error));
    return;
  }
  char out[512];
  int length = snprintf(out, sizeof out, "ok %zu %s %llu %llu %llu %llu %llu %s", options.engine_count, options.engine[0], (unsigned long long)options.deadline_ms,
                        (unsigned long long)options.hold_ms, (unsigned long long)options.probe_ms, (unsigned long long)options.misses,
                        (unsigned long long)options.outstanding, options.problem_base);
  respond(out, (size_t)length);
}

static void make_ulid(const uint8_t *data) {
  uint64_t numbers[3];
  char out[EW_ULID_SIZE];
  memcpy(numbers, data, sizeof numbers);
  if (numbers[1] > 0xffff) ew_ulid(numbers[0], out);
  else ew_ulid_from(numbers[0], numbers[1], numbers[2], out);
  respond(out, sizeof out);
}

int main(void) {
  uint8_t command;
  uint32_t size;
  while (fread(&command, 1, 1, stdin) == 1 && fread(&size, sizeof size, 1, stdin) == 1) {
    /* Exactly as large as the input, so that reading one byte too far is seen. */
    uint8_t *data = malloc(size ? size : 1);
    if (!data || (size && fread(data, 1, size, stdin) != size)) return 1;
    switch (command) {
      case 'v': read_verdict(data, size); break;
      case 'l': read_release(data, size); break;
      case 'w': walk(data, size); break;
      case 'm': make(data, size); break;
      case 'r': parse_route(data, size); break;
      case 'o': parse_options(data, size); break;
      case 'u': make_ulid(data); break;
      default: return 2;
    }
    free(data);
  }
  return 0;
}
