/* AVX-512 with blocks of 1024 rows: the programs of trees are read half as often, where two units' masks fit the cache. */
#define UNITS 2
#define EVALUATE evaluate_avx512_double
#include "avx512.c"
