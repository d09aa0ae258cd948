/* What tables may hold, which paths this machine has, and the call. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "trees.h"

enum { FEW_MASKS = 300 };

static int part_fits(const Header *h, uint64_t at, uint64_t count, uint64_t size)
{
    return at % 64 == 0 && at >= sizeof(Header) && at <= h->length && count <= (h->length - at) / size;
}

static int operand_fits(const Header *h, uint32_t operand, uint32_t slots)
{
    return operand < slots || (operand >= SLOTS && operand - SLOTS < h->masks);
}

static const char *check_perfect(const Header *h, const Tree *tree, const uint32_t *program, uint64_t words)
{
    if (words < PERFECT_NODES)
        return "a tree's program is cut off";
    for (int i = 0; i < PERFECT_NODES; i++)
        if (!operand_fits(h, program[i], FIRST_SLOT))
            return "a tree uses a mask that is not there";
    return tree->planes == SMALL_PLANES ? NULL : "a tree has a wrong number of planes";
}

static const char *check_small(const Header *h, const Tree *tree, const uint32_t *program, uint64_t words)
{
    uint32_t steps = tree->steps, items = tree->items;
    if (steps > SLOTS - FIRST_SLOT || items > SMALL_LEAVES * SMALL_PLANES || words < steps + (2 * items + 3) / 4)
        return "a tree's program is cut off or too long";
    for (uint32_t i = 0; i < steps; i++)
        if (!operand_fits(h, program[i] >> 8, FIRST_SLOT + i) || (program[i] & 255) >= FIRST_SLOT + i)
            return "a tree uses a mask that is not there";
    const uint8_t *pairs = (const uint8_t *)(program + steps);
    for (uint32_t i = 0; i < 2 * items; i++)
        if (pairs[i] >= FIRST_SLOT + steps)
            return "a tree uses a mask that is not there";
    for (int j = 0; j < SMALL_PLANES; j++)
        if (tree->ends[j] > items)
            return "a tree's planes end beyond its program";
    return tree->planes == SMALL_PLANES ? NULL : "a tree has a wrong number of planes";
}

static const char *check_deep(const Header *h, const Tree *tree, const uint32_t *program, uint64_t words)
{
    uint8_t known[SLOTS] = {1, 1};
    uint64_t at = 0;
    for (uint32_t chunk = 0; chunk < tree->steps; chunk++) {
        if (at >= words || (words - at - 1) / 2 < program[at])
            return "a tree's program is cut off";
        uint32_t nodes = program[at++];
        for (uint32_t i = 0; i < nodes; i++, at += 2) {
            uint32_t operand = program[at], source = program[at + 1] & 0xffff, target = program[at + 1] >> 16;
            if (!operand_fits(h, operand, SLOTS) || (operand < SLOTS && !known[operand]) || source >= SLOTS ||
                !known[source] || target < FIRST_SLOT || target >= SLOTS)
                return "a tree uses a mask that is not there";
            known[target] = 1;
        }
        for (int j = 0; j < tree->planes; j++) {
            if (at >= words || (words - at - 1) * 4 < program[at])
                return "a tree's program is cut off";
            uint32_t count = program[at++];
            const uint8_t *slot = (const uint8_t *)(program + at);
            for (uint32_t i = 0; i < count; i++)
                if (!known[slot[i]])
                    return "a tree uses a mask that is not there";
            at += ((uint64_t)count + 3) / 4;
        }
    }
    return NULL;
}

static const char *check_trees(const uint8_t *tables, const Header *h)
{
    const Run *runs = (const Run *)(tables + h->runs_at);
    const Tree *trees = (const Tree *)(tables + h->trees_at);
    const uint32_t *program = (const uint32_t *)(tables + h->program_at);
    uint32_t next = 0;
    for (uint32_t r = 0; r < h->runs; r++) {
        if (runs[r].first != next || runs[r].count > h->trees - next || runs[r].output >= h->outputs ||
            runs[r].deep > 1)
            return "a run of trees is out of range";
        next += runs[r].count;
        for (uint32_t i = runs[r].first; i < next; i++) {
            const Tree *tree = trees + i;
            if (tree->planes > MAX_PLANES || tree->program > h->program_words || tree->values > h->values_count ||
                h->values_count - tree->values < 1ull << tree->planes)
                return "a tree lies beyond the tables";
            if ((tree->kind == DEEP) != (int)runs[r].deep)
                return "a tree is in a run of another kind";
            const uint32_t *own = program + tree->program;
            uint64_t words = h->program_words - tree->program;
            const char *wrong = tree->kind == PERFECT ? check_perfect(h, tree, own, words)
                                : tree->kind == SMALL ? check_small(h, tree, own, words)
                                : tree->kind == DEEP  ? check_deep(h, tree, own, words)
                                                      : "a tree is of an unknown kind";
            if (wrong != NULL)
                return wrong;
        }
    }
    return next == h->trees ? NULL : "trees are missing";
}

/* NULL if evaluating these tables reads nothing outside of them (of an arena's masks, of a matrix with as many columns as
 * `features`), else what is wrong. `tables` must be aligned to 8 bytes. */
API const char *trees_check(const uint8_t *tables, int64_t length)
{
    const Header *h = (const Header *)tables;
    if (length < (int64_t)sizeof *h)
        return "they are cut off";
    if (h->length != (uint64_t)length)
        return "their length is wrong";
    if (h->single > 1 || h->low < -128 || h->high > 127 || h->low > h->high || h->features < 1 ||
        h->features > 1 << 20 || h->outputs < 1 || h->outputs > 1 << 16 || h->masks >= (1 << 24) - SLOTS)
        return "their header is wrong";
    if (!part_fits(h, h->start_at, h->outputs, 8) || !part_fits(h, h->masks_at, h->masks, sizeof(Mask)) ||
        !part_fits(h, h->runs_at, h->runs, sizeof(Run)) || !part_fits(h, h->trees_at, h->trees, sizeof(Tree)) ||
        !part_fits(h, h->program_at, h->program_words, 4) ||
        !part_fits(h, h->values_at, h->values_count, h->single ? 4 : 8))
        return "a part lies beyond their end";
    const Mask *masks = (const Mask *)(tables + h->masks_at);
    for (uint32_t i = 0; i < h->masks; i++)
        if (masks[i].feature >= h->features || masks[i].threshold < -128 || masks[i].threshold > 127)
            return "a mask is of a feature that is not there";
    return check_trees(tables, h);
}

/* 0 portable, 1 AVX2, 2 AVX-512: whether this machine and this build have it. */
API int trees_has(int path)
{
#if defined(__x86_64__) && !defined(PORTABLE_ONLY)
    __builtin_cpu_init();
    if (path == 1)
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2");
    if (path == 2)
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
               __builtin_cpu_supports("bmi2");
#endif
    return path == 0;
}

/* Blocks of two units pay where programs take long to read and both units' masks fit the first-level cache. */
static int units_for(const uint8_t *tables, int path, int64_t rows)
{
    const Header *h = (const Header *)tables;
    const Tree *trees = (const Tree *)(tables + h->trees_at);
    return path == 2 && rows > UNIT && h->trees > 0 && trees[0].kind != PERFECT && h->masks <= FEW_MASKS ? 2 : 1;
}

/* Sums of rows by checked tables: out[outputs][rows], float32 for `single`, else float64. The matrix is int8 with values
 * in the tables' range, strides in bytes. Returns 0; 1 when there is not enough memory; 2 when there is no such path. */
API int trees_evaluate(const uint8_t *tables, int path, const int8_t *matrix, int64_t rows, int64_t row_stride,
                       int64_t column_stride, void *out)
{
    const Header *h = (const Header *)tables;
    if (path < 0 || path > 2 || !trees_has(path))
        return 2;
    int units = units_for(tables, path, rows);
    int64_t each = (((int64_t)SLOTS + h->masks) * UNIT_BYTES + (int64_t)h->outputs * UNIT * 8) * units;
    int64_t blocks = (rows + UNIT * units - 1) / (UNIT * units), cache = 1 << 20;
    int64_t size = blocks < cache / each ? blocks * each : cache > each ? cache : each;
    uint8_t *scratch = rows > 0 ? aligned_alloc(64, (size_t)((size + 63) / 64 * 64)) : NULL;
    if (scratch == NULL)
        return rows > 0;
    Call call = {tables, matrix, rows, row_stride, column_stride, out, scratch, size};
    int failed;
#if defined(__x86_64__) && !defined(PORTABLE_ONLY)
    if (path == 2)
        failed = units == 2 ? evaluate_avx512_double(&call) : evaluate_avx512(&call);
    else if (path == 1)
        failed = evaluate_avx2(&call);
    else
#endif
        failed = evaluate_portable(&call);
    free(scratch);
    return failed;
}
