#include "frames.h"

#include <stdlib.h>
#include <string.h>

/* Offsets in the fixed parts; frames.py holds the layouts they follow. */
enum {
  AT_LENGTH = 0, AT_VERSION = 4, AT_KIND = 5, AT_FLAGS = 6, AT_WIRE = 8,
  REQUEST_TIME = 16, REQUEST_PORT = 24, REQUEST_STATE = 26, REQUEST_TEXT = 28,
  RESPONSE_STATUS = 16, RESPONSE_STATE = 18, RESPONSE_TEXT = 20,
  COMPLETED_TIME = 16, COMPLETED_SENT = 24, COMPLETED_RECEIVED = 32, COMPLETED_DURATION = 40, COMPLETED_STATUS = 48,
  COMPLETED_REQUEST = 50, COMPLETED_RESPONSE = 51, COMPLETED_GRPC = 52, COMPLETED_COPY = 56, COMPLETED_TEXT = 60,
  VERDICT_STATUS = 16, VERDICT_WANT = 18, VERDICT_SET = 20, VERDICT_REMOVE = 22, VERDICT_TEXT = 24,
  PIECE_DIRECTION = 16, PIECE_BITS = 17, PIECE_TEXT = 20,
  RELEASE_CONSUMED = 16, RELEASE_TRAILERS = 20, RELEASE_TEXT = 24,
};
_Static_assert(REQUEST_TEXT + 4 == EW_REQUEST_SIZE && RESPONSE_TEXT + 4 == EW_RESPONSE_SIZE, "layout differs from frames.py");
_Static_assert(COMPLETED_TEXT + 4 == EW_COMPLETED_SIZE && VERDICT_TEXT + 4 == EW_VERDICT_SIZE, "layout differs from frames.py");
_Static_assert(PIECE_TEXT + 4 == EW_PIECE_SIZE && RELEASE_TEXT + 4 == EW_RELEASE_SIZE, "layout differs from frames.py");

static void put(uint8_t *at, uint64_t value, int bytes) {
  for (int i = 0; i < bytes; i++) at[i] = (uint8_t)(value >> (8 * i));
}

static uint64_t get(const uint8_t *at, int bytes) {
  uint64_t value = 0;
  for (int i = 0; i < bytes; i++) value |= (uint64_t)at[i] << (8 * i);
  return value;
}

static void put_double(uint8_t *at, double value) {
  uint64_t bits;
  memcpy(&bits, &value, sizeof bits);
  put(at, bits, 8);
}

static bool reserve(struct ew_buffer *buffer, size_t more) {
  if (buffer->failed) return false;
  if (more <= buffer->capacity - buffer->size) return true;
  size_t needed = buffer->size + more;
  size_t capacity = buffer->capacity ? buffer->capacity : 1024;
  while (capacity < needed && capacity <= SIZE_MAX / 2) capacity *= 2;
  uint8_t *data = needed < buffer->size || capacity < needed ? NULL : realloc(buffer->data, capacity);
  if (!data) {
    buffer->failed = true;
    return false;
  }
  buffer->data = data;
  buffer->capacity = capacity;
  return true;
}

void ew_buffer_append(struct ew_buffer *buffer, const void *data, size_t size) {
  if (!size || !reserve(buffer, size)) return;
  memcpy(buffer->data + buffer->size, data, size);
  buffer->size += size;
}

void ew_buffer_clear(struct ew_buffer *buffer) {
  buffer->size = 0;
  buffer->failed = false;
}

void ew_buffer_free(struct ew_buffer *buffer) {
  free(buffer->data);
  *buffer = (struct ew_buffer){0};
}

void ew_text(struct ew_buffer *buffer, const char *data, size_t size) {
  if (!reserve(buffer, size + 1)) return;
  uint8_t *at = buffer->data + buffer->size;
  if (size) memcpy(at, data, size);
  at[size] = 0;
  for (uint8_t *nul = memchr(at, 0, size); nul; nul = memchr(nul, 0, (size_t)(at + size - nul))) *nul = 0x1a;
  buffer->size += size + 1;
}

static uint8_t *open_frame(struct ew_buffer *frame, uint8_t kind, size_t fixed) {
  ew_buffer_clear(frame);
  if (!reserve(frame, fixed)) return NULL;
  memset(frame->data, 0, fixed);
  frame->data[AT_VERSION] = EW_VERSION;
  frame->data[AT_KIND] = kind;
  frame->size = fixed;
  return frame->data;
}

void ew_open_request(struct ew_buffer *frame, double time, uint16_t port, bool tls) {
  uint8_t *at = open_frame(frame, EW_REQUEST, EW_REQUEST_SIZE);
  if (!at) return;
  put(at + AT_FLAGS, tls ? EW_FLAG_TLS : 0, 2);
  put_double(at + REQUEST_TIME, time);
  put(at + REQUEST_PORT, port, 2);
}

void ew_open_response(struct ew_buffer *frame, uint16_t status) {
  uint8_t *at = open_frame(frame, EW_RESPONSE, EW_RESPONSE_SIZE);
  if (at) put(at + RESPONSE_STATUS, status, 2);
}

void ew_open_completed(struct ew_buffer *frame, double time, uint64_t request_bytes, uint64_t response_bytes, uint64_t duration_us, uint16_t status) {
  uint8_t *at = open_frame(frame, EW_COMPLETED, EW_COMPLETED_SIZE);
  if (!at) return;
  put_double(at + COMPLETED_TIME, time);
  put(at + COMPLETED_SENT, request_bytes, 8);
  put(at + COMPLETED_RECEIVED, response_bytes, 8);
  put(at + COMPLETED_DURATION, duration_us, 8);
  put(at + COMPLETED_STATUS, status, 2);
}

void ew_open_piece(struct ew_buffer *frame, uint8_t direction) {
  uint8_t *at = open_frame(frame, EW_PIECE, EW_PIECE_SIZE);
  if (at) at[PIECE_DIRECTION] = direction;
}

void ew_open_ping(struct ew_buffer *frame) {
  open_frame(frame, EW_PING, EW_HEADER_SIZE);
}

static size_t fixed_size(uint8_t kind) {
  switch (kind) {
    case EW_REQUEST: return EW_REQUEST_SIZE;
    case EW_RESPONSE: return EW_RESPONSE_SIZE;
    case EW_COMPLETED: return EW_COMPLETED_SIZE;
    case EW_PIECE: return EW_PIECE_SIZE;
    default: return EW_HEADER_SIZE;
  }
}

void ew_close_text(struct ew_buffer *frame) {
  if (frame->failed || frame->size < EW_HEADER_SIZE) return;
  size_t fixed = fixed_size(frame->data[AT_KIND]);
  /* The length of the text block ends every fixed part. */
  put(frame->data + fixed - 4, frame->size - fixed, 4);
}

size_t ew_body_size(const struct ew_buffer *frame) {
  if (frame->size < EW_HEADER_SIZE) return 0;
  size_t fixed = fixed_size(frame->data[AT_KIND]);
  return frame->size - fixed - (size_t)get(frame->data + fixed - 4, 4);
}

void ew_finish(struct ew_buffer *frame, uint64_t wire, uint16_t flags, uint8_t body_state) {
  if (frame->failed || frame->size < EW_HEADER_SIZE) return;
  uint8_t *at = frame->data;
  put(at + AT_LENGTH, frame->size, 4);
  put(at + AT_FLAGS, get(at + AT_FLAGS, 2) | flags, 2);
  put(at + AT_WIRE, wire, 8);
  if (at[AT_KIND] == EW_REQUEST) at[REQUEST_STATE] = body_state;
  if (at[AT_KIND] == EW_RESPONSE) at[RESPONSE_STATE] = body_state;
  if (at[AT_KIND] == EW_PIECE) at[PIECE_BITS] = body_state;
}

void ew_add_copies(struct ew_buffer *frame, const struct ew_buffer *request, uint8_t request_state, const struct ew_buffer *response, uint8_t response_state, uint8_t grpc_status) {
  if (frame->failed || frame->size < EW_COMPLETED_SIZE) return;
  frame->data[COMPLETED_GRPC] = grpc_status;
  if (!request->size && !response->size && !request_state && !response_state) return;
  /* A record without its copies is better than none: room for both is made before anything is said of them. */
  if (!reserve(frame, request->size + response->size)) {
    frame->failed = false;
    return;
  }
  frame->data[COMPLETED_REQUEST] = request_state;
  frame->data[COMPLETED_RESPONSE] = response_state;
  put(frame->data + COMPLETED_COPY, request->size, 4);
  ew_buffer_append(frame, request->data, request->size);
  ew_buffer_append(frame, response->data, response->size);
}

void ew_strip_copies(struct ew_buffer *frame) {
  if (frame->failed || frame->size < EW_COMPLETED_SIZE || frame->data[AT_KIND] != EW_COMPLETED) return;
  frame->size -= ew_body_size(frame);
  frame->data[COMPLETED_REQUEST] = frame->data[COMPLETED_RESPONSE] = EW_BODY_NONE;
  put(frame->data + COMPLETED_COPY, 0, 4);
  put(frame->data + AT_LENGTH, frame->size, 4);
}

int ew_read_header(const uint8_t *data, size_t size, struct ew_header *header) {
  if (size < EW_HEADER_SIZE) return 0;
  header->length = (uint32_t)get(data + AT_LENGTH, 4);
  header->kind = data[AT_KIND];
  header->flags = (uint16_t)get(data + AT_FLAGS, 2);
  header->wire = get(data + AT_WIRE, 8);
  return data[AT_VERSION] == EW_VERSION && header->length >= EW_HEADER_SIZE && header->length <= EW_LIMIT ? 1 : -1;
}

const char *ew_next_field(const char **cursor, size_t *size) {
  const char *field = *cursor;
  *size = strlen(field);
  *cursor = field + *size + 1;
  return field;
}

/* Exactly the announced number of fields, the last one terminated: ew_next_field then stays inside. None that would split a header. */
static bool has_fields(const char *text, size_t size, size_t expected) {
  size_t fields = 0;
  for (size_t i = 0; i < size; i++) {
    fields += text[i] == 0;
    if (text[i] == '\r' || text[i] == '\n') return false;
  }
  return fields == expected && (!size || text[size - 1] == 0);
}

bool ew_read_verdict(const uint8_t *data, size_t size, struct ew_verdict *verdict) {
  struct ew_header header;
  if (ew_read_header(data, size, &header) != 1 || header.kind != EW_VERDICT || header.length != size || size < EW_VERDICT_SIZE) return false;
  size_t text_size = (size_t)get(data + VERDICT_TEXT, 4);
  if (text_size > size - EW_VERDICT_SIZE) return false;
  *verdict = (struct ew_verdict){
      .deny = header.flags & EW_FLAG_DENY,
      .has_body = header.flags & EW_FLAG_BODY,
      .status = (uint16_t)get(data + VERDICT_STATUS, 2),
      .want_response = data[VERDICT_WANT],
      .set_count = (uint16_t)get(data + VERDICT_SET, 2),
      .remove_count = (uint16_t)get(data + VERDICT_REMOVE, 2),
      .text = (const char *)data + EW_VERDICT_SIZE,
      .text_size = text_size,
      .body = data + EW_VERDICT_SIZE + text_size,
      .body_size = size - EW_VERDICT_SIZE - text_size,
  };
  if (verdict->want_response > 2 || (verdict->deny && (verdict->status < 200 || verdict->status > 599))) return false;
  if (verdict->body_size && !verdict->has_body) return false;
  return has_fields(verdict->text, text_size, 2u * verdict->set_count + verdict->remove_count);
}

bool ew_read_release(const uint8_t *data, size_t size, struct ew_release *release) {
  struct ew_header header;
  if (ew_read_header(data, size, &header) != 1 || header.kind != EW_RELEASE || header.length != size || size < EW_RELEASE_SIZE) return false;
  size_t text_size = (size_t)get(data + RELEASE_TEXT, 4);
  if (text_size > size - EW_RELEASE_SIZE) return false;
  *release = (struct ew_release){
      .end = header.flags & EW_FLAG_DENY,
      .has_body = header.flags & EW_FLAG_BODY,
      .part = header.flags & EW_FLAG_PART,
      .consumed = (uint32_t)get(data + RELEASE_CONSUMED, 4),
      .trailer_count = (uint16_t)get(data + RELEASE_TRAILERS, 2),
      .text = (const char *)data + EW_RELEASE_SIZE,
      .body = data + EW_RELEASE_SIZE + text_size,
      .body_size = size - EW_RELEASE_SIZE - text_size,
  };
  if (release->body_size && !release->has_body) return false;
  return has_fields(release->text, text_size, 2u * release->trailer_count);
}
