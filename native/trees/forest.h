/* A forest as Python hands it over; `predictd.trees.forest.Forest` says what the arrays mean. */
#ifndef PREDICTD_FOREST_H
#define PREDICTD_FOREST_H

#include <stdint.h>

typedef struct {
    int32_t features, low, high, single, outputs, reserved;
    int64_t trees, nodes, leaves;
    const int32_t *roots, *outputs_of, *feature, *threshold, *left, *right;
    const double *values, *start;
} ForestArrays;

#endif
