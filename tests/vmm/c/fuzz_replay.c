/* SPDX-License-Identifier: BSD-2-Clause */

/* Runs a fuzzer's function on each of the files that are named, without libFuzzer, and prints how many there
 * were. */
#include <stdio.h>

#include "fuzz.h"

int main(int argc, char **argv)
{
    static uint8_t data[65536];
    for (int i = 1; i < argc; i++) {
        FILE *file = fopen(argv[i], "rb");
        if (file == NULL) {
            perror(argv[i]);
            return 2;
        }
        size_t size = fread(data, 1, sizeof(data), file);
        fclose(file);
        fprintf(stderr, "%s\n", argv[i]); /* the last one is the one that broke it */
        /* A block of its own, so that a read behind its end is seen. */
        uint8_t *input = malloc(size ? size : 1);
        if (input == NULL) {
            return 2;
        }
        for (size_t at = 0; at < size; at++) {
            input[at] = data[at];
        }
        LLVMFuzzerTestOneInput(input, size);
        free(input);
    }
    printf("%d\n", argc - 1);
    return 0;
}
