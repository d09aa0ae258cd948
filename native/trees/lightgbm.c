/* LightGBM's text form of a model, into the arrays of a forest; and what its objectives do to sums. */
#include <float.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "forest.h"
#include "trees.h"

typedef struct {
    int32_t *roots, *outputs_of, *feature, *threshold, *left, *right;
    double *values;
    int64_t trees, nodes, leaves, tree_room, node_room, leaf_room;
} Read;

typedef struct {
    const char *at, *end;
    locale_t locale;
} Text;

static int grow(void *pointer, int64_t room, size_t size)
{
    void **array = pointer;
    void *larger = realloc(*array, (size_t)room * size);
    if (larger == NULL)
        return 0;
    *array = larger;
    return 1;
}

static int make_room(Read *r, int64_t leaves)
{
    if (r->trees + 1 > r->tree_room) {
        r->tree_room = r->tree_room * 2 + 1024;
        if (!grow(&r->roots, r->tree_room, 4) || !grow(&r->outputs_of, r->tree_room, 4))
            return 0;
    }
    if (r->nodes + leaves > r->node_room) {
        r->node_room = (r->nodes + leaves) * 2 + 4096;
        if (!grow(&r->feature, r->node_room, 4) || !grow(&r->threshold, r->node_room, 4) ||
            !grow(&r->left, r->node_room, 4) || !grow(&r->right, r->node_room, 4))
            return 0;
    }
    if (r->leaves + leaves > r->leaf_room) {
        r->leaf_room = (r->leaves + leaves) * 2 + 4096;
        if (!grow(&r->values, r->leaf_room, 8))
            return 0;
    }
    return 1;
}

static int is_end(const Text *text)
{
    return text->at >= text->end || *text->at == '\n' || *text->at == '\r';
}

static void skip_spaces(Text *text)
{
    while (text->at < text->end && *text->at == ' ')
        text->at++;
}

static int read_integer(Text *text, int64_t *out)
{
    int64_t value = 0;
    int negative, digits = 0;
    skip_spaces(text);
    negative = text->at < text->end && *text->at == '-';
    text->at += negative;
    for (; text->at < text->end && *text->at >= '0' && *text->at <= '9' && digits < 11; text->at++, digits++)
        value = value * 10 + (*text->at - '0');
    *out = negative ? -value : value;
    return digits > 0 && digits < 11;
}

static int read_slowly(Text *text, const char *start, double *out)
{
    char number[64], *stop;
    size_t length = 0;
    while (start + length < text->end && length < sizeof number - 1 && start[length] != ' ' &&
           start[length] != '\n' && start[length] != '\r') {
        number[length] = start[length];
        length++;
    }
    number[length] = 0;
    *out = strtod_l(number, &stop, text->locale);
    text->at = start + length;
    return length > 0 && stop == number + length;
}

/* A number rounded correctly, as LightGBM reads it. Up to 19 digits and small powers of ten are exact in an 80-bit float, so
 * that one rounded operation follows; where its result is too near the middle of two doubles, the C library decides. */
static int read_double(Text *text, double *out)
{
    skip_spaces(text);
    const char *start = text->at, *at = start, *end = text->end;
#if LDBL_MANT_DIG == 64
    static const long double powers[28] = {1e0L,  1e1L,  1e2L,  1e3L,  1e4L,  1e5L,  1e6L,  1e7L,  1e8L,  1e9L,
                                           1e10L, 1e11L, 1e12L, 1e13L, 1e14L, 1e15L, 1e16L, 1e17L, 1e18L, 1e19L,
                                           1e20L, 1e21L, 1e22L, 1e23L, 1e24L, 1e25L, 1e26L, 1e27L};
    uint64_t digits = 0;
    int count = 0, exponent = 0, negative = at < end && *at == '-', any = 0;
    at += negative;
    for (; at < end && *at >= '0' && *at <= '9'; at++, any = 1) {
        digits = digits * 10 + (uint64_t)(*at - '0');
        count += digits != 0;
    }
    if (at < end && *at == '.')
        for (at++; at < end && *at >= '0' && *at <= '9'; at++, any = 1) {
            digits = digits * 10 + (uint64_t)(*at - '0');
            count += digits != 0;
            exponent--;
        }
    if (any && at < end && (*at == 'e' || *at == 'E')) {
        int power = 0, below = 0, some = 0;
        at++;
        if (at < end && (*at == '-' || *at == '+'))
            below = *at++ == '-';
        for (; at < end && *at >= '0' && *at <= '9' && power < 10000; at++, some = 1)
            power = power * 10 + (*at - '0');
        exponent += below ? -power : power;
        any = some;
    }
    if (any && count <= 19 && exponent >= -27 && exponent <= 27 && (at >= end || *at == ' ' || *at == '\n' || *at == '\r')) {
        long double value = exponent < 0 ? (long double)digits / powers[-exponent] : (long double)digits * powers[exponent];
        uint64_t mantissa;
        memcpy(&mantissa, &value, 8);
        unsigned rest = mantissa & 0x7ff;
        if (digits == 0 || rest < 0x3ff || rest > 0x401) {
            *out = (double)(negative ? -value : value);
            text->at = at;
            return 1;
        }
    }
#endif
    return read_slowly(text, start, out);
}

static int32_t floor_of(double threshold)
{
    if (!(threshold >= -1000))
        return -1000;
    return threshold > 1000 ? 1000 : (int32_t)floor(threshold);
}

static int has_key(const Text *text, const char *key, size_t length)
{
    return (size_t)(text->end - text->at) > length && memcmp(text->at, key, length) == 0;
}

enum { SPLIT_FEATURE = 1, THRESHOLD = 2, DECISIONS = 4, LEFT = 8, RIGHT = 16, VALUES = 32, ALL_LINES = 63 };

static const char CUT_OFF[] = "its text form is cut off or has an unknown layout";

/* The values of one line of a tree of `leaves` leaves. Returns what is wrong, or NULL. */
static const char *read_line(Text *text, Read *r, int64_t leaves, int line)
{
    int64_t count = line == VALUES ? leaves : leaves - 1;
    for (int64_t i = 0; i < count; i++) {
        int64_t number = 0;
        double value = 0;
        int good = line == THRESHOLD || line == VALUES ? read_double(text, &value) : read_integer(text, &number);
        if (!good)
            return CUT_OFF;
        int64_t node = r->nodes + i;
        if (line == SPLIT_FEATURE)
            r->feature[node] = (int32_t)number;
        else if (line == THRESHOLD)
            r->threshold[node] = floor_of(value);
        else if (line == VALUES)
            r->values[r->leaves + i] = value;
        else if (line == DECISIONS) {
            if (number & 1)
                return "it has categorical splits";
            if ((number & 12) == 4)
                return "it treats zero as missing";
        } else {
            if (number < -leaves || number >= leaves - 1)
                return CUT_OFF;
            int64_t child = number >= 0 ? r->nodes + number : ~(r->leaves + ~number);
            (line == LEFT ? r->left : r->right)[node] = (int32_t)child;
        }
    }
    skip_spaces(text);
    return is_end(text) ? NULL : CUT_OFF;
}

/* One tree, from the line after `Tree=` to the next. */
static const char *read_tree(Text *text, Read *r, int keep)
{
    static const struct {
        const char *key;
        int line;
    } keys[] = {{"split_feature=", SPLIT_FEATURE}, {"threshold=", THRESHOLD}, {"decision_type=", DECISIONS},
                {"left_child=", LEFT},             {"right_child=", RIGHT},   {"leaf_value=", VALUES}};
    int64_t leaves = 0;
    int seen = 0;
    while (text->at < text->end && !has_key(text, "Tree=", 5) && !has_key(text, "end of trees", 12)) {
        const char *end = memchr(text->at, '\n', (size_t)(text->end - text->at));
        if (has_key(text, "num_leaves=", 11)) {
            text->at += 11;
            if (!read_integer(text, &leaves) || leaves < 1 || leaves > 1 << 24)
                return CUT_OFF;
            if (!make_room(r, leaves))
                return "";
        } else if (has_key(text, "is_linear=1", 11)) {
            return "it has linear trees";
        } else if (keep) {
            for (size_t k = 0; k < sizeof keys / sizeof *keys; k++) {
                size_t length = strlen(keys[k].key);
                if (!has_key(text, keys[k].key, length))
                    continue;
                if (leaves < 1 || seen & keys[k].line)
                    return CUT_OFF;
                text->at += length;
                const char *wrong = leaves > 1 || keys[k].line == VALUES ? read_line(text, r, leaves, keys[k].line) : NULL;
                if (wrong != NULL)
                    return wrong;
                seen |= keys[k].line;
                break;
            }
        }
        if (end == NULL)
            return CUT_OFF;
        text->at = end + 1;
    }
    if (leaves < 1 || (keep && (leaves > 1 ? seen != ALL_LINES : !(seen & VALUES))))
        return CUT_OFF;
    if (keep) {
        r->roots[r->trees] = leaves > 1 ? (int32_t)r->nodes : (int32_t)~r->leaves;
        r->trees++;
        r->nodes += leaves - 1;
        r->leaves += leaves;
        if (r->nodes > INT32_MAX / 2 || r->leaves > INT32_MAX / 2)
            return "it is too large";
    }
    return NULL;
}

static const char *read_trees(Text *text, Read *r, int64_t first, int64_t count)
{
    for (int64_t number = 0; !has_key(text, "end of trees", 12); number++) {
        if (!has_key(text, "Tree=", 5))
            return CUT_OFF;
        const char *end = memchr(text->at, '\n', (size_t)(text->end - text->at));
        if (end == NULL)
            return CUT_OFF;
        text->at = end + 1;
        const char *wrong = read_tree(text, r, number >= first && number < first + count);
        if (wrong != NULL)
            return wrong;
    }
    return r->trees == count ? NULL : CUT_OFF;
}

API void trees_free_lightgbm(void *memory)
{
    Read *r = memory;
    if (r == NULL)
        return;
    free(r->roots);
    free(r->outputs_of);
    free(r->feature);
    free(r->threshold);
    free(r->left);
    free(r->right);
    free(r->values);
    free(r);
}

/* Reads trees `first` to `first + count` of a model whose text begins at `Tree=0`; tree i adds to output i % outputs.
 * Fills the arrays of `forest` but not `start`; they live until the result is given to trees_free_lightgbm. NULL with the
 * reason in `error`, as a sentence about the model. */
API void *trees_read_lightgbm(const char *start, int64_t length, int64_t first, int64_t count, ForestArrays *forest,
                              char *error, int64_t error_size)
{
    Text text = {start, start + length, newlocale(LC_ALL_MASK, "C", (locale_t)0)};
    Read *r = calloc(1, sizeof *r);
    const char *wrong = text.locale == (locale_t)0 || r == NULL || !make_room(r, 1) ? "" : read_trees(&text, r, first, count);
    if (text.locale != (locale_t)0)
        freelocale(text.locale);
    if (wrong != NULL) {
        snprintf(error, (size_t)error_size, "%s", *wrong ? wrong : "not enough memory");
        trees_free_lightgbm(r);
        return NULL;
    }
    for (int64_t i = 0; i < r->trees; i++)
        r->outputs_of[i] = (int32_t)((first + i) % forest->outputs);
    forest->trees = r->trees;
    forest->nodes = r->nodes;
    forest->leaves = r->leaves;
    forest->roots = r->roots;
    forest->outputs_of = r->outputs_of;
    forest->feature = r->feature;
    forest->threshold = r->threshold;
    forest->left = r->left;
    forest->right = r->right;
    forest->values = r->values;
    return r;
}

/* What LightGBM's objectives make of sums, in the order of its own operations and by the same C library. */
enum { SQUARE_SIGNED = 1, EXPONENTIAL = 2, SIGMOID = 3, SOFTMAX = 4, LOG_EXPONENTIAL = 5 };

static void softmax(double *row, int64_t outputs)
{
    double most = row[0], sum = 0;
    for (int64_t k = 1; k < outputs; k++)
        most = most < row[k] ? row[k] : most;
    for (int64_t k = 0; k < outputs; k++) {
        row[k] = exp(row[k] - most);
        sum += row[k];
    }
    for (int64_t k = 0; k < outputs; k++)
        row[k] /= sum;
}

/* Transforms sums [rows][outputs] in place. Returns 0, or 1 for an unknown kind. */
API int trees_transform(int kind, double parameter, double *sums, int64_t rows, int64_t outputs)
{
    int64_t count = rows * outputs;
    if (kind == SQUARE_SIGNED)
        for (int64_t i = 0; i < count; i++)
            sums[i] = ((sums[i] > 0) - (sums[i] < 0)) * sums[i] * sums[i];
    else if (kind == EXPONENTIAL)
        for (int64_t i = 0; i < count; i++)
            sums[i] = exp(sums[i]);
    else if (kind == SIGMOID)
        for (int64_t i = 0; i < count; i++)
            sums[i] = 1.0 / (1.0 + exp(-parameter * sums[i]));
    else if (kind == SOFTMAX)
        for (int64_t i = 0; i < rows; i++)
            softmax(sums + i * outputs, outputs);
    else if (kind == LOG_EXPONENTIAL)
        for (int64_t i = 0; i < count; i++)
            sums[i] = log1p(exp(sums[i]));
    else
        return 1;
    return 0;
}
