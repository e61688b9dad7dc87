// Points in columns: a row of numbers for each axis, of which registers take a few points side by side.
#pragma once

#include "schedule.hpp"

TK_BEGIN_NAMESPACE

// A register of points from `row` on; lanes past the end repeat the last point.
template <class S>
inline Native<S> points_at(const S* rows, std::int64_t row, std::int64_t n) {
    if (row + lanes<S> <= n) return load<Native<S>>(rows + row);
    Native<S> value;
    for (int lane = 0; lane < lanes<S>; ++lane) value[lane] = rows[row + lane < n ? row + lane : n - 1];
    return value;
}

template <class S>
inline void put_points(Native<S> values, S* rows, std::int64_t row, std::int64_t n) {
    if (row + lanes<S> <= n) return store(rows + row, values);
    for (int lane = 0; row + lane < n; ++lane) rows[row + lane] = values[lane];
}

// Noise of a register of points, `stride` registers from one axis to the next: given, or drawn.
template <class S, class Arguments>
inline void make_noise(const Arguments& a, std::int64_t row, int stride, Native<S>* to) {
    const int dim = static_cast<int>(a.dim);
    if (a.noise != nullptr) {
        for (int i = 0; i < dim; ++i) to[i * stride] = points_at(a.noise + i * a.n, row, a.n);
        return;
    }
    const PathIndex<Native<S>> path = path_index<S>(a.path_offset + static_cast<std::uint64_t>(row));
    for (int i = 0; i < dim; i += 4) {
        Native<S> numbers[4];
        normal_block(a.seed, Purpose::noise, path, static_cast<std::uint32_t>(i / 4), numbers);
        for (int j = 0; j < 4 && i + j < dim; ++j) to[(i + j) * stride] = numbers[j];
    }
}

TK_END_NAMESPACE
