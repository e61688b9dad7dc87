// Differences of the scores of two Gaussians: a few registers of points side by side, so that a matrix is read once for
// all of them.
//
// Points that share a level share the matrix that takes them to the second's score, and it is made once. Where each has
// a level of its own, the rotation takes them into the second's axes and back, with divisions between.
#include "../core/gaussian_gap.hpp"

#include <type_traits>

#include "gap_panels.hpp"
#include "point_columns.hpp"

TK_BEGIN_NAMESPACE

constexpr std::int64_t gap_tiles = 8;  // that a thread takes at once

// Rows of the tile that comes next, which are asked for while a product computes: each array from its own panel on.
template <class S>
struct NextRows {
    const S* arrays[3];  // from their first row on; the last may be null
    std::int64_t stride;
    int panels;

    // Inlined always: compilers drop calls of a function that asks for memory alone, as of one without an effect.
    TK_HD void operator()(int panel, int row) const {
        for (int k = panel; k < 3; k += panels) {
            if (arrays[k] == nullptr) return;
            for (int c = 0; c < gap_registers; ++c)
                __builtin_prefetch(arrays[k] + row * stride + c * lanes<S>, 0, 2);  // into the second cache
        }
    }
};

template <class S, class P, bool OneLevel>
struct GapTile {
    using V = Native<S>;
    static constexpr std::int64_t points = gap_registers * lanes<S>;
    const GaussianGapArguments<S>& a;
    const S *there, *back;  // packed: the rotation and its transpose, or `there` alone the second's score
    const S* gains;         // (dim,) of the first, where points share a level
    S* drawn;               // (dim, points)
    V *apart, *turned;      // (dim, gap_registers)

    GapLevel<V> level(std::int64_t row) const {
        if constexpr (OneLevel) return {splat<V>(a.mean_scale[0]), splat<V>(a.root[0])};
        return {load<V>(a.mean_scale + row), load<V>(a.root + row)};
    }

    // Points first … first + points, all of them there.
    void operator()(std::int64_t first) const {
        const int dim = static_cast<int>(a.dim);
        const bool given = a.noise != nullptr;
        const S* const noise = given ? a.noise + first : drawn;
        const std::int64_t stride = given ? a.n : points;
        const auto at = [](const S* row, int c) { return load<V>(row + c * lanes<S>); };
        GapLevel<V> levels[gap_registers];
        V reference[gap_registers];
        for (int c = 0; c < gap_registers; ++c) {
            levels[c] = level(first + c * lanes<S>);
            reference[c] = levels[c].gain(splat<V>(a.reference));
            if (!given) make_noise<S>(a, first + c * lanes<S>, gap_registers, reinterpret_cast<V*>(drawn) + c);
        }
        for (int i = 0; i < dim; ++i) {
            TK_UNROLL
            for (int c = 0; c < gap_registers; ++c)
                apart[i * gap_registers + c] =
                    levels[c].noisy(at(a.from_second + i * a.n + first, c), at(noise + i * stride, c));
        }
        const NextRows<S> next{
            {a.from_first + first + points, a.from_second + first + points, given ? a.noise + first + points : nullptr},
            a.n,
            P::padded(dim) / P::rows};
        GapSums<V> sums[gap_registers];
        const auto add = [&](int i, int c, V second) {
            const V gain = OneLevel ? splat<V>(gains[i]) : levels[c].gain(splat<V>(a.first[i]));
            add_axis(levels[c], at(a.from_first + i * a.n + first, c), apart[i * gap_registers + c], a.centre[i],
                     at(noise + i * stride, c), gain, reference[c], second, sums[c]);
        };
        if constexpr (OneLevel) {
            P::multiply(there, dim, apart, add, next);
        } else {
            const auto score = [&](int i, int c, V value) {
                turned[i * gap_registers + c] = levels[c].gain(splat<V>(a.second[i])) * value;
            };
            P::multiply(there, dim, apart, score, next);
            P::multiply(back, dim, turned, add, Nothing{});
        }
        for (int c = 0; c < gap_registers; ++c) {
            const V columns[gap_columns] = {sums[c].gap(), sums[c].loss(), sums[c].difference()};
            for (int k = 0; k < gap_columns; ++k) store(a.out + k * a.n + first + c * lanes<S>, columns[k]);
        }
    }
};

// The last points, fewer than fill a tile, followed by copies of the last of all.
template <class S>
class LastPoints {
 public:
    LastPoints(const GaussianGapArguments<S>& all, std::int64_t first, std::int64_t points)
        : all_(all), padded_(all), first_(first), numbers_((3 * all.dim + 2 + gap_columns) * points) {
        padded_.n = points;
        padded_.path_offset += static_cast<std::uint64_t>(first);
        S* to = numbers_.get();
        padded_.out = to;
        to += gap_columns * points;
        const auto copy = [&](const S*& rows, std::int64_t count) {
            const S* const from = rows;
            rows = to;
            for (std::int64_t i = 0; i < count; ++i)
                for (std::int64_t row = first; row < first + points; ++row)
                    *to++ = from[i * all.n + (row < all.n ? row : all.n - 1)];
        };
        copy(padded_.from_first, all.dim);
        copy(padded_.from_second, all.dim);
        if (all.noise != nullptr) copy(padded_.noise, all.dim);
        if (all.levels == 0) return;
        copy(padded_.mean_scale, 1);
        copy(padded_.root, 1);
    }
    const GaussianGapArguments<S>& padded() const { return padded_; }
    void put() const {
        for (int k = 0; k < gap_columns; ++k)
            for (std::int64_t row = first_; row < all_.n; ++row)
                all_.out[k * all_.n + row] = padded_.out[k * padded_.n + row - first_];
    }

 private:
    const GaussianGapArguments<S>& all_;
    GaussianGapArguments<S> padded_;
    std::int64_t first_;
    Buffer<S> numbers_;
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
            using Tile = GapTile<S, P, decltype(one_level)::value>;
            constexpr std::int64_t stretch_points = gap_tiles * Tile::points;
            const auto stretch = [&](std::int64_t first, int thread) {
                V* const own = scratch.get() + thread * 3 * size;
                const auto tile = [&](const GaussianGapArguments<S>& points) {
                    S* const drawn = reinterpret_cast<S*>(own);
                    return Tile{points, there, back, gains.get(), drawn, own + size, own + 2 * size};
                };
                const Tile whole = tile(a);
                const std::int64_t end = first + stretch_points;
                for (; first < end && first + Tile::points <= a.n; first += Tile::points) whole(first);
                if (first == end || first == a.n) return;
                const LastPoints<S> last(a, first, Tile::points);
                tile(last.padded())(0);
                last.put();
            };
            return for_each_stretch(a.n, stretch_points, work, threads, interrupt, stretch);
        };
        if (a.levels == 0) {
            const GapLevel<S> level(a.mean_scale[0], a.root[0]);
            const Buffer<S> matrix(dim * dim);
            shared_matrix(a, level, matrix.get());
            P::pack(dim, there, [&](int r, int c) { return matrix.get()[r * dim + c]; });
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
