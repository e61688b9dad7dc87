// Mergeable statistics by a fixed tree, so that they do not depend on threads or chunks.
#pragma once

#include "lanes.hpp"

TK_BEGIN_NAMESPACE

// Central moments up to the fourth. Merging: Pébay, "Formulas for robust, one-pass parallel computation of covariances
// and arbitrary-order statistical moments", Sandia SAND2008-6212, Eq. 3.1.
struct Moments {
    double n = 0, mean = 0, m2 = 0, m3 = 0, m4 = 0;  // m_p = Σ (x − mean)^p
};

TK_HD Moments merge(const Moments& a, const Moments& b) {
    if (a.n == 0) return b;
    if (b.n == 0) return a;
    const double n = a.n + b.n, delta = b.mean - a.mean, shift = delta / n;
    const double product = a.n * b.n;
    Moments sum;
    sum.n = n;
    sum.mean = a.mean + b.n * shift;
    sum.m2 = a.m2 + b.m2 + product * delta * shift;
    sum.m3 = a.m3 + b.m3 + product * (a.n - b.n) * delta * shift * shift + 3 * shift * (a.n * b.m2 - b.n * a.m2);
    sum.m4 = a.m4 + b.m4 + product * (a.n * a.n - product + b.n * b.n) * delta * shift * shift * shift +
             6 * shift * shift * (a.n * a.n * b.m2 + b.n * b.n * a.m2) + 4 * shift * (a.n * b.m3 - b.n * a.m3);
    return sum;
}

// Moments of n numbers x, from Σ (x − shift) and Σ (x − shift)²; without the third and fourth moments.
TK_HD Moments from_shifted_sums(double n, double shift, double first, double second) {
    Moments moments;
    moments.n = n;
    moments.mean = shift + first / n;
    const double spread = second - first * first / n;
    moments.m2 = spread > 0 ? spread : 0;
    return moments;
}

// The moments of parts[0], parts[stride], …, `count` of them, merged by halves.
inline Moments merge_strided(const Moments* parts, std::int64_t count, std::int64_t stride) {
    if (count == 1) return parts[0];
    const std::int64_t half = count / 2;
    return merge(merge_strided(parts, half, stride), merge_strided(parts + half * stride, count - half, stride));
}

// Σ e^x and Σ e^{2x}, relative to the largest x.
struct ExponentialSums {
    double top = -INFINITY, first = 0, second = 0;  // Σ e^{x − top}, Σ e^{2(x − top)}
};

TK_HD ExponentialSums merge(const ExponentialSums& a, const ExponentialSums& b) {
    if (a.first == 0) return b;
    if (b.first == 0) return a;
    ExponentialSums sum;
    sum.top = a.top > b.top ? a.top : b.top;
    const double scale_a = std::exp(a.top - sum.top), scale_b = std::exp(b.top - sum.top);
    sum.first = a.first * scale_a + b.first * scale_b;
    sum.second = a.second * scale_a * scale_a + b.second * scale_b * scale_b;
    return sum;
}

// One value.
TK_HD void single(double x, Moments& moments) {
    moments.n = 1;
    moments.mean = x;
}
TK_HD void single(double x, ExponentialSums& sums) {
    sums.top = x;
    sums.first = sums.second = 1;
}

// scale · value over values[0 … n), halved again and again: rounding grows with log n.
template <class Statistic, class T>
Statistic reduce(const T* values, std::int64_t n, double scale) {
    if (n == 0) return {};
    if (n == 1) {
        Statistic statistic;
        single(scale * static_cast<double>(values[0]), statistic);
        return statistic;
    }
    const std::int64_t half = n / 2;
    return merge(reduce<Statistic>(values, half, scale), reduce<Statistic>(values + half, n - half, scale));
}

// The same tree over at most 2^Depth values, its depth known to the compiler.
template <class Statistic, int Depth, class T>
TK_HD Statistic reduce_few(const T* values, std::int64_t n, double scale) {
    if constexpr (Depth == 0) {
        Statistic statistic;
        if (n == 1) single(scale * static_cast<double>(values[0]), statistic);
        return statistic;
    } else {
        const std::int64_t half = n / 2;
        return merge(reduce_few<Statistic, Depth - 1>(values, half, scale),
                     reduce_few<Statistic, Depth - 1>(values + half, n - half, scale));
    }
}

// Subtree number `subtree` of the 2^depth that `depth` halvings of n values make: where it begins, and its size.
TK_HD void subtree_range(std::int64_t n, int depth, std::int64_t subtree, std::int64_t& begin, std::int64_t& count) {
    begin = 0;
    count = n;
    for (int level = depth - 1; level >= 0; --level) {
        const std::int64_t half = count / 2;
        const bool upper = (subtree >> level & 1) != 0;
        begin += upper ? half : 0;
        count = upper ? count - half : half;
    }
}

TK_END_NAMESPACE
