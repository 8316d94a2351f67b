/* Between Envoy's messages and frames: reading headers and bodies, carrying changes out, answering in the service's place. */
#include "filter.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { STACK_HEADERS = 128, STACK_CHUNKS = 64 };

static bool is(const char *data, size_t size, const char *text) {
  return size == strlen(text) && !memcmp(data, text, size);
}

static bool begins(const char *data, size_t size, const char *text) {
  size_t length = strlen(text);
  return size >= length && !strncasecmp(data, text, length);
}

/* Whether a comma-separated list (RFC 9110 5.6.1) has this member, in any case. */
static bool has_member(const char *data, size_t size, const char *member) {
  size_t length = strlen(member);
  for (size_t at = 0; at < size;) {
    const char *comma = memchr(data + at, ',', size - at);
    size_t end = comma ? (size_t)(comma - data) : size;
    size_t from = at, to = end;
    while (from < to && (data[from] == ' ' || data[from] == '\t')) from++;
    while (to > from && (data[to - 1] == ' ' || data[to - 1] == '\t')) to--;
    if (to - from == length && !strncasecmp(data + from, member, length)) return true;
    at = end + 1;
  }
  return false;
}

/* Media types whose messages have no foreseeable end. A parameter may follow. */
static bool streams(const char *data, size_t size, enum form *form) {
  static const struct {
    const char *type;
    enum form form;
  } types[] = {
      {"text/event-stream", EW_EVENTS}, {"application/x-ndjson", EW_LINES}, {"application/ndjson", EW_LINES}, {"application/jsonl", EW_LINES},
      {"application/x-jsonlines", EW_LINES}, {"application/stream+json", EW_LINES}, {"application/json-seq", EW_SEQUENCE},
      {"multipart/x-mixed-replace", EW_NO_FORM},
  };
  for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
    size_t length = strlen(types[i].type);
    if (!begins(data, size, types[i].type) || !(size == length || data[length] == ';' || data[length] == ' ')) continue;
    *form = types[i].form;
    return true;
  }
  return false;
}

static uint64_t fnv(uint64_t hash, const char *data, size_t size) {
  for (size_t i = 0; i < size; i++) hash = (hash ^ (uint8_t)data[i]) * 0x100000001b3;
  return hash;
}

static abi_bytes attribute(abi_filter envoy, int id) {
  abi_bytes value = {NULL, 0};
  return envoy_dynamic_module_callback_http_filter_get_attribute_string(envoy, id, &value) ? value : (abi_bytes){"", 0};
}

/* `10.0.0.7:41000` and `[::1]:41000` without brackets and port. Envoy's versions differ in whether they give the port. */
static abi_bytes without_port(abi_bytes address) {
  const char *colon = address.size ? memrchr(address.data, ':', address.size) : NULL;
  if (address.size && address.data[0] == '[') {
    const char *bracket = memchr(address.data, ']', address.size);
    if (bracket) return bytes_of(address.data + 1, (size_t)(bracket - address.data) - 1);
  } else if (colon && colon == memchr(address.data, ':', address.size)) {
    return bytes_of(address.data, (size_t)(colon - address.data));
  }
  return address;
}

/* 0..16 as 1..17, anything else as 255. */
static uint8_t grpc_status_of(const char *data, size_t size) {
  unsigned value = 0;
  if (!size || size > 2) return 255;
  for (size_t i = 0; i < size; i++) {
    if (data[i] < '0' || data[i] > '9') return 255;
    value = value * 10 + (unsigned)(data[i] - '0');
  }
  return value <= 16 ? (uint8_t)(value + 1) : 255;
}

static void read_shape(const abi_header *h, struct ew_shape *shape, bool *get) {
  if (is(h->key, h->key_size, "content-type")) {
    shape->grpc = begins(h->value, h->value_size, "application/grpc");
    shape->streaming = shape->grpc || streams(h->value, h->value_size, &shape->form);
    if (shape->grpc) shape->form = begins(h->value, h->value_size, "application/grpc-web") ? EW_GRPC_WEB : EW_GRPC;
  } else if (is(h->key, h->key_size, "content-encoding")) {
    shape->coded = !is(h->value, h->value_size, "identity");
  } else if (is(h->key, h->key_size, "connection")) {
    shape->upgrade |= has_member(h->value, h->value_size, "upgrade");
  } else if (is(h->key, h->key_size, "upgrade")) {
    shape->websocket = h->value_size == 9 && begins(h->value, h->value_size, "websocket");
  } else if (is(h->key, h->key_size, "content-length")) {
    shape->has_length = h->value_size > 0 && h->value_size < 19;
    shape->length = 0;
    for (size_t i = 0; i < h->value_size && shape->has_length; i++) {
      if (h->value[i] < '0' || h->value[i] > '9') shape->has_length = false;
      else shape->length = shape->length * 10 + (uint64_t)(h->value[i] - '0');
    }
  } else if (is(h->key, h->key_size, "grpc-status")) {
    shape->grpc_status = grpc_status_of(h->value, h->value_size);
  } else if (is(h->key, h->key_size, ":method")) {
    *get = is(h->value, h->value_size, "GET");
    shape->connect = is(h->value, h->value_size, "CONNECT");
  } else if (is(h->key, h->key_size, ":status")) {
    for (size_t i = 0; i < h->value_size && i < 3; i++) shape->status = (uint16_t)(shape->status * 10 + (h->value[i] - '0'));
  }
}

/* The fields that open a REQUEST's text, and the same again for COMPLETED. */
static void open_request(struct ew_filter *f, abi_filter envoy, const abi_header *headers, size_t count) {
  abi_bytes method = {"", 0}, path = {"", 0}, authority = {"", 0};
  abi_bytes credential = {"", 0}; /* the first of authorization, x-api-key, cookie: what tells actors apart */
  int rank = 0;
  for (size_t i = 0; i < count; i++) {
    const abi_header *h = &headers[i];
    abi_bytes value = {h->value, h->value_size};
    int found = 0;
    if (is(h->key, h->key_size, ":method")) method = value;
    else if (is(h->key, h->key_size, ":path")) path = value;
    else if (is(h->key, h->key_size, ":authority")) authority = value;
    else if (is(h->key, h->key_size, "authorization")) found = 3;
    else if (is(h->key, h->key_size, "x-api-key")) found = 2;
    else if (is(h->key, h->key_size, "cookie")) found = 1;
    if (found > rank) {
      rank = found;
      credential = value;
    }
  }
  abi_bytes address = without_port(attribute(envoy, ABI_ATTRIBUTE_SOURCE_ADDRESS));
  uint64_t port = 0;
  envoy_dynamic_module_callback_http_filter_get_attribute_int(envoy, ABI_ATTRIBUTE_SOURCE_PORT, &port);
  bool tls = attribute(envoy, ABI_ATTRIBUTE_TLS_VERSION).size > 0;
  abi_bytes uri = {"", 0}, dns = {"", 0}, subject = {"", 0};
  if (tls) {
    uri = attribute(envoy, ABI_ATTRIBUTE_URI_SAN_PEER);
    dns = attribute(envoy, ABI_ATTRIBUTE_DNS_SAN_PEER);
    subject = attribute(envoy, ABI_ATTRIBUTE_SUBJECT_PEER);
  }
  if (!rank) credential = address;
  f->affinity = fnv(0xcbf29ce484222325, credential.data, credential.size);
  f->affinity ^= f->affinity >> 32; /* the low bits of FNV alone are weak */

  ew_open_request(&f->frame, f->time, (uint16_t)port, tls);
  ew_text(&f->frame, f->id, EW_ULID_SIZE);
  ew_text(&f->frame, f->route->service, f->route->service_size);
  ew_text(&f->frame, method.data, method.size);
  ew_text(&f->frame, path.data, path.size);
  ew_text(&f->frame, authority.data, authority.size);
  if (!f->frame.failed) ew_buffer_append(&f->head, f->frame.data + EW_REQUEST_SIZE, f->frame.size - EW_REQUEST_SIZE);
  ew_text(&f->head, address.data, address.size);
  ew_text(&f->frame, tls ? "https" : "http", tls ? 5 : 4);
  ew_text(&f->frame, address.data, address.size);
  ew_text(&f->frame, uri.data, uri.size);
  ew_text(&f->frame, dns.data, dns.size);
  ew_text(&f->frame, subject.data, subject.size);
}

void ew_describe(struct ew_filter *f, abi_filter envoy, enum message message, struct ew_shape *shape) {
  int which = message == REQUEST_MESSAGE ? ABI_REQUEST_HEADERS : ABI_RESPONSE_HEADERS;
  abi_header on_stack[STACK_HEADERS], *headers = on_stack;
  size_t count = envoy_dynamic_module_callback_http_get_headers_size(envoy, which);
  if (count > STACK_HEADERS) headers = malloc(count * sizeof *headers);
  if (!headers || !envoy_dynamic_module_callback_http_get_headers(envoy, which, headers)) count = 0;

  *shape = (struct ew_shape){0};
  bool get = false;
  for (size_t i = 0; i < count; i++) read_shape(&headers[i], shape, &get);
  /* What a caller merely claims to be a stream would escape inspection: gRPC needs HTTP/2, a WebSocket begins with GET. */
  if (message == REQUEST_MESSAGE && shape->grpc) {
    abi_bytes protocol = attribute(envoy, ABI_ATTRIBUTE_REQUEST_PROTOCOL);
    shape->grpc = !begins(protocol.data, protocol.size, "HTTP/1");
  }
  shape->upgrade = shape->connect || (shape->upgrade && get);
  shape->websocket &= shape->upgrade;
  if (message == REQUEST_MESSAGE) {
    open_request(f, envoy, headers, count);
  } else {
    ew_open_response(&f->frame, shape->status);
    ew_text(&f->frame, f->id, EW_ULID_SIZE);
  }
  for (size_t i = 0; i < count; i++) {
    if (headers[i].key_size && headers[i].key[0] == ':') continue;
    ew_text(&f->frame, headers[i].key, headers[i].key_size);
    ew_text(&f->frame, headers[i].value, headers[i].value_size);
  }
  ew_close_text(&f->frame);
  /* Without memory for the headers nothing was described: this must not pass for a message without headers. */
  if (!headers) f->frame.failed = true;
  if (headers != on_stack) free(headers);
}

/* Appends the bytes from `skip` on, `limit` of them at most. */
static void gather(struct ew_buffer *buffer, abi_filter envoy, int which, size_t skip, size_t limit) {
  size_t count = envoy_dynamic_module_callback_http_get_body_chunks_size(envoy, which);
  if (!count || !limit) return;
  abi_bytes on_stack[STACK_CHUNKS], *chunks = on_stack;
  if (count > STACK_CHUNKS) chunks = malloc(count * sizeof *chunks);
  if (!chunks) {
    buffer->failed = true;
    return;
  }
  if (envoy_dynamic_module_callback_http_get_body_chunks(envoy, which, chunks)) {
    for (size_t i = 0; i < count && limit; i++) {
      size_t over = skip < chunks[i].size ? skip : chunks[i].size;
      size_t take = chunks[i].size - over < limit ? chunks[i].size - over : limit;
      ew_buffer_append(buffer, chunks[i].data + over, take);
      skip -= over;
      limit -= take;
    }
  }
  if (chunks != on_stack) free(chunks);
}

void ew_gather(struct ew_buffer *frame, abi_filter envoy, int which, size_t limit) {
  size_t have = ew_body_size(frame);
  gather(frame, envoy, which, 0, have < limit ? limit - have : 0);
}

void ew_gather_after(struct ew_buffer *buffer, abi_filter envoy, int which, size_t skip) {
  gather(buffer, envoy, which, skip, SIZE_MAX);
}

uint8_t ew_trailing_status(abi_filter envoy) {
  abi_header on_stack[STACK_HEADERS];
  size_t count = envoy_dynamic_module_callback_http_get_headers_size(envoy, ABI_RESPONSE_TRAILERS);
  if (!count || count > STACK_HEADERS || !envoy_dynamic_module_callback_http_get_headers(envoy, ABI_RESPONSE_TRAILERS, on_stack)) return 0;
  for (size_t i = 0; i < count; i++)
    if (is(on_stack[i].key, on_stack[i].key_size, "grpc-status")) return grpc_status_of(on_stack[i].value, on_stack[i].value_size);
  return 0;
}

void ew_change_headers(abi_filter envoy, enum message message, const struct ew_verdict *verdict) {
  int which = message == REQUEST_MESSAGE ? ABI_REQUEST_HEADERS : ABI_RESPONSE_HEADERS;
  const char *cursor = verdict->text;
  for (unsigned i = 0; i < verdict->set_count; i++) {
    abi_bytes key, value;
    key.data = ew_next_field(&cursor, &key.size);
    value.data = ew_next_field(&cursor, &value.size);
    if (key.size) envoy_dynamic_module_callback_http_set_header(envoy, which, key, value);
  }
  for (unsigned i = 0; i < verdict->remove_count; i++) {
    abi_bytes key;
    key.data = ew_next_field(&cursor, &key.size);
    if (key.size) envoy_dynamic_module_callback_http_set_header(envoy, which, key, (abi_bytes){NULL, 0});
  }
}

bool ew_replace_body(abi_filter envoy, enum message message, const struct ew_verdict *verdict) {
  int buffered = message == REQUEST_MESSAGE ? ABI_BUFFERED_REQUEST_BODY : ABI_BUFFERED_RESPONSE_BODY;
  int headers = message == REQUEST_MESSAGE ? ABI_REQUEST_HEADERS : ABI_RESPONSE_HEADERS;
  size_t size = envoy_dynamic_module_callback_http_get_body_size(envoy, buffered);
  if (!size || !envoy_dynamic_module_callback_http_drain_body(envoy, buffered, size)) return false;
  if (verdict->body_size && !envoy_dynamic_module_callback_http_append_body(envoy, buffered, bytes_of((const char *)verdict->body, verdict->body_size)))
    return false;
  char length[24];
  int digits = snprintf(length, sizeof length, "%zu", verdict->body_size);
  envoy_dynamic_module_callback_http_set_header(envoy, headers, LITERAL("content-length"), bytes_of(length, (size_t)digits));
  envoy_dynamic_module_callback_http_set_header(envoy, headers, LITERAL("transfer-encoding"), (abi_bytes){NULL, 0});
  return true;
}

static abi_header header(const char *key, size_t key_size, const char *value, size_t value_size) {
  return (abi_header){key, key_size, value, value_size};
}

/* https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md, but 429, which is ours to word: RESOURCE_EXHAUSTED. */
static const char *grpc_status(unsigned status) {
  switch (status) {
    case 400: return "13";
    case 401: return "16";
    case 403: return "7";
    case 404: return "12";
    case 413: case 429: return "8";
    case 502: case 503: case 504: return "14";
    default: return "2";
  }
}

/* Envoy's send_response would give every gRPC caller status 0, that is success. So the refusal is written here: trailers only. */
static void answer_grpc(struct ew_filter *f, abi_filter envoy, unsigned status) {
  char id[EW_ULID_SIZE], message[96];
  memcpy(id, f->id, sizeof id);
  int size = snprintf(message, sizeof message, "refused with HTTP status %u; event %.*s", status, EW_ULID_SIZE, id);
  const char *code = grpc_status(status);
  abi_header headers[] = {
      header(":status", 7, "200", 3),
      header("content-type", 12, "application/grpc", 16),
      header("grpc-status", 11, code, strlen(code)),
      header("grpc-message", 12, message, (size_t)size),
      header("x-eastwall-event-id", 19, id, sizeof id),
  };
  envoy_dynamic_module_callback_http_send_response_headers(envoy, headers, sizeof headers / sizeof *headers, true);
}

/* The last thing done with a filter: Envoy may destroy it before this returns. */
static void answer(struct ew_filter *f, abi_filter envoy, unsigned status, abi_header *headers, size_t count, abi_bytes body, abi_bytes details) {
  f->answered = true;
  f->request = f->response = PASS;
  f->status = (uint16_t)status;
  f->response_bytes = body.size;
  if (f->grpc) {
    f->response_bytes = 0;
    answer_grpc(f, envoy, status);
    return;
  }
  /* The details' prefix `eastwall_` tells the listener's local_reply_config to leave this answer alone. */
  envoy_dynamic_module_callback_http_send_response(envoy, status, headers, count, body, details);
}

void ew_send_denial(struct ew_filter *f, abi_filter envoy, const struct ew_verdict *verdict) {
  abi_header *headers = calloc((size_t)verdict->set_count + 2, sizeof *headers);
  size_t count = 0;
  bool has_id = false, has_type = false;
  const char *cursor = verdict->text;
  for (unsigned i = 0; headers && i < verdict->set_count; i++) {
    abi_header *h = &headers[count];
    h->key = ew_next_field(&cursor, &h->key_size);
    h->value = ew_next_field(&cursor, &h->value_size);
    has_id |= h->key_size == 19 && !strncasecmp(h->key, "x-eastwall-event-id", 19);
    has_type |= h->key_size == 12 && !strncasecmp(h->key, "content-type", 12);
    count += h->key_size > 0;
  }
  char id[EW_ULID_SIZE];
  memcpy(id, f->id, sizeof id); /* `f` may be gone while Envoy still copies the headers */
  if (headers && !has_id) headers[count++] = header("x-eastwall-event-id", 19, id, sizeof id);
  if (headers && !has_type && verdict->body_size) headers[count++] = header("content-type", 12, "application/problem+json", 24);
  abi_bytes body = bytes_of((const char *)verdict->body, verdict->body_size);
  answer(f, envoy, verdict->status, headers, headers ? count : 0, body, LITERAL("eastwall_denied"));
  free(headers);
}

void ew_send_problem(struct ew_filter *f, abi_filter envoy, unsigned status, const char *slug, const char *title, const char *detail) {
  char id[EW_ULID_SIZE], text[1024];
  memcpy(id, f->id, sizeof id);
  int size = snprintf(text, sizeof text, "{\"type\":\"%s%s\",\"title\":\"%s\",\"status\":%u,\"detail\":\"%s\",\"event_id\":\"%.*s\"}",
                      ew_pool_options(f->config->pool)->problem_base, slug, title, status, detail, EW_ULID_SIZE, id);
  abi_header headers[] = {header("x-eastwall-event-id", 19, id, sizeof id), header("content-type", 12, "application/problem+json", 24)};
  answer(f, envoy, status, headers, 2, bytes_of(text, (size_t)size < sizeof text ? (size_t)size : sizeof text - 1), LITERAL("eastwall_not_inspected"));
}
