/* Every tests/fuzz/fuzz_NAME.c defines fuzz_NAME(data, size) and ends with
 * FUZZ_MAIN(fuzz_NAME). `make fuzz` builds each with libFuzzer (-DES_FUZZER); the ordinary
 * tests include the file and replay tests/fuzz/corpus/NAME/ through it, see
 * tests/support/corpus.h. */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>

#ifdef ES_FUZZER
#define FUZZ_MAIN(function)                                                              \
    int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);                        \
    int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)                         \
    {                                                                                    \
        return function(data, size);                                                     \
    }
#else
#define FUZZ_MAIN(function)
#endif

int fuzz_wire(const uint8_t *data, size_t size);
int fuzz_scenario(const uint8_t *data, size_t size);
int fuzz_agent_lines(const uint8_t *data, size_t size);
int fuzz_control(const uint8_t *data, size_t size);

#endif
