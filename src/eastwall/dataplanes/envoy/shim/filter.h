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
  FLOW,    /* enforce: a stream, held piece by piece (stream.c) */
  PASS,    /* goes on; nothing more to inspect */
};

/* How a stream's events are told apart, and how an error is said in it. */
enum form { EW_NO_FORM, EW_EVENTS, EW_LINES, EW_SEQUENCE, EW_GRPC, EW_GRPC_WEB, EW_WEBSOCKET };

enum message { REQUEST_MESSAGE, RESPONSE_MESSAGE };

/* The beginning of a streamed message, copied as it passes. Never waited for; leaves with COMPLETED. */
struct ew_copy {
  struct ew_buffer bytes;
  size_t room;    /* bytes taken from the pool */
  bool gathering;
  uint8_t state;  /* BodyState: NONE, COMPLETE or TRUNCATED */
};

/* One direction of a stream whose events are inspected. */
struct ew_flow {
  bool watched;  /* discover, monitor: pieces are told as they pass */
  uint64_t told; /* bytes of them */
  bool asked;    /* a piece is with the engine (or what it could not be sent for is about to be told) */
  bool ended;    /* the end has come, and is held */
  bool told_end; /* the piece that is with the engine is the last */
  bool trailers; /* it ended with trailers */
  bool broken;   /* bytes are lost for want of memory */
  size_t given;  /* bytes of Envoy's buffer that the engine was given */
  size_t room;   /* bytes taken from the pool */
  struct ew_buffer held;  /* what the engine knows and has not let go, as it came */
  struct ew_buffer ready; /* let go, and waiting for the end */
  struct ew_buffer frame;
  struct ew_wait wait;
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
  struct ew_flow flows[2];
  enum form form;
  bool request_flows, response_flows; /* its events are to be inspected before they go on */
  bool response_began; /* its headers have gone on */
  bool response_ended; /* its end was seen */
  uint8_t grpc_status;    /* plus one; 0: none seen */
  struct ew_wait wait;
};

static inline abi_bytes bytes_of(const char *data, size_t size) {
  return (abi_bytes){data, size};
}
#define LITERAL(text) bytes_of(text, sizeof(text) - 1)

/* filter.c */

/* Counts and records why (a part of) the call was not inspected, once per reason. */
void ew_note(struct ew_filter *f, abi_filter envoy, enum ew_reason reason);
uint64_t ew_now_us(void); /* monotonic */
/* Nothing is waited for any more. */
void ew_stop_waiting(struct ew_filter *f, abi_filter envoy);

/* stream.c */

/* Bytes in Envoy's buffer `which` pass: they are copied, and told. */
void ew_stream_passes(struct ew_filter *f, abi_filter envoy, enum message message, int which, bool end);
/* A passing message ended with trailers. */
void ew_stream_ends(struct ew_filter *f, enum message message);
/* Copies and held bytes are given up. */
void ew_stream_drop(struct ew_filter *f);
/* The message is held piece by piece from now on. False: it cannot be. */
bool ew_flow_begin(struct ew_filter *f, enum message message);
/* What Envoy has already buffered of it becomes the first piece. True: there is some, and the headers go on together with it (Envoy
 * lets a message be continued once only, see stream.c). */
bool ew_flow_began_held(struct ew_filter *f, abi_filter envoy, enum message message);
int ew_flow_body(struct ew_filter *f, abi_filter envoy, enum message message, bool end);
int ew_flow_trailers(struct ew_filter *f, abi_filter envoy, enum message message);
/* False: the event is for nobody here. */
bool ew_flow_scheduled(struct ew_filter *f, abi_filter envoy, uint64_t event);

/* message.c */

struct ew_shape {
  bool grpc;      /* gRPC: content-type application/grpc... over HTTP/2 */
  bool streaming; /* a content type whose end is not to be waited for */
  bool coded;     /* has a content-encoding */
  bool websocket; /* the upgrade is to WebSocket */
  enum form form;
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
/* Appends all of them but the first `skip`; to a frame or to plain bytes. */
void ew_gather_after(struct ew_buffer *buffer, abi_filter envoy, int which, size_t skip);
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
