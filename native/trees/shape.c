/* Reading one tree of a forest. */
#include "compile.h"

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

static void measure(Compiler *c)
{
    for (int i = c->count - 1; i >= 0; i--) {
        Node *node = c->nodes + i;
        int left = height_of(c, node->left), right = height_of(c, node->right);
        node->height = 1 + (left > right ? left : right);
        node->leaves = leaves_of(c, node->left) + leaves_of(c, node->right);
    }
}

int read_tree(Compiler *c, int64_t root)
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
        if (depth == 0) {
            measure(c);
            return 0;
        }
        parent = c->stack[2 * depth - 2];
        at = resolve(c, f->right[c->stack[2 * depth - 1]], &bad);
    }
}
