// Nodes of many paths at a time, scores given: the step and its sums in one pass over memory.
#include "../core/trajectory_step.hpp"

#include "rows.hpp"

TK_BEGIN_NAMESPACE

// Paths that take as much memory will not be found in the second cache when the network reads them.
constexpr std::int64_t streamed_bytes = std::int64_t{1} << 22;

// Where a tile's components lie. Input that is absent is read from zeros, output that is not wanted goes to scratch.
template <class S>
struct StepTile {
    const S *x, *model, *reference, *drawn, *carried, *previous;
    S *next, *noise;
    bool past_caches;  // how `next` is written

    template <class V>
    TK_HD NodeInput<V> load_at(std::int64_t c) const {
        return {load<V>(x + c),     load<V>(model + c),   load<V>(reference + c),
                load<V>(drawn + c), load<V>(carried + c), load<V>(previous + c)};
    }
    template <bool Reverse, class V>
    TK_HD void store_at(std::int64_t c, const NodeOutput<V>& out) const {
        if (Lane<V>::count > 1 && past_caches)
            store_past_caches<V>(next + c, out.next);
        else
            store<V>(next + c, out.next);
        if constexpr (Reverse) store<V>(noise + c, out.noise);  // forward it is what was drawn
    }
};

template <bool Sampler, bool Reverse, class S>
static void visit_tile(const Node<S> node, const StepTile<S> tile, std::int64_t count, NodeSums<S>& sums) {
    using V = Native<S>;
    NodeSums<V> wide;
    std::int64_t c = 0;
    for (; c + lanes<S> <= count; c += lanes<S>)
        tile.template store_at<Reverse, V>(c, visit_node<Sampler, Reverse>(node, tile.template load_at<V>(c), wide));
    NodeSums<S> narrow{add_lanes(wide.energy), add_lanes(wide.work), add_lanes(wide.mismatch), add_lanes(wide.chain)};
    for (; c < count; ++c)
        tile.template store_at<Reverse, S>(c, visit_node<Sampler, Reverse>(node, tile.template load_at<S>(c), narrow));
    sums.add(narrow);
}

// A tile of whole groups of numbers, whose noise is used as it is made: while one is waited for the other goes on.
template <bool Sampler, bool Reverse, class S>
static void visit_drawing(const Node<S> node, const StepTile<S> tile, const PathNormals<S>& normals,
                          std::uint64_t number, std::int64_t count, NodeSums<S>& sums) {
    using V = Native<S>;
    const Soon<S, 3> soon{{tile.x, tile.model, tile.reference}};
    NodeSums<V> wide;
    for (std::int64_t c = 0; c < count; c += PathNormals<S>::group) {
        V z[4];
        soon.ask(c + 4 * PathNormals<S>::group);
        normals.draw(number + static_cast<std::uint64_t>(c), z);
        for (int j = 0; j < 4; ++j) {
            NodeInput<V> in = tile.template load_at<V>(c + j * lanes<S>);
            in.drawn = z[j];
            tile.template store_at<Reverse, V>(c + j * lanes<S>, visit_node<Sampler, Reverse>(node, in, wide));
        }
    }
    sums.add({add_lanes(wide.energy), add_lanes(wide.work), add_lanes(wide.mismatch), add_lanes(wide.chain)});
}

template <class S>
struct StepScratch {
    RowNormals<S> drawn, carried;
    alignas(64) S next[row_tile], noise[row_tile];
};

template <bool Sampler, bool Reverse, class S>
static bool visit(const TrajectoryStepArguments<S>& a, int threads, Interrupt interrupt) {
    alignas(64) S zeros[row_tile];
    for (S& zero : zeros) zero = 0;
    const Buffer<StepScratch<S>> scratch(threads);
    const Purpose purpose = Reverse ? Purpose::reverse : Purpose::noise;
    const std::int64_t total = a.nodes * a.n;
    const bool large = total * a.dim * static_cast<std::int64_t>(sizeof(S)) >= streamed_bytes;
    const auto rows = [&](std::int64_t first_row, int thread) {
        StepScratch<S>& own = scratch.get()[thread];
        for (std::int64_t row = first_row; row < first_row + lanes<S> && row < total; ++row) {
            const Node<S>& node = node_of(a, row);
            const S* previous = previous_of(a, row);
            const PathNormals<S> normals(a.seed, purpose, a.path_offset + static_cast<std::uint64_t>(row));
            NodeSums<S> sums;
            for (std::int64_t c = 0; c < a.dim; c += row_tile) {
                const std::int64_t count = a.dim - c < row_tile ? a.dim - c : row_tile, at = row * a.dim + c;
                const std::uint64_t number = a.first + static_cast<std::uint64_t>(c);
                StepTile<S> tile{a.x + at, a.model + at, a.reference + at, zeros, zeros,
                                 zeros,    own.next,     own.noise,        false};
                const Soon<S, 3> soon{{tile.x, tile.model, tile.reference}};
                if (a.carried != nullptr)
                    tile.carried = a.carried + at;
                else if (a.draw_carried)
                    tile.carried = own.carried.draw(normals, number - static_cast<std::uint64_t>(a.dim), count, soon);
                if (previous != nullptr) tile.previous = previous + c;
                if (a.next != nullptr) {
                    tile.next = a.next + at;
                    tile.past_caches = large && reinterpret_cast<std::uintptr_t>(tile.next) % register_bytes == 0;
                }
                if (a.noise != nullptr) tile.noise = a.noise + at;
                if (a.drawn == nullptr && a.draw && number % 4 == 0 && count % PathNormals<S>::group == 0) {
                    visit_drawing<Sampler, Reverse>(node, tile, normals, number, count, sums);
                    continue;
                }
                if (a.drawn != nullptr)
                    tile.drawn = a.drawn + at;
                else if (a.draw)
                    tile.drawn = own.drawn.draw(normals, number, count, soon);
                visit_tile<Sampler, Reverse>(node, tile, count, sums);
            }
            a.value[row] = sums.value(node);
            a.mismatch[row] = node.mismatch * sums.mismatch;
        }
        end_stream();
    };
    return for_each_tile<S>(total, 40.0 * static_cast<double>(a.dim), threads, interrupt, rows);
}

template <class S>
bool trajectory_step(const TrajectoryStepArguments<S>& arguments, int threads, Interrupt interrupt) {
    if (arguments.sampler)
        return arguments.reverse ? visit<true, true>(arguments, threads, interrupt)
                                 : visit<true, false>(arguments, threads, interrupt);
    return arguments.reverse ? visit<false, true>(arguments, threads, interrupt)
                             : visit<false, false>(arguments, threads, interrupt);
}

template bool trajectory_step(const TrajectoryStepArguments<float>&, int, Interrupt);
template bool trajectory_step(const TrajectoryStepArguments<double>&, int, Interrupt);

TK_END_NAMESPACE
