/* One call: its state, and what message.c and filter.c share. */
#ifndef EW_FILTER_H
#define EW_FILTER_H

#include "abi.h"
#include "engine.h"
#include "frames.h"
#include "settings.h"
#include "ulid.h"

struct ew_filter_config {
  struct ew_pool *pool;
  size_t calls;       /* counter {service} */
  size_t uninspected; /* counter {service, reason} */
  size_t records_lost; /* counter {service}: COMPLETED frames that no engine will ever see */
  size_t in_flight;   /* gauge: calls that wait for a verdict */
};

/* Where one direction of a call stands. */
enum phase {
  IDLE,    /* nothing seen yet */
  COLLECT, /* enforce: held by us, the body is gathering in Envoy's buffer. Otherwise: passing, a copy is gathering in `frame` */
  WAIT,    /* held by us until the verdict comes */
  PASS,    /* goes on; nothing more to inspect */
};

enum message { REQUEST_MESSAGE, RESPONSE_MESSAGE };

/* The beginning of a streamed message, copied as it passes. Never waited for; leaves with COMPLETED. */
struct ew_copy {
  struct ew_buffer bytes;
  size_t room;    /* bytes taken from the pool */
  bool gathering;
  uint8_t state;  /* BodyState: NONE, COMPLETE or TRUNCATED */
};

struct ew_filter {
  struct ew_filter_config *config;
  struct ew_route *route; /* NULL: not a call of a protected service */
  enum phase request, response;
  bool request_ended, local_reply, answered, upgrade, grpc, waiting;
  bool *destroyed; /* set by destroy while a hook that may be re-entered is running */
  int engine;      /* that judged the request; -1: none did */
  uint64_t epoch;
  uint64_t affinity;
  uint8_t want_response;
  uint8_t body_state; /* of the message that waits */
  uint16_t status;
  uint32_t noted;     /* bit per ew_reason */
  size_t room;        /* bytes taken from the pool for the copy in `frame` */
  uint64_t request_bytes, response_bytes;
  uint64_t began_us;  /* monotonic */
  double time;        /* Unix seconds */
  char id[EW_ULID_SIZE];
  struct ew_buffer frame; /* the message that is being gathered */
  struct ew_buffer head;  /* the text of the COMPLETED frame but for the reasons */
  struct ew_copy copies[2]; /* by enum message */
  uint8_t grpc_status;    /* plus one; 0: none seen */
  struct ew_wait wait;
};

static inline abi_bytes bytes_of(const char *data, size_t size) {
  return (abi_bytes){data, size};
}
#define LITERAL(text) bytes_of(text, sizeof(text) - 1)

/* message.c */

struct ew_shape {
  bool grpc;      /* gRPC: content-type application/grpc... over HTTP/2 */
  bool streaming; /* a content type whose end is not to be waited for */
  bool connect;
  bool upgrade;   /* GET with connection: upgrade (RFC 6455), or CONNECT */
  uint16_t status;
  uint8_t grpc_status; /* plus one; 0: none */
  bool has_length;
  uint64_t length; /* content-length */
};

/* Opens `frame` with the headers of the message; for a request also fills head and affinity. */
void ew_describe(struct ew_filter *f, abi_filter envoy, enum message message, struct ew_shape *shape);
/* Appends body bytes that Envoy holds in buffer `which` until the frame has `limit` of them. */
void ew_gather(struct ew_buffer *frame, abi_filter envoy, int which, size_t limit);
/* The same into plain bytes. */
void ew_gather_bytes(struct ew_buffer *bytes, abi_filter envoy, int which, size_t limit);
/* `grpc-status` in the response's trailers, plus one; 0: none. */
uint8_t ew_trailing_status(abi_filter envoy);
/* Carries the header changes of a verdict out. */
void ew_change_headers(abi_filter envoy, enum message message, const struct ew_verdict *verdict);
/* Puts another body into Envoy's buffer. False when there is none to replace. */
bool ew_replace_body(abi_filter envoy, enum message message, const struct ew_verdict *verdict);
/* Answer the caller. The filter may be destroyed when these return. */
void ew_send_denial(struct ew_filter *f, abi_filter envoy, const struct ew_verdict *verdict);
void ew_send_problem(struct ew_filter *f, abi_filter envoy, unsigned status, const char *slug, const char *title, const char *detail);

#endif
