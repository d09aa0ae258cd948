/* From a forest to tables: which masks there are, each tree's labels, and the program that makes them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "forest.h"
#include "trees.h"

/* A buffer that grows; `failed` sticks. */
typedef struct {
    uint8_t *bytes;
    size_t length, room;
    int failed;
} Buffer;

static void *extend(Buffer *buffer, size_t count)
{
    if (buffer->failed)
        return NULL;
    if (buffer->length + count > buffer->room) {
        size_t room = (buffer->length + count) * 3 / 2 + 4096;
        uint8_t *bytes = realloc(buffer->bytes, room);
        if (bytes == NULL) {
            buffer->failed = 1;
            return NULL;
        }
        buffer->bytes = bytes;
        buffer->room = room;
    }
    void *at = buffer->bytes + buffer->length;
    buffer->length += count;
    return at;
}

static void put_word(Buffer *buffer, uint32_t word)
{
    void *at = extend(buffer, 4);
    if (at != NULL)
        memcpy(at, &word, 4);
}

typedef struct {
    uint32_t leaf, cost, other; /* the reference leaf of the subtree, and that of the child whose side is XORed */
    uint32_t exclusive;         /* 1: that child is the right one */
} Choice;

typedef struct {
    int32_t mask, left, right; /* children: >= 0 a node, < 0: ~leaf; children come after their parent */
    int32_t leaves, height, choices, first_choice;
    uint32_t difference, label;
    int exclusive_right;
} Node;

enum { MOST_LEAVES = 1 << MAX_PLANES, ALL_CHOICES = SMALL_LEAVES, SOME_CHOICES = 6, CHUNK_NODES = 64 };

typedef struct {
    const ForestArrays *forest;
    uint32_t *mask_of; /* [features][256]: 1 + the mask's number */
    uint8_t *seen;     /* [nodes] */
    uint8_t *leaf_seen;
    Node *nodes;
    int32_t *leaves;  /* the forest's number of each leaf of the tree, from left to right */
    uint32_t *labels; /* of each leaf */
    int32_t *stack;   /* pairs */
    Choice *choices;
    int count, leaf_count;
    Buffer program, values, trees;
    char *error;
    size_t error_size;
} Compiler;

static int fail(Compiler *c, const char *text)
{
    snprintf(c->error, c->error_size, "%s", text);
    return -1;
}

/* Where rows really go from here: nodes that send every row the same way are left out. */
static int64_t resolve(Compiler *c, int64_t at, int *bad)
{
    const ForestArrays *f = c->forest;
    for (;;) {
        if (at < 0) {
            if (~at >= f->leaves || c->leaf_seen[~at])
                *bad = 1;
            else
                c->leaf_seen[~at] = 1;
            return at;
        }
        if (at >= f->nodes || c->seen[at] || f->feature[at] < 0 || f->feature[at] >= f->features) {
            *bad = 1;
            return at;
        }
        c->seen[at] = 1;
        if (f->threshold[at] >= f->high)
            at = f->left[at];
        else if (f->threshold[at] < f->low)
            at = f->right[at];
        else
            return at;
    }
}

/* Reads one tree: nodes before their children, leaves from left to right. Marks its masks as used. */
static int read_tree(Compiler *c, int64_t root)
{
    const ForestArrays *f = c->forest;
    int depth = 0, bad = 0;
    c->count = c->leaf_count = 0;
    int64_t at = resolve(c, root, &bad);
    int32_t parent = -1;
    for (;;) {
        if (bad)
            return fail(c, "a node or a leaf is out of range or is reached twice");
        if (at >= 0) {
            if (c->count >= MOST_LEAVES - 1)
                return fail(c, "a tree has more than 65,536 leaves");
            Node *node = c->nodes + c->count;
            memset(node, 0, sizeof *node);
            node->mask = (int32_t)(f->feature[at] * 256 + (f->threshold[at] + 128));
            if (parent >= 0) {
                if (c->nodes[parent].left == INT32_MIN)
                    c->nodes[parent].left = c->count;
                else
                    c->nodes[parent].right = c->count;
            }
            node->left = node->right = INT32_MIN;
            c->stack[2 * depth] = c->count;
            c->stack[2 * depth + 1] = (int32_t)at;
            depth++;
            parent = c->count++;
            at = resolve(c, f->left[at], &bad);
            continue;
        }
        c->leaves[c->leaf_count] = (int32_t)~at;
        if (parent >= 0) {
            if (c->nodes[parent].left == INT32_MIN)
                c->nodes[parent].left = ~c->leaf_count;
            else
                c->nodes[parent].right = ~c->leaf_count;
        }
        c->leaf_count++;
        /* Up to the nearest node whose right side is still to be read. */
        while (depth > 0 && c->nodes[c->stack[2 * depth - 2]].right != INT32_MIN)
            depth--;
        if (depth == 0)
            return 0;
        parent = c->stack[2 * depth - 2];
        at = resolve(c, f->right[c->stack[2 * depth - 1]], &bad);
    }
}

static int height_of(const Compiler *c, int32_t at)
{
    return at < 0 ? 0 : c->nodes[at].height;
}

static int leaves_of(const Compiler *c, int32_t at)
{
    return at < 0 ? 1 : c->nodes[at].leaves;
}

static void measure(Compiler *c)
{
    for (int i = c->count - 1; i >= 0; i--) {
        Node *node = c->nodes + i;
        int left = height_of(c, node->left), right = height_of(c, node->right);
        node->height = 1 + (left > right ? left : right);
        node->leaves = leaves_of(c, node->left) + leaves_of(c, node->right);
    }
}

static double leaf_value(const Compiler *c, int leaf)
{
    return c->forest->values[c->leaves[leaf]];
}

static void put_values(Compiler *c, uint32_t count, const uint32_t *labels)
{
    size_t size = c->forest->single ? sizeof(float) : sizeof(double);
    uint8_t *at = extend(&c->values, count * size);
    if (at == NULL)
        return;
    memset(at, 0, count * size);
    for (int leaf = 0; leaf < c->leaf_count; leaf++) {
        double value = leaf_value(c, leaf);
        float single = (float)value;
        if (c->forest->single)
            memcpy(at + labels[leaf] * size, &single, size);
        else
            memcpy(at + labels[leaf] * size, &value, size);
    }
}

static uint32_t operand_of(const Compiler *c, const Node *node)
{
    return SLOTS + c->mask_of[node->mask] - 1;
}

/* A tree of depth <= 5: the shape is fixed, a leaf higher up has several labels. */
static void put_perfect(Compiler *c, Tree *tree)
{
    uint32_t operand[PERFECT_NODES];
    double value[SMALL_LEAVES];
    int32_t here[PERFECT_NODES + SMALL_LEAVES];
    for (int i = 0; i < PERFECT_NODES; i++)
        operand[i] = ZEROS;
    here[0] = c->count > 0 ? 0 : ~0;
    for (int i = 0; i < PERFECT_NODES; i++) {
        int32_t left = here[i], right = here[i];
        if (here[i] >= 0) {
            const Node *node = c->nodes + here[i];
            operand[i] = operand_of(c, node);
            left = node->left;
            right = node->right;
        }
        here[2 * i + 1] = left;
        here[2 * i + 2] = right;
    }
    /* The last row of the heap is from left to right; labels have a bit set for each turn to the left. */
    for (int i = 0; i < SMALL_LEAVES; i++)
        value[SMALL_LEAVES - 1 - i] = leaf_value(c, ~here[PERFECT_NODES + i]);
    tree->kind = PERFECT;
    tree->planes = SMALL_PLANES;
    for (int i = 0; i < PERFECT_NODES; i++)
        put_word(&c->program, operand[i]);
    size_t size = c->forest->single ? sizeof(float) : sizeof(double);
    uint8_t *at = extend(&c->values, SMALL_LEAVES * size);
    if (at == NULL)
        return;
    for (int i = 0; i < SMALL_LEAVES; i++) {
        float single = (float)value[i];
        memcpy(at + (size_t)i * size, c->forest->single ? (void *)&single : (void *)&value[i], size);
    }
}

static uint32_t gray(uint32_t i)
{
    return i ^ (i >> 1);
}

static Choice *choices_of(Compiler *c, int32_t at, Choice *of_leaf, int *count)
{
    if (at < 0) {
        *of_leaf = (Choice){(uint32_t)~at, 0, 0, 0};
        *count = 1;
        return of_leaf;
    }
    *count = c->nodes[at].choices;
    return c->choices + c->nodes[at].first_choice;
}

/* Labels are Gray codes of the leaves' positions. A row's label is that of the tree's reference leaf, changed at each node
 * where the row takes the exclusive side by the difference of both sides' reference leaves. Which leaf of a subtree refers
 * and which side is exclusive is chosen so that few bits change; only the cheapest are kept. */
static void choose(Compiler *c, int most)
{
    int next = 0;
    for (int i = c->count - 1; i >= 0; i--) {
        Node *node = c->nodes + i;
        Choice of_left, of_right;
        int lefts, rights;
        const Choice *left = choices_of(c, node->left, &of_left, &lefts);
        const Choice *right = choices_of(c, node->right, &of_right, &rights);
        Choice *out = c->choices + next;
        int count = 0;
        node->first_choice = next;
        for (int side = 0; side < 2; side++) {
            const Choice *kept = side ? right : left, *exclusive = side ? left : right;
            int kepts = side ? rights : lefts, exclusives = side ? lefts : rights;
            /* A reach of the left side costs an operation that only a left leaf as the exclusive side adds. */
            uint32_t extra = side && node->left < 0 ? 3 : 0;
            for (int k = 0; k < kepts; k++) {
                Choice best = {kept[k].leaf, UINT32_MAX, 0, !side};
                for (int e = 0; e < exclusives; e++) {
                    uint32_t bits = gray(kept[k].leaf) ^ gray(exclusive[e].leaf);
                    uint32_t cost =
                        kept[k].cost + exclusive[e].cost + (uint32_t)__builtin_popcount(bits) + extra;
                    if (cost < best.cost) {
                        best.cost = cost;
                        best.other = exclusive[e].leaf;
                    }
                }
                int at = count < most ? count++ : -1;
                if (at < 0) {
                    int worst = 0;
                    for (int o = 1; o < count; o++)
                        if (out[o].cost > out[worst].cost)
                            worst = o;
                    if (out[worst].cost > best.cost)
                        at = worst;
                }
                if (at >= 0)
                    out[at] = best;
            }
        }
        node->choices = count;
        next += count;
    }
    /* Down again: fix each node's choice. `label` holds the reference leaf for the moment. */
    uint32_t best = 0;
    const Choice *root = c->choices + c->nodes[0].first_choice;
    for (int k = 1; k < c->nodes[0].choices; k++)
        if (root[k].cost < root[best].cost)
            best = (uint32_t)k;
    c->nodes[0].label = root[best].leaf;
    for (int i = 0; i < c->count; i++) {
        Node *node = c->nodes + i;
        const Choice *choice = c->choices + node->first_choice;
        while (choice->leaf != node->label)
            choice++;
        node->exclusive_right = (int)choice->exclusive;
        node->difference = gray(choice->leaf) ^ gray(choice->other);
        int32_t kept = node->exclusive_right ? node->left : node->right;
        int32_t exclusive = node->exclusive_right ? node->right : node->left;
        if (kept >= 0)
            c->nodes[kept].label = choice->leaf;
        if (exclusive >= 0)
            c->nodes[exclusive].label = choice->other;
    }
}

/* A bit for each level: one bit changes at each node. */
static void choose_by_path(Compiler *c, int planes)
{
    c->nodes[0].label = (uint32_t)planes;
    for (int i = 0; i < c->count; i++) {
        Node *node = c->nodes + i;
        node->exclusive_right = 1;
        node->difference = 1u << (node->label - 1);
        if (node->left >= 0)
            c->nodes[node->left].label = node->label - 1;
        if (node->right >= 0)
            c->nodes[node->right].label = node->label - 1;
    }
}

static void label_leaves(Compiler *c)
{
    c->nodes[0].label = 0;
    for (int i = 0; i < c->count; i++) {
        const Node *node = c->nodes + i;
        uint32_t changed = node->label ^ node->difference;
        int32_t child[2] = {node->left, node->right};
        for (int side = 0; side < 2; side++) {
            uint32_t label = side == node->exclusive_right ? changed : node->label;
            if (child[side] >= 0)
                c->nodes[child[side]].label = label;
            else
                c->labels[~child[side]] = label;
        }
    }
}

static int planes_for(int leaves)
{
    int planes = 0;
    while ((1 << planes) < leaves)
        planes++;
    return planes;
}

typedef struct {
    uint8_t slot[MAX_PLANES][4 * CHUNK_NODES];
    int count[MAX_PLANES];
} Lists;

static void list_changes(Lists *lists, uint32_t difference, int slot)
{
    for (int j = 0; j < MAX_PLANES; j++)
        if (difference >> j & 1)
            lists->slot[j][lists->count[j]++] = (uint8_t)slot;
}

static void put_small(Compiler *c, Tree *tree)
{
    Lists lists;
    int slot_of[SMALL_LEAVES], slot = FIRST_SLOT, items = 0;
    memset(lists.count, 0, sizeof lists.count);
    choose(c, ALL_CHOICES);
    label_leaves(c);
    slot_of[0] = ONES;
    for (int i = 0; i < c->count; i++) {
        const Node *node = c->nodes + i;
        int right = slot++, left = -1;
        put_word(&c->program, operand_of(c, node) << 8 | (uint32_t)slot_of[i]);
        if (node->left >= 0 || !node->exclusive_right) {
            left = slot++;
            put_word(&c->program, (uint32_t)right << 8 | (uint32_t)slot_of[i]);
        }
        if (node->left >= 0)
            slot_of[node->left] = left;
        if (node->right >= 0)
            slot_of[node->right] = right;
        list_changes(&lists, node->difference, node->exclusive_right ? right : left);
    }
    tree->kind = SMALL;
    tree->planes = SMALL_PLANES;
    tree->steps = (uint16_t)(slot - FIRST_SLOT);
    uint8_t pairs[SMALL_LEAVES * SMALL_PLANES * 2 + 4];
    for (int j = 0; j < SMALL_PLANES; j++) {
        if (lists.count[j] & 1)
            lists.slot[j][lists.count[j]++] = ZEROS;
        memcpy(pairs + 2 * items, lists.slot[j], (size_t)lists.count[j]);
        items += lists.count[j] / 2;
        tree->ends[j] = (uint8_t)items;
    }
    tree->items = (uint16_t)items;
    memset(pairs + 2 * items, 0, 4);
    uint8_t *at = extend(&c->program, (size_t)(2 * items + 3) / 4 * 4);
    if (at != NULL)
        memcpy(at, pairs, (size_t)(2 * items + 3) / 4 * 4);
    put_values(c, SMALL_LEAVES, c->labels);
}

static void end_chunk(Compiler *c, Tree *tree, Lists *lists, size_t head, uint32_t nodes)
{
    if (c->program.failed)
        return;
    memcpy(c->program.bytes + head, &nodes, 4);
    for (int j = 0; j < tree->planes; j++) {
        size_t count = (size_t)lists->count[j], room = (count + 3) / 4 * 4;
        put_word(&c->program, (uint32_t)count);
        uint8_t *at = extend(&c->program, room);
        if (at != NULL) {
            memset(at, 0, room);
            memcpy(at, lists->slot[j], count);
        }
    }
    memset(lists->count, 0, sizeof lists->count);
    tree->steps++;
}

/* Nodes in chunks whose scratch masks stay in the first-level cache; the smaller side first keeps few of them pending. */
static void put_deep(Compiler *c, Tree *tree)
{
    int height = c->nodes[0].height, planes = planes_for(c->leaf_count);
    tree->kind = DEEP;
    if (height <= MAX_PLANES && height <= planes + 1) {
        planes = height;
        choose_by_path(c, planes);
    } else {
        choose(c, SOME_CHOICES);
    }
    tree->planes = (uint8_t)planes;
    label_leaves(c);
    Lists lists;
    memset(lists.count, 0, sizeof lists.count);
    uint8_t used[SLOTS] = {1, 1};
    int depth = 1, next = FIRST_SLOT;
    c->stack[0] = 0;
    c->stack[1] = ONES;
    while (depth > 0) {
        size_t head = c->program.length;
        uint32_t steps = 0;
        put_word(&c->program, 0);
        for (int n = 0; n < CHUNK_NODES && depth > 0; n++) {
            depth--;
            const Node *node = c->nodes + c->stack[2 * depth];
            uint32_t source = (uint32_t)c->stack[2 * depth + 1];
            int slots[2] = {-1, -1};
            for (int side = 1; side >= 0; side--) {
                if (side == 0 && node->left < 0 && node->exclusive_right)
                    continue;
                while (used[next])
                    next = next + 1 < SLOTS ? next + 1 : FIRST_SLOT;
                used[next] = 1;
                slots[side] = next;
                put_word(&c->program, side ? operand_of(c, node) : (uint32_t)slots[1]);
                put_word(&c->program, source | (uint32_t)next << 16);
                steps++;
            }
            list_changes(&lists, node->difference, slots[node->exclusive_right]);
            int small = leaves_of(c, node->left) > leaves_of(c, node->right);
            for (int turn = 0; turn < 2; turn++) {
                int side = turn ? small : !small;
                int32_t child = side ? node->right : node->left;
                if (child >= 0) {
                    c->stack[2 * depth] = child;
                    c->stack[2 * depth + 1] = slots[side];
                    depth++;
                }
            }
        }
        end_chunk(c, tree, &lists, head, steps);
        memset(used + FIRST_SLOT, 0, SLOTS - FIRST_SLOT);
        for (int i = 0; i < depth; i++)
            used[c->stack[2 * i + 1]] = 1;
        next = FIRST_SLOT;
    }
    put_values(c, 1u << planes, c->labels);
}

static int put_tree(Compiler *c, int64_t root)
{
    if (read_tree(c, root) != 0)
        return -1;
    measure(c);
    size_t value_size = c->forest->single ? sizeof(float) : sizeof(double);
    Tree tree = {0};
    if (c->program.length / 4 > UINT32_MAX || c->values.length / value_size > UINT32_MAX)
        return fail(c, "the model is too large");
    tree.program = (uint32_t)(c->program.length / 4);
    tree.values = (uint32_t)(c->values.length / value_size);
    if (height_of(c, c->count > 0 ? 0 : ~0) <= SMALL_PLANES)
        put_perfect(c, &tree);
    else if (c->leaf_count <= SMALL_LEAVES)
        put_small(c, &tree);
    else
        put_deep(c, &tree);
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
