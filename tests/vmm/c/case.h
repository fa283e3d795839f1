/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Test cases in C. A program lists its cases with CASES(...) and runs the one it is given; a failed CHECK
 * says what and where, and fails the program.
 */
#ifndef CASE_H
#define CASE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition)                                                                                     \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            printf("%s:%d: %s\n", __FILE__, __LINE__, #condition);                                           \
            exit(1);                                                                                         \
        }                                                                                                    \
    } while (0)

#define EQUAL(actual, expected)                                                                              \
    do {                                                                                                     \
        unsigned long long actual_ = (unsigned long long)(actual);                                           \
        unsigned long long expected_ = (unsigned long long)(expected);                                       \
        if (actual_ != expected_) {                                                                          \
            printf("%s:%d: %s is %#llx, not %#llx\n", __FILE__, __LINE__, #actual, actual_, expected_);      \
            exit(1);                                                                                         \
        }                                                                                                    \
    } while (0)

struct test_case {
    const char *name;
    void (*run)(void);
};

#define CASE(name) static void name(void)

static inline int run_case(const struct test_case *cases, int argc, char **argv)
{
    for (const struct test_case *each = cases; argc == 2 && each->name != NULL; each++) {
        if (strcmp(each->name, argv[1]) == 0) {
            each->run();
            return 0;
        }
    }
    printf("there is no case of that name\n");
    return 2;
}

#endif
