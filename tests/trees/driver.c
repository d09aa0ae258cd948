/* Runs the evaluator of trees without Python, for valgrind and sanitizers, which watch every access.
 *
 *   driver sums CASE OUT    compiles the forest of CASE, evaluates it on every path, writes all sums to OUT
 *   driver damage CASE      changes bytes of the tables and evaluates those that the check accepts
 *   driver text FILE        reads LightGBM's text whole, cut off at many places, and with changed bytes
 *   driver convert          converts matrices of every type and stride
 *
 * CASE: 9 int64 (features, low, high, single, outputs, trees, nodes, leaves, rows), the arrays of the forest in the order
 * of forest.h, the matrix [features][rows] of int8.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../native/trees/forest.h"
#include "../../native/trees/trees.h"

uint8_t *trees_compile(const ForestArrays *, int64_t *, char *, int64_t);
void trees_free(void *);
const char *trees_check(const uint8_t *, int64_t);
int trees_has(int);
int trees_evaluate(const uint8_t *, int, const int8_t *, int64_t, int64_t, int64_t, void *);
void *trees_read_lightgbm(const char *, int64_t, int64_t, int64_t, ForestArrays *, char *, int64_t);
void trees_free_lightgbm(void *);
int trees_convert(int, int, const void *, int64_t, int64_t, int64_t, int64_t, int, int, int8_t *);
int trees_within(const int8_t *, int64_t, int64_t, int64_t, int64_t, int, int);
int trees_transform(int, double, double *, int64_t, int64_t);

static uint64_t state = 88172645463325252u;

static uint64_t random_number(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    return state ^= state << 17;
}

static void *must(void *memory, const char *what)
{
    if (memory == NULL) {
        fprintf(stderr, "%s\n", what);
        exit(2);
    }
    return memory;
}

static char *read_file(const char *path, int64_t *length)
{
    FILE *file = must(fopen(path, "rb"), path);
    fseek(file, 0, SEEK_END);
    *length = ftell(file);
    rewind(file);
    char *content = must(malloc((size_t)*length), "memory");
    if (fread(content, 1, (size_t)*length, file) != (size_t)*length)
        exit(2);
    fclose(file);
    return content;
}

/* A copy of its own, so that a read beyond the end of one array is not one within another. */
static void *taken(const char **at, int64_t size)
{
    void *copy = must(malloc((size_t)size + !size), "memory");
    memcpy(copy, *at, (size_t)size);
    *at += size;
    return copy;
}

typedef struct {
    ForestArrays forest;
    int8_t *matrix;
    int64_t rows;
} Case;

static Case read_case(const char *path)
{
    int64_t length, head[9];
    char *content = read_file(path, &length);
    const char *at = content;
    memcpy(head, at, sizeof head);
    at += sizeof head;
    Case found = {.rows = head[8]};
    ForestArrays *f = &found.forest;
    *f = (ForestArrays){(int32_t)head[0], (int32_t)head[1], (int32_t)head[2], (int32_t)head[3], (int32_t)head[4],
                        0, head[5], head[6], head[7], 0, 0, 0, 0, 0, 0, 0, 0};
    f->roots = taken(&at, 4 * f->trees);
    f->outputs_of = taken(&at, 4 * f->trees);
    f->feature = taken(&at, 4 * f->nodes);
    f->threshold = taken(&at, 4 * f->nodes);
    f->left = taken(&at, 4 * f->nodes);
    f->right = taken(&at, 4 * f->nodes);
    f->values = taken(&at, 8 * f->leaves);
    f->start = taken(&at, 8 * f->outputs);
    found.matrix = taken(&at, f->features * found.rows);
    free(content);
    return found;
}

static void free_case(Case *c)
{
    const void *arrays[] = {c->forest.roots,     c->forest.outputs_of, c->forest.feature, c->forest.threshold,
                            c->forest.left,      c->forest.right,      c->forest.values,  c->forest.start,
                            c->matrix};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        free((void *)arrays[i]);
}

static void sums(const char *path, const char *out_path)
{
    Case c = read_case(path);
    int64_t length, size = c.forest.outputs * c.rows * (c.forest.single ? 4 : 8);
    char error[256];
    uint8_t *tables = must(trees_compile(&c.forest, &length, error, sizeof error), error);
    const char *wrong = trees_check(tables, length);
    if (wrong != NULL)
        must(NULL, wrong);
    int8_t *by_rows = must(malloc((size_t)(c.rows * c.forest.features)), "memory");
    for (int64_t row = 0; row < c.rows; row++)
        for (int f = 0; f < c.forest.features; f++)
            by_rows[row * c.forest.features + f] = c.matrix[f * c.rows + row];
    FILE *out = must(fopen(out_path, "wb"), out_path);
    void *found = must(malloc((size_t)size), "memory");
    for (int way = 0; way < 3; way++)
        for (int strided = 0; strided < 2 && trees_has(way); strided++) {
            if (trees_evaluate(tables, way, strided ? by_rows : c.matrix, c.rows, strided ? c.forest.features : 1,
                               strided ? 1 : c.rows, found))
                must(NULL, "it was not evaluated");
            fwrite(found, 1, (size_t)size, out);
        }
    fclose(out);
    free(found);
    free(by_rows);
    trees_free(tables);
    free_case(&c);
}

static void damage(const char *path)
{
    Case c = read_case(path);
    int64_t length;
    int accepted = 0;
    char error[256];
    uint8_t *tables = must(trees_compile(&c.forest, &length, error, sizeof error), error);
    for (int i = 0; i < 3000; i++) {
        uint8_t *damaged = must(malloc((size_t)length), "memory");
        memcpy(damaged, tables, (size_t)length);
        /* Half of them near the beginning, where the header and the trees are. */
        uint64_t range = i % 2 && length > 2000 ? 2000 : (uint64_t)length;
        for (uint64_t n = 1 + random_number() % 3; n > 0; n--)
            damaged[random_number() % range] = (uint8_t)random_number();
        const Header *h = (const Header *)damaged;
        if (trees_check(damaged, length) == NULL && h->features <= (uint32_t)c.forest.features && h->outputs <= 64) {
            double *out = must(malloc((size_t)(h->outputs * c.rows) * 8), "memory");
            for (int way = 0; way < 3; way++)
                if (trees_has(way))
                    trees_evaluate(damaged, way, c.matrix, c.rows, 1, c.rows, out);
            free(out);
            accepted++;
        }
        free(damaged);
    }
    printf("%d accepted\n", accepted);
    trees_free(tables);
    free_case(&c);
}

static int read_text(const char *text, int64_t length, int64_t trees)
{
    ForestArrays forest = {.features = 100, .low = -128, .high = 127, .outputs = 1};
    double start = 0;
    char error[256], *own = must(malloc((size_t)length + !length), "memory");
    memcpy(own, text, (size_t)length);
    void *read = trees_read_lightgbm(own, length, 0, trees, &forest, error, sizeof error);
    int good = read != NULL;
    if (good) {
        int64_t size;
        forest.start = &start;
        uint8_t *tables = trees_compile(&forest, &size, error, sizeof error);
        if (tables != NULL && trees_check(tables, size) != NULL)
            must(NULL, "compiled tables were refused");
        trees_free(tables);
    }
    trees_free_lightgbm(read);
    free(own);
    return good;
}

static void text(const char *path)
{
    int64_t length, trees = 0;
    char *content = read_file(path, &length);
    for (int64_t i = 0; i + 5 < length; i++)
        trees += memcmp(content + i, "Tree=", 5) == 0;
    if (!read_text(content, length, trees))
        must(NULL, "the text was not read");
    for (int64_t i = 0; i < length; i += 1 + length / 1500)
        read_text(content, i, trees);
    for (int i = 0; i < 1500; i++) {
        int64_t at = (int64_t)(random_number() % (uint64_t)length);
        char before = content[at];
        content[at] = "0123456789-e.= \n"[random_number() % 16];
        read_text(content, length, trees);
        content[at] = before;
    }
    free(content);
}

static void convert(void)
{
    enum { ROWS = 70, COLUMNS = 5 };
    const struct {
        int kind, size;
    } types[] = {{'i', 1}, {'i', 2}, {'i', 4}, {'i', 8}, {'u', 1}, {'u', 2},
                 {'u', 4}, {'u', 8}, {'b', 1}, {'f', 4}, {'f', 8}, {'c', 8}};
    for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
        int64_t size = types[t].size;
        char *from = must(calloc(ROWS * COLUMNS, (size_t)size), "memory");
        int8_t *to = must(calloc(ROWS, COLUMNS), "memory");
        for (int i = 0; i < 50; i++) {
            trees_convert(types[t].kind, (int)size, from, ROWS, COLUMNS, size, ROWS * size, 0, 4, to);
            trees_convert(types[t].kind, (int)size, from, ROWS, COLUMNS, COLUMNS * size, size, -128, 127, to);
            for (int64_t at = 0; at < ROWS * COLUMNS * size; at++)
                from[at] = (char)random_number();
        }
        trees_within(to, ROWS, COLUMNS, 1, ROWS, 0, 4);
        trees_within(to, ROWS, COLUMNS, COLUMNS, 1, 0, 4);
        trees_within(to, ROWS / 2, COLUMNS, 2, ROWS, 0, 4);
        free(from);
        free(to);
    }
    double values[6] = {-1, 0, 1, 700, -700, 2};
    for (int kind = 0; kind < 7; kind++)
        trees_transform(kind, 1, values, 2, 3);
}

int main(int count, char **arguments)
{
    const char *mode = count > 1 ? arguments[1] : "";
    if (strcmp(mode, "sums") == 0 && count == 4)
        sums(arguments[2], arguments[3]);
    else if (strcmp(mode, "damage") == 0 && count == 3)
        damage(arguments[2]);
    else if (strcmp(mode, "text") == 0 && count == 3)
        text(arguments[2]);
    else if (strcmp(mode, "convert") == 0)
        convert();
    else
        return 2;
    return 0;
}
