/* The part of Envoy's dynamic-module ABI (v0.1.0, Envoy 1.38 and newer) that the shim uses, declared in our own words.
 * The reference is source/extensions/dynamic_modules/abi/abi.h in envoyproxy/envoy; names and layouts must match it. */
#ifndef EW_ABI_H
#define EW_ABI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EW_EXPORT __attribute__((visibility("default")))
#define EW_ABI_VERSION "v0.1.0"

/* Bytes that Envoy owns (valid until the event hook returns) or that we own (valid for the time of the call). */
typedef struct {
  const char *data;
  size_t size;
} abi_bytes;

typedef struct {
  const char *key;
  size_t key_size;
  const char *value;
  size_t value_size;
} abi_header;

typedef void *abi_config;    /* Envoy's object for one HTTP filter configuration */
typedef void *abi_filter;    /* Envoy's object for one stream */
typedef void *abi_scheduler; /* posts an event to a stream's worker from any thread */

enum { ABI_REQUEST_HEADERS = 0, ABI_RESPONSE_HEADERS = 2, ABI_RESPONSE_TRAILERS = 3 };
enum { ABI_RECEIVED_REQUEST_BODY, ABI_BUFFERED_REQUEST_BODY, ABI_RECEIVED_RESPONSE_BODY, ABI_BUFFERED_RESPONSE_BODY };
enum { ABI_HEADERS_CONTINUE = 0, ABI_HEADERS_STOP = 1 };
enum { ABI_BODY_CONTINUE = 0, ABI_BODY_STOP_AND_WATERMARK = 2, ABI_BODY_STOP_NO_BUFFER = 3 };
enum { ABI_TRAILERS_CONTINUE = 0, ABI_TRAILERS_STOP = 1 };
enum { ABI_METRIC_SUCCESS = 0 };
enum { ABI_LOG_INFO = 2, ABI_LOG_WARN = 3 };

/* Positions in the attribute enumeration; tests/contracts checks what they give on every supported Envoy. */
enum {
  ABI_ATTRIBUTE_REQUEST_PROTOCOL = 10,
  ABI_ATTRIBUTE_RESPONSE_CODE = 15,
  ABI_ATTRIBUTE_SOURCE_ADDRESS = 24,
  ABI_ATTRIBUTE_SOURCE_PORT = 25,
  ABI_ATTRIBUTE_TLS_VERSION = 31,
  ABI_ATTRIBUTE_SUBJECT_PEER = 33,
  ABI_ATTRIBUTE_DNS_SAN_PEER = 35,
  ABI_ATTRIBUTE_URI_SAN_PEER = 37,
};

/* There from Envoy 1.39 on; only whether it is there is asked. */
bool envoy_dynamic_module_callback_http_get_header_values(void) __attribute__((weak));

/* What Envoy offers. */
void envoy_dynamic_module_callback_log(int level, abi_bytes message);
bool envoy_dynamic_module_callback_is_validation_mode(void);
int envoy_dynamic_module_callback_http_filter_config_define_counter(abi_config, abi_bytes name, abi_bytes *labels, size_t count, size_t *id);
int envoy_dynamic_module_callback_http_filter_config_define_gauge(abi_config, abi_bytes name, abi_bytes *labels, size_t count, size_t *id);
int envoy_dynamic_module_callback_http_filter_increment_counter(abi_filter, size_t id, abi_bytes *values, size_t count, uint64_t by);
int envoy_dynamic_module_callback_http_filter_increment_gauge(abi_filter, size_t id, abi_bytes *values, size_t count, uint64_t by);
int envoy_dynamic_module_callback_http_filter_decrement_gauge(abi_filter, size_t id, abi_bytes *values, size_t count, uint64_t by);
size_t envoy_dynamic_module_callback_http_get_headers_size(abi_filter, int which);
bool envoy_dynamic_module_callback_http_get_headers(abi_filter, int which, abi_header *result);
bool envoy_dynamic_module_callback_http_set_header(abi_filter, int which, abi_bytes key, abi_bytes value);
void envoy_dynamic_module_callback_http_send_response(abi_filter, uint32_t status, abi_header *headers, size_t count, abi_bytes body, abi_bytes details);
void envoy_dynamic_module_callback_http_send_response_headers(abi_filter, abi_header *headers, size_t count, bool end);
void envoy_dynamic_module_callback_http_send_response_data(abi_filter, abi_bytes data, bool end);
void envoy_dynamic_module_callback_http_send_response_trailers(abi_filter, abi_header *trailers, size_t count);
void envoy_dynamic_module_callback_http_filter_reset_stream(abi_filter, int reason, abi_bytes details);
size_t envoy_dynamic_module_callback_http_get_body_size(abi_filter, int which);
size_t envoy_dynamic_module_callback_http_get_body_chunks_size(abi_filter, int which);
bool envoy_dynamic_module_callback_http_get_body_chunks(abi_filter, int which, abi_bytes *result);
bool envoy_dynamic_module_callback_http_append_body(abi_filter, int which, abi_bytes data);
bool envoy_dynamic_module_callback_http_drain_body(abi_filter, int which, size_t count);
void envoy_dynamic_module_callback_http_set_dynamic_metadata_string(abi_filter, abi_bytes space, abi_bytes key, abi_bytes value);
bool envoy_dynamic_module_callback_http_filter_get_attribute_string(abi_filter, int id, abi_bytes *result);
bool envoy_dynamic_module_callback_http_filter_get_attribute_int(abi_filter, int id, uint64_t *result);
abi_scheduler envoy_dynamic_module_callback_http_filter_scheduler_new(abi_filter);
void envoy_dynamic_module_callback_http_filter_scheduler_commit(abi_scheduler, uint64_t event);
void envoy_dynamic_module_callback_http_filter_scheduler_delete(abi_scheduler);
void envoy_dynamic_module_callback_http_filter_continue_decoding(abi_filter);
void envoy_dynamic_module_callback_http_filter_continue_encoding(abi_filter);
const void *envoy_dynamic_module_callback_get_most_specific_route_config(abi_filter);
uint64_t envoy_dynamic_module_callback_http_get_buffer_limit(abi_filter);
void envoy_dynamic_module_callback_http_set_buffer_limit(abi_filter, uint64_t limit);

#endif
