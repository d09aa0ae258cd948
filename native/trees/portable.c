/* Any machine with a C compiler: vectors of 128 bits, which compilers turn into SSE2, NEON or plain words. */
#include <string.h>

#include "trees.h"

#define TARGET
#define EVALUATE evaluate_portable
#define UNITS 1
#define VECTORS 4
typedef uint64_t Vector128 __attribute__((vector_size(16), may_alias));
#define VECTOR Vector128
#define XOR3(a, b, c) ((a) ^ (b) ^ (c))
#define MUX(c, a, b) mux128(c, a, b)

static inline __attribute__((always_inline)) VECTOR mux128(VECTOR c, VECTOR a, VECTOR b)
{
    return b ^ (c & (a ^ b));
}

/* Row 128w + 8b + i has its label in byte b of index[w][i]. */
typedef struct {
    uint8_t index[4][8][16];
} Labels;

#define POSITION(row, single) ((((row) >> 7) * 8 + ((row) & 7)) * 16 + (((row) >> 3) & 15))

static inline __attribute__((always_inline)) void exchange(VECTOR *low, VECTOR *high, int step, uint64_t bits)
{
    VECTOR mask = {bits, bits}, changed = ((*low >> step) ^ *high) & mask;
    *high ^= changed;
    *low ^= changed << step;
}

static inline __attribute__((always_inline)) void store_labels(Labels *labels, int w, const VECTOR *planes)
{
    VECTOR p[8] = {planes[0], planes[1], planes[2], planes[3], planes[4]};
    for (int j = 0; j < 6; j += 2)
        exchange(p + j, p + j + 1, 1, 0x5555555555555555u);
    for (int j = 0; j < 8; j++)
        if (!(j & 2))
            exchange(p + j, p + j + 2, 2, 0x3333333333333333u);
    for (int j = 0; j < 4; j++)
        exchange(p + j, p + j + 4, 4, 0x0f0f0f0f0f0f0f0fu);
    for (int j = 0; j < 8; j++)
        memcpy(labels->index[w][j], p + j, 16);
}

static void compare_block(const int8_t *column, int8_t threshold, uint8_t *mask)
{
    for (int i = 0; i < UNIT_BYTES; i++) {
        unsigned bits = 0;
        for (int j = 0; j < 8; j++)
            bits |= (unsigned)(column[8 * i + j] <= threshold) << j;
        mask[i] = (uint8_t)bits;
    }
}

#define ADD_SMALL(NAME, TYPE)                                                                                   \
    static void NAME(const Labels *labels, const Tree *trees, int count, int rows, const TYPE *values, TYPE *sums)        \
    {                                                                                                           \
        int k = 0;                                                                                              \
        (void)rows;                                                                                             \
        for (; k + 4 <= count; k += 4) {                                                                        \
            const TYPE *v0 = values + trees[k].values, *v1 = values + trees[k + 1].values;                      \
            const TYPE *v2 = values + trees[k + 2].values, *v3 = values + trees[k + 3].values;                  \
            const uint8_t *a = labels[k].index[0][0], *b = labels[k + 1].index[0][0];                           \
            const uint8_t *c = labels[k + 2].index[0][0], *d = labels[k + 3].index[0][0];                       \
            for (int row = 0; row < UNIT; row++)                                                               \
                sums[row] = (((sums[row] + v0[a[row]]) + v1[b[row]]) + v2[c[row]]) + v3[d[row]];                \
        }                                                                                                       \
        for (; k < count; k++) {                                                                                \
            const TYPE *value = values + trees[k].values;                                                       \
            const uint8_t *label = labels[k].index[0][0];                                                       \
            for (int row = 0; row < UNIT; row++)                                                               \
                sums[row] += value[label[row]];                                                                 \
        }                                                                                                       \
    }
ADD_SMALL(add_small, double)
ADD_SMALL(add_small_single, float)

#include "kernel.inc"
