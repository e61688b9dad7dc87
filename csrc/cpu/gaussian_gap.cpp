// Differences of the scores of two Gaussians: a few registers of points side by side, so that a matrix is read once for
// all of them.
//
// Points that share a level share the matrix that takes them to the second's score, and it is made once. Where each has
// a level of its own, the rotation takes them into the second's axes and back, with divisions between.
#include "../core/gaussian_gap.hpp"

#include <type_traits>

#include "point_columns.hpp"

TK_BEGIN_NAMESPACE

constexpr int gap_registers = register_bytes == 64 ? 3 : 1;

// Square matrices in panels of `Rows` rows, [panel][column][row of the panel], zero-padded.
template <int Rows>
struct Panels {
    static constexpr int padded(int dim) { return (dim + Rows - 1) / Rows * Rows; }

    // Entry (r, c) of the matrix is entry(r, c).
    template <class S, class Entry>
    static void pack(int dim, S* packed, const Entry& entry) {
        for (int first = 0; first < dim; first += Rows)
            for (int column = 0; column < dim; ++column)
                for (int r = 0; r < Rows; ++r) *packed++ = first + r < dim ? entry(first + r, column) : S(0);
    }

    // out = M in, both (dim, gap_registers).
    template <class S>
    static void multiply(const S* packed, int dim, const Native<S>* in, Native<S>* out) {
        for (int first = 0; first < dim; first += Rows, packed += Rows * dim) {
            Native<S> sums[Rows][gap_registers] = {};
            for (int i = 0; i < dim; ++i) {
                TK_UNROLL
                for (int r = 0; r < Rows; ++r) {
                    TK_UNROLL
                    for (int c = 0; c < gap_registers; ++c)
                        sums[r][c] = sums[r][c] + packed[i * Rows + r] * in[i * gap_registers + c];
                }
            }
            for (int r = 0; r < Rows && first + r < dim; ++r) {
                TK_UNROLL
                for (int c = 0; c < gap_registers; ++c) out[(first + r) * gap_registers + c] = sums[r][c];
            }
        }
    }
};

// body(Panels) with the panels that leave least to padding.
template <class Body>
auto with_panels(int dim, const Body& body) {
    const auto waste = [dim](int rows) { return (dim + rows - 1) / rows * rows - dim; };
    if (waste(8) <= waste(7) && waste(8) <= waste(6) && waste(8) <= waste(5)) return body(Panels<8>{});
    if (waste(7) <= waste(6) && waste(7) <= waste(5)) return body(Panels<7>{});
    if (waste(6) <= waste(5)) return body(Panels<6>{});
    return body(Panels<5>{});
}

template <class S, class P, bool OneLevel>
struct GapTile {
    using V = Native<S>;
    const GaussianGapArguments<S>& a;
    const S *there, *back;      // packed: the rotation and its transpose, or `there` alone the second's score
    const S* gains;             // (dim,) of the first, where points share a level
    V *noise, *before, *after;  // (dim, gap_registers)

    GapLevel<V> level(std::int64_t row) const {
        if constexpr (OneLevel) return {splat<V>(a.mean_scale[0]), splat<V>(a.root[0])};
        return {points_at(a.mean_scale, row, a.n), points_at(a.root, row, a.n)};
    }

    void operator()(std::int64_t first) const {
        const int dim = static_cast<int>(a.dim);
        for (int c = 0; c < gap_registers; ++c) {
            const std::int64_t row = first + c * lanes<S>;
            const GapLevel<V> at = level(row);
            make_noise<S>(a, row, gap_registers, noise + c);
            for (int i = 0; i < dim; ++i) {
                const int place = i * gap_registers + c;
                before[place] = at.noisy(points_at(a.from_second + i * a.n, row, a.n), noise[place]);
            }
        }
        P::multiply(there, dim, before, after);
        if constexpr (!OneLevel) {
            for (int c = 0; c < gap_registers; ++c) {
                const GapLevel<V> at = level(first + c * lanes<S>);
                for (int i = 0; i < dim; ++i) {
                    V& value = after[i * gap_registers + c];
                    value = at.gain(splat<V>(a.second[i])) * value;
                }
            }
            P::multiply(back, dim, after, before);
        }
        const V* second = OneLevel ? after : before;
        for (int c = 0; c < gap_registers && first + c * lanes<S> < a.n; ++c) {
            const std::int64_t row = first + c * lanes<S>;
            const GapLevel<V> at = level(row);
            const V reference = at.gain(splat<V>(a.reference));
            GapSums<V> sums;
            for (int i = 0; i < dim; ++i) {
                const int place = i * gap_registers + c;
                const V gain = OneLevel ? splat<V>(gains[i]) : at.gain(splat<V>(a.first[i]));
                add_axis(at, points_at(a.from_first + i * a.n, row, a.n), points_at(a.from_second + i * a.n, row, a.n),
                         a.centre[i], noise[place], gain, reference, second[place], sums);
            }
            const V columns[gap_columns] = {sums.gap, sums.loss, sums.difference};
            for (int k = 0; k < gap_columns; ++k) put_points<S>(S(0.5) * columns[k], a.out + k * a.n, row, a.n);
        }
    }
};

template <class S>
bool gaussian_gap(const GaussianGapArguments<S>& a, int threads, Interrupt interrupt) {
    using V = Native<S>;
    const int dim = static_cast<int>(a.dim);
    const std::int64_t size = dim * gap_registers;
    const Buffer<V> scratch(threads * 3 * size);
    const double work = 4.0 * dim * dim + 60.0 * dim;
    return with_panels(dim, [&](auto panels) {
        using P = decltype(panels);
        const std::int64_t packed = P::padded(dim) * dim;
        const Buffer<S> matrices(2 * packed), gains(dim);
        S *there = matrices.get(), *back = there + packed;
        const auto run = [&](auto one_level) {
            return for_each_stretch(a.n, gap_registers * lanes<S>, work, threads, interrupt,
                                    [&](std::int64_t first, int thread) {
                                        V* own = scratch.get() + thread * 3 * size;
                                        GapTile<S, P, decltype(one_level)::value>{
                                            a, there, back, gains.get(), own, own + size, own + 2 * size}(first);
                                    });
        };
        if (a.levels == 0) {
            const GapLevel<S> level(a.mean_scale[0], a.root[0]);
            P::pack(dim, there, [&](int r, int c) { return shared_entry(a, level, r, c); });
            for (int i = 0; i < dim; ++i) gains.get()[i] = level.gain(a.first[i]);
            return run(std::true_type{});
        }
        P::pack(dim, there, [&](int r, int c) { return a.rotation[r * dim + c]; });
        P::pack(dim, back, [&](int r, int c) { return a.rotation[c * dim + r]; });
        return run(std::false_type{});
    });
}

template bool gaussian_gap(const GaussianGapArguments<float>&, int, Interrupt);
template bool gaussian_gap(const GaussianGapArguments<double>&, int, Interrupt);

TK_END_NAMESPACE
