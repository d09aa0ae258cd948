/* What the parts of the compiler share: a tree as it was read (shape.c), its labels (labels.c), its program (program.c). */
#ifndef PREDICTD_COMPILE_H
#define PREDICTD_COMPILE_H

#include <stdint.h>
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

static inline void *extend(Buffer *buffer, size_t count)
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

static inline void put_word(Buffer *buffer, uint32_t word)
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

static inline int fail(Compiler *c, const char *text)
{
    snprintf(c->error, c->error_size, "%s", text);
    return -1;
}

static inline int height_of(const Compiler *c, int32_t at)
{
    return at < 0 ? 0 : c->nodes[at].height;
}

static inline int leaves_of(const Compiler *c, int32_t at)
{
    return at < 0 ? 1 : c->nodes[at].leaves;
}

/* Reads one tree: nodes before their children, leaves from left to right. 0, or -1 with the reason in `error`. */
int read_tree(Compiler *c, int64_t root);
/* Chooses labels of few changed bits: Gray codes with `most` choices kept for each node, or a bit for each level. */
void choose(Compiler *c, int most);
void choose_by_path(Compiler *c, int planes);
/* Gives leaves the labels that follow from the choice. */
void label_leaves(Compiler *c);
/* Adds a tree's program and values. */
void put_program(Compiler *c, Tree *tree);

#endif
