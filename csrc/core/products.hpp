// Products of a matrix and values that stand side by side, whose sums stay in registers.
#pragma once

#include "lanes.hpp"

TK_BEGIN_NAMESPACE

// What one column of a few rows, times C values, adds.
template <int Rows, int C, class V>
TK_HD void add_products(const ScalarOf<V>* column, const V* values, V sums[Rows][C]) {
    TK_UNROLL
    for (int r = 0; r < Rows; ++r) {
        TK_UNROLL
        for (int c = 0; c < C; ++c) sums[r][c] = sums[r][c] + column[r] * values[c];
    }
}

TK_END_NAMESPACE
