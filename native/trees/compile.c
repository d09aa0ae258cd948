/* From a forest to tables. */
#include "compile.h"

static int put_tree(Compiler *c, int64_t root)
{
    if (read_tree(c, root) != 0)
        return -1;
    size_t value_size = c->forest->single ? sizeof(float) : sizeof(double);
    Tree tree = {0};
    if (c->program.length / 4 > UINT32_MAX || c->values.length / value_size > UINT32_MAX)
        return fail(c, "the model is too large");
    tree.program = (uint32_t)(c->program.length / 4);
    tree.values = (uint32_t)(c->values.length / value_size);
    put_program(c, &tree);
    void *at = extend(&c->trees, sizeof tree);
    if (at != NULL)
        memcpy(at, &tree, sizeof tree);
    return 0;
}

/* Numbers the masks in use by feature and threshold; returns how many, or -1. */
static int64_t number_masks(Compiler *c)
{
    const ForestArrays *f = c->forest;
    int64_t masks = 0, size = (int64_t)f->features * 256;
    for (int64_t i = 0; i < f->nodes; i++)
        if (f->feature[i] >= 0 && f->feature[i] < f->features && f->threshold[i] >= f->low &&
            f->threshold[i] < f->high)
            c->mask_of[(int64_t)f->feature[i] * 256 + f->threshold[i] + 128] = 1;
    for (int64_t i = 0; i < size; i++)
        if (c->mask_of[i])
            c->mask_of[i] = (uint32_t)++masks;
    if (masks >= (1 << 24) - SLOTS)
        return fail(c, "more than 16 million different splits");
    return masks;
}

static int64_t aligned(int64_t at)
{
    return (at + 63) / 64 * 64;
}

/* Puts the parts together in memory from malloc. */
static uint8_t *assemble(Compiler *c, int64_t masks, const Buffer *runs, int64_t *length)
{
    const ForestArrays *f = c->forest;
    Header header = {
        .features = (uint32_t)f->features,
        .outputs = (uint32_t)f->outputs,
        .trees = (uint32_t)f->trees,
        .masks = (uint32_t)masks,
        .runs = (uint32_t)(runs->length / sizeof(Run)),
        .single = (uint32_t)f->single,
        .low = f->low,
        .high = f->high,
        .program_words = c->program.length / 4,
        .values_count = c->values.length / (f->single ? sizeof(float) : sizeof(double)),
    };
    int64_t at = aligned(sizeof header);
    header.start_at = (uint64_t)at;
    at = aligned(at + (int64_t)f->outputs * 8);
    header.masks_at = (uint64_t)at;
    at = aligned(at + masks * (int64_t)sizeof(Mask));
    header.runs_at = (uint64_t)at;
    at = aligned(at + (int64_t)runs->length);
    header.trees_at = (uint64_t)at;
    at = aligned(at + (int64_t)c->trees.length);
    header.program_at = (uint64_t)at;
    at = aligned(at + (int64_t)c->program.length);
    header.values_at = (uint64_t)at;
    at = aligned(at + (int64_t)c->values.length);
    header.length = (uint64_t)at;
    uint8_t *out = calloc(1, (size_t)at);
    if (out == NULL)
        return NULL;
    memcpy(out, &header, sizeof header);
    memcpy(out + header.start_at, f->start, (size_t)f->outputs * 8);
    Mask *mask = (Mask *)(out + header.masks_at);
    for (int64_t i = 0; i < (int64_t)f->features * 256; i++)
        if (c->mask_of[i])
            *mask++ = (Mask){(uint32_t)(i / 256), (int32_t)(i % 256) - 128};
    if (runs->length)
        memcpy(out + header.runs_at, runs->bytes, runs->length);
    if (c->trees.length)
        memcpy(out + header.trees_at, c->trees.bytes, c->trees.length);
    if (c->program.length)
        memcpy(out + header.program_at, c->program.bytes, c->program.length);
    if (c->values.length)
        memcpy(out + header.values_at, c->values.bytes, c->values.length);
    *length = at;
    return out;
}

static int put_trees(Compiler *c, Buffer *runs)
{
    const ForestArrays *f = c->forest;
    Run run = {0, 0, 0, 2};
    uint32_t number = 0;
    for (int32_t output = 0; output < f->outputs; output++) {
        for (int64_t i = 0; i < f->trees; i++) {
            if (f->outputs_of[i] < 0 || f->outputs_of[i] >= f->outputs)
                return fail(c, "a tree adds to an output that is not there");
            if (f->outputs_of[i] != output)
                continue;
            if (put_tree(c, f->roots[i]) != 0)
                return -1;
            if (c->trees.failed)
                return 0;
            const Tree *tree = (const Tree *)(c->trees.bytes + c->trees.length) - 1;
            uint32_t deep = tree->kind == DEEP;
            if (run.deep != deep || run.output != (uint32_t)output) {
                void *at = run.count ? extend(runs, sizeof run) : NULL;
                if (at != NULL)
                    memcpy(at, &run, sizeof run);
                run = (Run){number, 0, (uint32_t)output, deep};
            }
            run.count++;
            number++;
        }
    }
    void *at = run.count ? extend(runs, sizeof run) : NULL;
    if (at != NULL)
        memcpy(at, &run, sizeof run);
    return 0;
}

static int is_sound(Compiler *c)
{
    const ForestArrays *f = c->forest;
    if (f->features < 1 || f->features > 1 << 20)
        return fail(c, "a model must have 1 to 1,048,576 features");
    if (f->low < -128 || f->high > 127 || f->low > f->high)
        return fail(c, "the range of input values must lie within -128 to 127");
    if (f->outputs < 1 || f->outputs > 1 << 16)
        return fail(c, "a model must have 1 to 65,536 outputs");
    if (f->trees < 0 || f->nodes < 0 || f->leaves < 0 || f->trees > INT32_MAX || f->nodes > INT32_MAX ||
        f->leaves > INT32_MAX)
        return fail(c, "the model is too large");
    return 0;
}

/* Tables of a forest, in memory that the caller gives to `trees_free`; NULL with the reason in `error`. */
API uint8_t *trees_compile(const ForestArrays *forest, int64_t *length, char *error, int64_t error_size)
{
    Compiler c = {.forest = forest, .error = error, .error_size = (size_t)error_size};
    Buffer runs = {0};
    uint8_t *out = NULL;
    error[0] = 0;
    if (is_sound(&c) == 0) {
        int64_t most = forest->nodes + 1 < MOST_LEAVES ? forest->nodes + 1 : MOST_LEAVES;
        c.mask_of = calloc((size_t)forest->features * 256, sizeof *c.mask_of);
        c.seen = calloc((size_t)forest->nodes + 1, 1);
        c.leaf_seen = calloc((size_t)forest->leaves + 1, 1);
        c.nodes = malloc((size_t)most * sizeof *c.nodes);
        c.leaves = malloc((size_t)most * sizeof *c.leaves);
        c.labels = malloc((size_t)most * sizeof *c.labels);
        c.stack = malloc(((size_t)most + 2) * 2 * sizeof *c.stack);
        c.choices = malloc(((size_t)most * SOME_CHOICES + SMALL_LEAVES * SMALL_LEAVES) * sizeof *c.choices);
        if (c.mask_of && c.seen && c.leaf_seen && c.nodes && c.leaves && c.labels && c.stack && c.choices) {
            int64_t masks = number_masks(&c);
            if (masks >= 0 && put_trees(&c, &runs) == 0 && !runs.failed && !c.program.failed &&
                !c.values.failed && !c.trees.failed)
                out = assemble(&c, masks, &runs, length);
        }
        if (out == NULL && error[0] == 0)
            fail(&c, "not enough memory");
    }
    free(c.mask_of);
    free(c.seen);
    free(c.leaf_seen);
    free(c.nodes);
    free(c.leaves);
    free(c.labels);
    free(c.stack);
    free(c.choices);
    free(c.program.bytes);
    free(c.values.bytes);
    free(c.trees.bytes);
    free(runs.bytes);
    return out;
}

API void trees_free(void *memory)
{
    free(memory);
}
