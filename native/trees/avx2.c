/* AVX2: a mask is two registers; leaf values come from permutes of float tables, the halves of doubles apart. */
#if defined(__x86_64__) && !defined(PORTABLE_ONLY)
#include <immintrin.h>
#include <string.h>

#include "trees.h"

#define TARGET __attribute__((target("avx2,bmi2")))
#define EVALUATE evaluate_avx2
#define UNITS 1
#define VECTORS 2
typedef uint64_t Vector256 __attribute__((vector_size(32), may_alias));
#define VECTOR Vector256
#define XOR3(a, b, c) ((a) ^ (b) ^ (c))
#define MUX(c, a, b) mux256(c, a, b)

TARGET static inline __attribute__((always_inline)) VECTOR mux256(VECTOR c, VECTOR a, VECTOR b)
{
    return b ^ (c & (a ^ b));
}

/* Row 256w + 32d + 8j + i has its label in byte j of 32-bit lane d of index[w][i]. */
typedef struct {
    __m256i index[2][8];
} Labels;

/* Doubles are put together within halves of a register, hence in the order 0 1 4 5 2 3 6 7. */
#define POSITION(row, single)                                             \
    (((((row) >> 8) * 8 + ((row) & 7)) * 4 + (((row) >> 3) & 3)) * 8 +     \
     ((single) ? ((row) >> 5) & 7 : (((row) >> 5) & 1) + (((row) >> 7) & 1) * 2 + (((row) >> 6) & 1) * 4))

TARGET static inline __attribute__((always_inline)) __m256i low_pair(__m256i low, __m256i high, int step, __m256i bits)
{
    return _mm256_or_si256(_mm256_and_si256(low, bits), _mm256_andnot_si256(bits, _mm256_slli_epi64(high, step)));
}

TARGET static inline __attribute__((always_inline)) __m256i high_pair(__m256i low, __m256i high, int step, __m256i bits)
{
    return _mm256_or_si256(_mm256_and_si256(_mm256_srli_epi64(low, step), bits), _mm256_andnot_si256(bits, high));
}

TARGET static inline __attribute__((always_inline)) void store_labels(Labels *labels, int w, const VECTOR *planes)
{
    const __m256i ones = _mm256_set1_epi8(0x55), twos = _mm256_set1_epi8(0x33), fours = _mm256_set1_epi8(0x0f);
    __m256i p0 = (__m256i)planes[0], p1 = (__m256i)planes[1], p2 = (__m256i)planes[2], p3 = (__m256i)planes[3];
    __m256i p4 = (__m256i)planes[4];
    __m256i a[2] = {low_pair(p0, p1, 1, ones), high_pair(p0, p1, 1, ones)};
    __m256i b[2] = {low_pair(p2, p3, 1, ones), high_pair(p2, p3, 1, ones)};
    __m256i low[4] = {low_pair(a[0], b[0], 2, twos), low_pair(a[1], b[1], 2, twos), high_pair(a[0], b[0], 2, twos),
                      high_pair(a[1], b[1], 2, twos)};
    const __m256i bit = _mm256_set1_epi8(0x10);
    for (int i = 0; i < 4; i++) {
        __m256i top = _mm256_and_si256(_mm256_slli_epi64(p4, 4 - i), bit);
        labels->index[w][i] = _mm256_or_si256(_mm256_and_si256(low[i], fours), top);
        top = _mm256_and_si256(_mm256_srli_epi64(p4, i), bit);
        labels->index[w][i + 4] =
            _mm256_or_si256(_mm256_and_si256(_mm256_srli_epi64(low[i], 4), fours), top);
    }
}

TARGET static void compare_block(const int8_t *column, int8_t threshold, uint8_t *mask)
{
    __m256i limit = _mm256_set1_epi8(threshold);
    uint32_t *out = (uint32_t *)mask;
    for (int i = 0; i < UNIT / 32; i++) {
        __m256i above = _mm256_cmpgt_epi8(_mm256_loadu_si256((const __m256i *)(column + 32 * i)), limit);
        out[i] = ~(uint32_t)_mm256_movemask_epi8(above);
    }
}

/* The entry of 32 that each lane's index names: bits 3 and 4 choose among four permutes. */
TARGET static inline __attribute__((always_inline)) __m256 entry_of(const float *table, __m256i index, __m256 bit3, __m256 bit4)
{
    __m256 a = _mm256_permutevar8x32_ps(_mm256_loadu_ps(table), index);
    __m256 b = _mm256_permutevar8x32_ps(_mm256_loadu_ps(table + 8), index);
    __m256 c = _mm256_permutevar8x32_ps(_mm256_loadu_ps(table + 16), index);
    __m256 d = _mm256_permutevar8x32_ps(_mm256_loadu_ps(table + 24), index);
    return _mm256_blendv_ps(_mm256_blendv_ps(a, b, bit3), _mm256_blendv_ps(c, d, bit3), bit4);
}

TARGET static void add_small(const Labels *labels, const Tree *trees, int count, int rows, const double *values, double *sums)
{
    (void)rows;
    float half[BATCH][2][SMALL_LEAVES] __attribute__((aligned(32)));
    for (int k = 0; k < count; k++) {
        const float *from = (const float *)(values + trees[k].values);
        for (int i = 0; i < SMALL_LEAVES; i += 8) {
            __m256 a = _mm256_loadu_ps(from + 2 * i), b = _mm256_loadu_ps(from + 2 * i + 8);
            for (int part = 0; part < 2; part++) {
                __m256 mixed = part ? _mm256_shuffle_ps(a, b, 0xdd) : _mm256_shuffle_ps(a, b, 0x88);
                _mm256_store_pd((double *)(half[k][part] + i),
                                _mm256_permute4x64_pd(_mm256_castps_pd(mixed), 0xd8));
            }
        }
    }
    for (int i = 0; i < 16; i++) {
        __m256d sum[8];
        for (int j = 0; j < 8; j++)
            sum[j] = _mm256_load_pd(sums + i * 32 + 4 * j);
        for (int k = 0; k < count; k++) {
            __m256i labels_here = labels[k].index[i >> 3][i & 7];
#pragma GCC unroll 4
            for (int j = 0; j < 4; j++) {
                __m256i index = _mm256_srli_epi32(labels_here, 8 * j);
                __m256 bit3 = _mm256_castsi256_ps(_mm256_slli_epi32(index, 28));
                __m256 bit4 = _mm256_castsi256_ps(_mm256_slli_epi32(index, 27));
                __m256 low = entry_of(half[k][0], index, bit3, bit4);
                __m256 high = entry_of(half[k][1], index, bit3, bit4);
                sum[2 * j] = _mm256_add_pd(sum[2 * j], _mm256_castps_pd(_mm256_unpacklo_ps(low, high)));
                sum[2 * j + 1] = _mm256_add_pd(sum[2 * j + 1], _mm256_castps_pd(_mm256_unpackhi_ps(low, high)));
            }
        }
        for (int j = 0; j < 8; j++)
            _mm256_store_pd(sums + i * 32 + 4 * j, sum[j]);
    }
}

TARGET static void add_small_single(const Labels *labels, const Tree *trees, int count, int rows, const float *values, float *sums)
{
    (void)rows;
    for (int i = 0; i < 16; i++) {
        __m256 sum[4];
        for (int j = 0; j < 4; j++)
            sum[j] = _mm256_load_ps(sums + i * 32 + 8 * j);
        for (int k = 0; k < count; k++) {
            __m256i labels_here = labels[k].index[i >> 3][i & 7];
#pragma GCC unroll 4
            for (int j = 0; j < 4; j++) {
                __m256i index = _mm256_srli_epi32(labels_here, 8 * j);
                __m256 bit3 = _mm256_castsi256_ps(_mm256_slli_epi32(index, 28));
                __m256 bit4 = _mm256_castsi256_ps(_mm256_slli_epi32(index, 27));
                sum[j] = _mm256_add_ps(sum[j], entry_of(values + trees[k].values, index, bit3, bit4));
            }
        }
        for (int j = 0; j < 4; j++)
            _mm256_store_ps(sums + i * 32 + 8 * j, sum[j]);
    }
}

#include "kernel.inc"
#endif
