/* The labels of a tree's leaves: the fewer bits change between them, the shorter its program. */
#include "compile.h"

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
void choose(Compiler *c, int most)
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
void choose_by_path(Compiler *c, int planes)
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

void label_leaves(Compiler *c)
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
