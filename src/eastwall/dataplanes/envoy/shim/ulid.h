/* Event ids: ULIDs (https://github.com/ulid/spec), 48 bits of milliseconds and 80 random bits in Crockford base 32. */
#ifndef EW_ULID_H
#define EW_ULID_H

#include <stdint.h>

#define EW_ULID_SIZE 26

void ew_ulid(uint64_t unix_ms, char out[EW_ULID_SIZE]);
void ew_ulid_from(uint64_t unix_ms, uint64_t high16, uint64_t low64, char out[EW_ULID_SIZE]);

#endif
