/* AVX-512 (F, BW, VL, DQ): a mask is one register, leaf values come from permutes of registers. */
#if defined(__x86_64__) && !defined(PORTABLE_ONLY)
#include <immintrin.h>
#include <string.h>

#include "trees.h"

#define TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,bmi2")))
#ifndef UNITS
#define UNITS 1
#define EVALUATE evaluate_avx512
#endif
#define VECTORS UNITS
typedef uint64_t Vector512 __attribute__((vector_size(64), may_alias));
#define VECTOR Vector512
#define TERNARY(a, b, c, table) \
    ((VECTOR)_mm512_ternarylogic_epi64((__m512i)(a), (__m512i)(b), (__m512i)(c), table))
#define XOR3(a, b, c) TERNARY(a, b, c, 0x96)
#define MUX(c, a, b) TERNARY(c, a, b, 0xca)

/* Row 64q + 4j + i of a unit has its label's low bits in nibble j of lane q of low[i]; its sum lies at step (i, j), lane q. */
typedef struct {
    struct {
        __m512i low[4], top;
    } unit[UNITS];
} Labels;

/* For float32: row 32d + 8j + i in byte j of 32-bit lane d of step i. */
#define POSITION(row, single)                                                                     \
    ((row) / UNIT * UNIT + ((single) ? (((row) & 7) * 4 + (((row) >> 3) & 3)) * 16 + (((row) >> 5) & 15) \
                                     : (((row) & 3) * 16 + (((row) >> 2) & 15)) * 8 + (((row) >> 6) & 7)))

TARGET static inline __attribute__((always_inline)) __m512i shifted_pair(__m512i low, __m512i high, int step, __m512i bits)
{
    /* (low & bits) | ((high << step) & ~bits) */
    return _mm512_ternarylogic_epi64(bits, low, _mm512_slli_epi64(high, step), 0xca);
}

TARGET static inline __attribute__((always_inline)) __m512i shifted_down(__m512i low, __m512i high, int step, __m512i bits)
{
    return _mm512_ternarylogic_epi64(bits, _mm512_srli_epi64(low, step), high, 0xca);
}

TARGET static inline __attribute__((always_inline)) void store_labels(Labels *labels, int w, const VECTOR *planes)
{
    const __m512i ones = _mm512_set1_epi64(0x5555555555555555), twos = _mm512_set1_epi64(0x3333333333333333);
    __m512i p0 = (__m512i)planes[0], p1 = (__m512i)planes[1], p2 = (__m512i)planes[2], p3 = (__m512i)planes[3];
    __m512i a0 = shifted_pair(p0, p1, 1, ones), a1 = shifted_down(p0, p1, 1, ones);
    __m512i b0 = shifted_pair(p2, p3, 1, ones), b1 = shifted_down(p2, p3, 1, ones);
    labels->unit[w].low[0] = shifted_pair(a0, b0, 2, twos);
    labels->unit[w].low[1] = shifted_pair(a1, b1, 2, twos);
    labels->unit[w].low[2] = shifted_down(a0, b0, 2, twos);
    labels->unit[w].low[3] = shifted_down(a1, b1, 2, twos);
    labels->unit[w].top = (__m512i)planes[4];
}

TARGET static void compare_block(const int8_t *column, int8_t threshold, uint8_t *mask)
{
    __m512i limit = _mm512_set1_epi8(threshold);
    uint64_t *out = (uint64_t *)mask;
    for (int i = 0; i < 8 * UNITS; i++)
        out[i] = _mm512_cmple_epi8_mask(_mm512_loadu_si512(column + 64 * i), limit);
}

#define STEP(J)                                                                                                 \
    {                                                                                                           \
        __m512i index = (J) ? _mm512_srli_epi64(low, 4 * (J)) : low;                                            \
        __mmask8 upper = _mm512_test_epi64_mask(top, _mm512_set1_epi64((long long)(1ull << (4 * (J)))));         \
        __m512d value = _mm512_mask_mov_pd(_mm512_permutex2var_pd(v0, index, v1), upper,                        \
                                           _mm512_permutex2var_pd(v2, index, v3));                              \
        sum##J = _mm512_add_pd(sum##J, value);                                                                  \
    }
#define EACH(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8) DO(9) DO(10) DO(11) DO(12) DO(13) DO(14) DO(15)
#define LOAD(J) __m512d sum##J = _mm512_load_pd(sums + (i * 16 + (J)) * 8);
#define SAVE(J) _mm512_store_pd(sums + (i * 16 + (J)) * 8, sum##J);

TARGET static void add_small(const Labels *labels, const Tree *trees, int count, int rows, const double *values, double *sums)
{
    int units = (rows + UNIT - 1) / UNIT;
    for (int u = 0; u < units; u++, sums += UNIT)
    for (int i = 0; i < 4; i++) {
        EACH(LOAD)
        for (int k = 0; k < count; k++) {
            const double *value = values + trees[k].values;
            __m512d v0 = _mm512_loadu_pd(value), v1 = _mm512_loadu_pd(value + 8);
            __m512d v2 = _mm512_loadu_pd(value + 16), v3 = _mm512_loadu_pd(value + 24);
            __m512i low = labels[k].unit[u].low[i], top = _mm512_srli_epi64(labels[k].unit[u].top, (unsigned)i);
            EACH(STEP)
        }
        EACH(SAVE)
    }
}
#undef STEP
#undef LOAD
#undef SAVE

#define STEP(J) sum##J = _mm512_add_ps(sum##J, _mm512_permutex2var_ps(v0, _mm512_srli_epi32(index, 8 * (J)), v1));
#define LOAD(J) __m512 sum##J = _mm512_load_ps(sums + (i * 4 + (J)) * 16);
#define SAVE(J) _mm512_store_ps(sums + (i * 4 + (J)) * 16, sum##J);

TARGET static void add_small_single(const Labels *labels, const Tree *trees, int count, int rows, const float *values, float *sums)
{
    const __m512i nibbles = _mm512_set1_epi64(0x0f0f0f0f0f0f0f0f), bits = _mm512_set1_epi64(0x1010101010101010);
    int units = (rows + UNIT - 1) / UNIT;
    for (int u = 0; u < units; u++, sums += UNIT)
    for (int i = 0; i < 8; i++) {
        LOAD(0) LOAD(1) LOAD(2) LOAD(3)
        for (int k = 0; k < count; k++) {
            const float *value = values + trees[k].values;
            __m512 v0 = _mm512_loadu_ps(value), v1 = _mm512_loadu_ps(value + 16);
            /* Row 8j + i of a lane's 32 is bit 8j + i of the planes: nibble 2j, of low[i] for i < 4, else nibble 2j + 1. */
            __m512i low = _mm512_srli_epi64(labels[k].unit[u].low[i & 3], i < 4 ? 0 : 4);
            __m512i top = i < 4 ? _mm512_slli_epi64(labels[k].unit[u].top, (unsigned)(4 - i))
                                : _mm512_srli_epi64(labels[k].unit[u].top, (unsigned)(i - 4));
            __m512i index = _mm512_or_si512(_mm512_and_si512(low, nibbles), _mm512_and_si512(top, bits));
            STEP(0) STEP(1) STEP(2) STEP(3)
        }
        SAVE(0) SAVE(1) SAVE(2) SAVE(3)
    }
}

#include "kernel.inc"
#endif
