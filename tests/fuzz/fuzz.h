/* tests/fuzz/fuzz.h - the one function that every fuzzer defines. */
#pragma once
#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
