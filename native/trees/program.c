/* The program of a tree, which makes its labels from masks, and its values by label. */
#include "compile.h"

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

void put_program(Compiler *c, Tree *tree)
{
    if (height_of(c, c->count > 0 ? 0 : ~0) <= SMALL_PLANES)
        put_perfect(c, tree);
    else if (c->leaf_count <= SMALL_LEAVES)
        put_small(c, tree);
    else
        put_deep(c, tree);
}
