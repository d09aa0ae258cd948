/* Evaluating tree ensembles over small integers, bit-sliced: one bit is one row, one word is many rows.
 *
 * Rows are taken in blocks of 512 or 1024. For each distinct (feature, threshold) of the model a mask says which rows of the block
 * have value <= threshold. Each tree then turns masks into the bits ("planes") of each row's leaf label, and labels into
 * leaf values, which are added in the order of the trees.
 *
 * Nothing here allocates behind the caller's back, except where said, and nothing reads outside of what
 * `trees_check` has accepted.
 */
#ifndef PREDICTD_TREES_H
#define PREDICTD_TREES_H

#include <stddef.h>
#include <stdint.h>

#define API __attribute__((visibility("default")))

enum {
    UNIT = 512, /* rows; a block of rows is one unit or two */
    UNIT_BYTES = 64,
    SLOTS = 256,        /* scratch masks in front of the masks of an arena */
    ONES = 0,           /* the slot in which every row is set */
    ZEROS = 1,          /* the slot in which none is */
    FIRST_SLOT = 2,
    SMALL_PLANES = 5,
    SMALL_LEAVES = 32,
    MAX_PLANES = 16,
    BATCH = 8,          /* trees whose labels are made before their values are added */
    PERFECT_NODES = 31, /* of a tree of depth 5 */
};

/* How a tree's labels are made. */
enum { PERFECT = 0, SMALL = 1, DEEP = 2 };

/* The layout of tables, little-endian, each part aligned to 64 bytes:
 * header | start: double[outputs] | masks | runs | trees | program: u32[] | values: double[] or float[] */
typedef struct {
    uint32_t features, outputs, trees, masks, runs, single;
    int32_t low, high;
    uint64_t start_at, masks_at, runs_at, trees_at, program_at, values_at; /* bytes from the header */
    uint64_t program_words, values_count;
    uint64_t length; /* of everything, bytes */
    uint64_t reserved;
} Header;

typedef struct {
    uint32_t feature;
    int32_t threshold; /* within -128..127; the mask's bit is set for rows with value <= threshold */
} Mask;

/* Consecutive trees of one output, either all deep or none. */
typedef struct {
    uint32_t first, count, output, deep;
} Run;

/* program: PERFECT: 31 operands in heap order, a row whose bit is set goes left.
 *   SMALL: `steps` words `operand << 8 | source`: slot[FIRST_SLOT + i] = slot[source] & ~operand; then `items` pairs of
 *   bytes, the slots to XOR; plane j is the XOR of pairs ends[j - 1] to ends[j].
 *   DEEP: `steps` chunks of: words nodes, then nodes * (operand, source | target << 16), then for each of the planes:
 *   count, then that many slots, four to a word.
 * An operand is a slot below SLOTS, else SLOTS + a mask. */
typedef struct {
    uint32_t program, values; /* first word, first value */
    uint16_t steps, items;
    uint8_t kind, planes;
    uint8_t ends[SMALL_PLANES];
    uint8_t reserved[5];
} Tree;

/* What a call needs. `columns` points at the first value of each used mask's feature when `row_stride` is 1. */
typedef struct {
    const uint8_t *tables;
    const int8_t *matrix;
    int64_t rows, row_stride, column_stride; /* strides in bytes */
    double *out;                             /* [outputs][rows] float64, or float32 for single */
    uint8_t *scratch;
    int64_t scratch_bytes;
} Call;

typedef int (*Evaluate)(const Call *);

int evaluate_portable(const Call *call);
int evaluate_avx2(const Call *call);
int evaluate_avx512(const Call *call);
int evaluate_avx512_double(const Call *call);

#endif
