/* The shim's side of the frame codec (format: ../frames.py). Pure: no Envoy, no I/O, so that it can be tested alone. */
#ifndef EW_FRAMES_H
#define EW_FRAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "frame_constants.h"

/* A growable byte string. When memory runs out, `failed` is set, contents are kept and further appends do nothing. */
struct ew_buffer {
  uint8_t *data;
  size_t size;
  size_t capacity;
  bool failed;
};

void ew_buffer_append(struct ew_buffer *buffer, const void *data, size_t size);
void ew_buffer_clear(struct ew_buffer *buffer);
void ew_buffer_free(struct ew_buffer *buffer);

/* One NUL-terminated field of a text block; NULs inside become U+001A so that they cannot forge a field. */
void ew_text(struct ew_buffer *buffer, const char *data, size_t size);

/* Opening writes header and fixed part with zeros; the text block follows by ew_text, then ew_close_text, then the body. */
void ew_open_request(struct ew_buffer *frame, double time, uint16_t port, bool tls);
void ew_open_response(struct ew_buffer *frame, uint16_t status);
void ew_open_completed(struct ew_buffer *frame, double time, uint64_t request_bytes, uint64_t response_bytes, uint64_t duration_us, uint16_t status);
/* `direction`: 1 request, 2 response. */
void ew_open_piece(struct ew_buffer *frame, uint8_t direction);
void ew_open_ping(struct ew_buffer *frame);
void ew_close_text(struct ew_buffer *frame);
/* Sets what is known only at the end; the frame may then be sent. `body_state` is ignored where the kind has none; of a PIECE it is
 * its END bit. */
void ew_finish(struct ew_buffer *frame, uint64_t wire, uint16_t flags, uint8_t body_state);
/* What a COMPLETED frame brings of a stream, after ew_close_text: copies (states as in BodyState), gRPC status plus one (0: none). */
void ew_add_copies(struct ew_buffer *frame, const struct ew_buffer *request, uint8_t request_state, const struct ew_buffer *response, uint8_t response_state, uint8_t grpc_status);
/* Takes the copies out again. */
void ew_strip_copies(struct ew_buffer *frame);
/* Bytes of the body appended so far. */
size_t ew_body_size(const struct ew_buffer *frame);

struct ew_header {
  uint32_t length;
  uint8_t kind;
  uint16_t flags;
  uint64_t wire;
};

/* A view into the frame it was read from. */
struct ew_verdict {
  bool deny;
  bool has_body;
  uint16_t status;
  uint8_t want_response;
  uint16_t set_count;
  uint16_t remove_count;
  const char *text;     /* set_count times name, value; then remove_count names; each NUL-terminated */
  size_t text_size;
  const uint8_t *body;
  size_t body_size;
};

/* 1: a header was read; 0: fewer than EW_HEADER_SIZE bytes; -1: not a frame of this version. */
int ew_read_header(const uint8_t *data, size_t size, struct ew_header *header);
/* Reads a whole VERDICT frame. False when it is malformed; nothing outside `data` is ever read. */
bool ew_read_verdict(const uint8_t *data, size_t size, struct ew_verdict *verdict);
/* A view into a RELEASE frame. */
struct ew_release {
  bool end, has_body, part;
  uint32_t consumed;
  uint16_t trailer_count;
  const char *text; /* trailer_count times name, value; each NUL-terminated */
  const uint8_t *body;
  size_t body_size;
};
/* Reads a whole RELEASE frame. False when it is malformed. */
bool ew_read_release(const uint8_t *data, size_t size, struct ew_release *release);

/* The next field of a text block that ew_read_verdict or ew_read_release accepted. */
const char *ew_next_field(const char **cursor, size_t *size);

#endif
