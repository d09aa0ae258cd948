/* From what models are given to a matrix of int8, or the finding that it holds something else. */
#include <stdint.h>

#include "trees.h"

enum { SQUARE = 64 };

/* Conversions in squares, so that neither side's stride leaves the caches. `WHOLE` is whether a value is a whole number in
 * range; NaN is not. The test is gathered without a branch, so that compilers can make vectors of it. */
#define CONVERT(NAME, TYPE, WHOLE)                                                                                  \
    static int NAME(const char *from, int64_t rows, int64_t columns, int64_t row_stride, int64_t column_stride,     \
                    TYPE low, TYPE high, int8_t *to)                                                                \
    {                                                                                                               \
        for (int64_t first = 0; first < rows; first += SQUARE * 8) {                                                \
            int64_t last = first + SQUARE * 8 < rows ? first + SQUARE * 8 : rows;                                   \
            for (int64_t left = 0; left < columns; left += SQUARE) {                                                \
                int64_t right = left + SQUARE < columns ? left + SQUARE : columns;                                  \
                for (int64_t column = left; column < right; column++) {                                             \
                    const char *at = from + column * column_stride + first * row_stride;                            \
                    int8_t *out = to + column * rows + first;                                                       \
                    int wrong = 0;                                                                                  \
                    if (row_stride == (int64_t)sizeof(TYPE)) {                                                      \
                        const TYPE *values = (const TYPE *)at;                                                      \
                        for (int64_t i = 0; i < last - first; i++) {                                                \
                            TYPE value = values[i], inside = value >= low && value <= high ? value : low;           \
                            int8_t small = (int8_t)inside;                                                          \
                            wrong |= !(WHOLE);                                                                      \
                            out[i] = small;                                                                         \
                        }                                                                                           \
                    } else {                                                                                        \
                        for (int64_t i = 0; i < last - first; i++) {                                                \
                            TYPE value = *(const TYPE *)(at + i * row_stride);                                      \
                            TYPE inside = value >= low && value <= high ? value : low;                              \
                            int8_t small = (int8_t)inside;                                                          \
                            wrong |= !(WHOLE);                                                                      \
                            out[i] = small;                                                                         \
                        }                                                                                           \
                    }                                                                                               \
                    if (wrong)                                                                                      \
                        return 1;                                                                                   \
                }                                                                                                   \
            }                                                                                                       \
        }                                                                                                           \
        return 0;                                                                                                   \
    }

CONVERT(convert_int8, int8_t, value == small)
CONVERT(convert_int16, int16_t, value == small)
CONVERT(convert_int32, int32_t, value == small)
CONVERT(convert_int64, int64_t, value == small)
CONVERT(convert_uint8, uint8_t, value == (uint8_t)small)
CONVERT(convert_uint16, uint16_t, value == (uint16_t)small)
CONVERT(convert_uint32, uint32_t, value == (uint32_t)small)
CONVERT(convert_uint64, uint64_t, value == (uint64_t)small)
CONVERT(convert_float, float, value == (float)small)
CONVERT(convert_double, double, value == (double)small)

/* Copies a matrix into int8 columns of `rows` values each. `kind` is NumPy's kind of number ('b' for bool) and `size` its
 * bytes; strides are in bytes and each value must be aligned. Returns 0; 1 when a value is not a whole number in low..high
 * (within -128..127); 2 for another type. */
API int trees_convert(int kind, int size, const void *from, int64_t rows, int64_t columns, int64_t row_stride,
                      int64_t column_stride, int low, int high, int8_t *to)
{
    int least = low > 0 ? low : 0;
    if (kind != 'i' && kind != 'f' && high < 0)
        return 1;
#define CALL(NAME, TYPE, LOW) \
    return NAME(from, rows, columns, row_stride, column_stride, (TYPE)(LOW), (TYPE)high, to)
    if (kind == 'i' && size == 1)
        CALL(convert_int8, int8_t, low);
    if (kind == 'i' && size == 2)
        CALL(convert_int16, int16_t, low);
    if (kind == 'i' && size == 4)
        CALL(convert_int32, int32_t, low);
    if (kind == 'i' && size == 8)
        CALL(convert_int64, int64_t, low);
    if ((kind == 'u' || kind == 'b') && size == 1)
        CALL(convert_uint8, uint8_t, least);
    if (kind == 'u' && size == 2)
        CALL(convert_uint16, uint16_t, least);
    if (kind == 'u' && size == 4)
        CALL(convert_uint32, uint32_t, least);
    if (kind == 'u' && size == 8)
        CALL(convert_uint64, uint64_t, least);
    if (kind == 'f' && size == 4)
        CALL(convert_float, float, low);
    if (kind == 'f' && size == 8)
        CALL(convert_double, double, low);
    return 2;
}

/* 0 when all int8 values lie in low..high, else 1. Strides in bytes. */
API int trees_within(const int8_t *matrix, int64_t rows, int64_t columns, int64_t row_stride, int64_t column_stride,
                     int low, int high)
{
    int64_t outer = columns, inner = rows, outer_stride = column_stride, inner_stride = row_stride;
    if (row_stride != 1 && column_stride == 1) {
        outer = rows, inner = columns, outer_stride = row_stride, inner_stride = column_stride;
    }
    for (int64_t i = 0; i < outer; i++) {
        const int8_t *at = matrix + i * outer_stride;
        int8_t least = 127, most = -128;
        if (inner_stride == 1)
            for (int64_t j = 0; j < inner; j++) {
                least = at[j] < least ? at[j] : least;
                most = at[j] > most ? at[j] : most;
            }
        else
            for (int64_t j = 0; j < inner; j++) {
                int8_t value = at[j * inner_stride];
                least = value < least ? value : least;
                most = value > most ? value : most;
            }
        if (inner > 0 && (least < low || most > high))
            return 1;
    }
    return 0;
}
