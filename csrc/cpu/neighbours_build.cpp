// The tree over a set of points: boxes split at the middle of their longest side's points, leaves as structures of
// arrays. What stands where depends on the points alone, not on threads.
#include "neighbours_blocks.hpp"

TK_BEGIN_NAMESPACE

// values[rank] as if `values` were sorted.
template <class S>
static S ranked(S* values, std::int64_t count, std::int64_t rank) {
    std::int64_t first = 0, last = count - 1;
    while (first < last) {
        const S pivot = values[(first + last) / 2];
        std::int64_t i = first, j = last;
        while (i <= j) {
            while (values[i] < pivot) ++i;
            while (pivot < values[j]) --j;
            if (i <= j) {
                const S kept = values[i];
                values[i++] = values[j];
                values[j--] = kept;
            }
        }
        if (rank <= j)
            last = j;
        else if (rank >= i)
            first = i;
        else
            break;
    }
    return values[rank];
}

template <class S, int Dim>
class Builder {
 public:
    Builder(const NeighboursBuildArguments<S>& arguments, Watch& watch, S* rows, std::int32_t* spare_order)
        : a_(arguments),
          watch_(watch),
          dim_(Dim > 0 ? Dim : arguments.dim),
          rows_(rows),
          spare_rows_(arguments.points),
          spare_order_(spare_order) {}

    void run(int threads) {
#pragma omp parallel num_threads(threads)
        {
            const DenormalScope kept(Denormals::kept);
#pragma omp single
            split({0, 0, leaf_count(a_.n, a_.leaf)});
        }
    }

 private:
    static constexpr std::int64_t few = 1024;       // points whose keys are looked at one and all
    static constexpr std::int64_t worth_it = 8192;  // points that are worth a task

    void split(TreeNode node) {
        const std::int64_t first = node.first * a_.leaf, end = node.last * a_.leaf, last = end < a_.n ? end : a_.n;
        S* box = a_.bounds + node.index * 2 * dim_;
        bound(first, last, box);
        if (is_leaf(node)) return;
        if (last - first > few && watch_.poll(omp_get_thread_num())) return;
        part(first, last, middle(node) * a_.leaf, longest_side(box, dim_));
        if (last - first > worth_it) {
#pragma omp task
            split(left_child(node));
            split(right_child(node));
#pragma omp taskwait
        } else {
            split(left_child(node));
            split(right_child(node));
        }
    }

    // The box of rows first … last − 1 to (2, dim).
    void bound(std::int64_t first, std::int64_t last, S* box) const {
        for (std::int64_t i = 0; i < dim_; ++i) box[i] = box[dim_ + i] = rows_[first * dim_ + i];
        const S* row = rows_ + first * dim_;
        const S* end = rows_ + last * dim_;
        if constexpr (Dim > 0) {
            using V = Native<S>;
            V low[Dim], high[Dim];  // of lanes<S> rows side by side: number j of them belongs to axis j mod dim
            if (last - first >= lanes<S>) {
                for (int j = 0; j < Dim; ++j) low[j] = high[j] = load<V>(row + j * lanes<S>);
                for (; end - row >= Dim * lanes<S>; row += Dim * lanes<S>) {
                    for (int j = 0; j < Dim; ++j) {
                        const V values = load<V>(row + j * lanes<S>);
                        low[j] = minimum(low[j], values);
                        high[j] = maximum(high[j], values);
                    }
                }
                for (int j = 0; j < Dim * lanes<S>; ++j) {
                    box[j % Dim] = minimum(box[j % Dim], low[j / lanes<S>][j % lanes<S>]);
                    box[Dim + j % Dim] = maximum(box[Dim + j % Dim], high[j / lanes<S>][j % lanes<S>]);
                }
            }
        }
        for (; row < end; row += dim_) {
            for (std::int64_t i = 0; i < dim_; ++i) {
                box[i] = minimum(box[i], row[i]);
                box[dim_ + i] = maximum(box[dim_ + i], row[i]);
            }
        }
    }

    // Moves rows first … last − 1 so that none before `cut` has a coordinate above those from it on.
    void part(std::int64_t first, std::int64_t last, std::int64_t cut, std::int64_t axis) {
        S keys[few];
        while (last - first > few) {
            const std::int64_t step = (last - first) / few, at = (cut - first) * few / (last - first), slack = 32;
            for (std::int64_t i = 0; i < few; ++i) keys[i] = rows_[(first + i * step) * dim_ + axis];
            S low = ranked(keys, few, at > slack ? at - slack : 0);
            S high = ranked(keys, few, at + slack < few ? at + slack : few - 1);
            std::int64_t below, above;
            const auto tally = [&] {
                below = above = 0;
                for (std::int64_t i = first; i < last; ++i) {
                    const S key = rows_[i * dim_ + axis];
                    below += key < low;
                    above += key > high;
                }
            };
            tally();
            if (below + above == 0 && low < high) {  // few values: one of them alone is sure to leave some outside
                low = high = ranked(keys, few, at);
                tally();
            }
            std::int64_t places[3] = {first, first + below, last - above};
            for (std::int64_t i = first; i < last; ++i) {
                const S key = rows_[i * dim_ + axis];
                move(i, places[(key >= low) + (key > high)]++);
            }
            copy_back(first, last);
            if (cut < first + below) {
                last = first + below;
            } else if (cut > last - above) {
                first = last - above;
            } else if (low == high || cut == first + below || cut == last - above) {
                return;
            } else {
                first += below;
                last -= above;
            }
        }
        for (std::int64_t i = first; i < last; ++i) keys[i - first] = rows_[i * dim_ + axis];
        const S key_at_cut = ranked(keys, last - first, cut - first);
        std::int64_t below = 0;
        for (std::int64_t i = first; i < last; ++i) below += rows_[i * dim_ + axis] < key_at_cut;
        std::int64_t equal = cut - first - below;  // so many of the equal ones go before the cut
        std::int64_t places[2] = {first, cut};
        for (std::int64_t i = first; i < last; ++i) {
            const S key = rows_[i * dim_ + axis];
            const bool before = key < key_at_cut || (key == key_at_cut && equal > 0);
            equal -= key == key_at_cut;
            move(i, places[!before]++);
        }
        copy_back(first, last);
    }

    void move(std::int64_t from, std::int64_t to) {
        for (std::int64_t i = 0; i < dim_; ++i) spare_rows_[to * dim_ + i] = rows_[from * dim_ + i];
        spare_order_[to] = a_.order[from];
    }

    void copy_back(std::int64_t first, std::int64_t last) {
        const std::size_t count = static_cast<std::size_t>(last - first);
        __builtin_memcpy(rows_ + first * dim_, spare_rows_ + first * dim_,
                         count * static_cast<std::size_t>(dim_) * sizeof(S));
        __builtin_memcpy(a_.order + first, spare_order_ + first, count * sizeof(std::int32_t));
    }

    const NeighboursBuildArguments<S>& a_;
    Watch& watch_;
    const std::int64_t dim_;
    S* const rows_;        // (n, dim)
    S* const spare_rows_;  // the output, until it is written
    std::int32_t* const spare_order_;
};

// body(i) for 0 … count − 1, dealt to threads evenly.
template <class Body>
static void for_each_part(std::int64_t count, int threads, const Body& body) {
#pragma omp parallel num_threads(threads)
    {
        const DenormalScope kept(Denormals::kept);
#pragma omp for schedule(static)
        for (std::int64_t i = 0; i < count; ++i) body(i);
    }
}

template <class S>
static void arrange(const NeighboursBuildArguments<S>& a, const S* rows, S scale, int threads) {
    const std::int64_t leaves = leaf_count(a.n, a.leaf);
    for_each_part(leaves, threads, [&](std::int64_t leaf) {
        const std::int64_t first = leaf * a.leaf, count = a.n - first < a.leaf ? a.n - first : a.leaf;
        S* out = a.points + first * a.dim;
        for (std::int64_t axis = 0; axis < a.dim; ++axis) {
            for (std::int64_t i = 0; i < count; ++i) out[axis * a.leaf + i] = rows[(first + i) * a.dim + axis] * scale;
            for (std::int64_t i = count; i < a.leaf; ++i) out[axis * a.leaf + i] = std::numeric_limits<S>::infinity();
        }
    });
}

template <class S>
bool neighbours_build(const NeighboursBuildArguments<S>& a, int threads, Interrupt interrupt) {
    Watch watch(interrupt);
    if (a.bounds == nullptr || a.n == 0) {
        for (std::int64_t i = 0; i < a.n; ++i) a.order[i] = static_cast<std::int32_t>(i);
        arrange(a, a.x, a.scale, threads);
        return true;
    }
    const Buffer<S> rows(a.n * a.dim);
    const Buffer<std::int32_t> spare_order(a.n);
    S* const scaled = rows.get();
    for_each_part(a.n, threads, [&](std::int64_t i) {
        a.order[i] = static_cast<std::int32_t>(i);
        for (std::int64_t j = 0; j < a.dim; ++j) scaled[i * a.dim + j] = a.x[i * a.dim + j] * a.scale;
    });
    switch (a.dim) {
        case 1: Builder<S, 1>(a, watch, scaled, spare_order.get()).run(threads); break;
        case 2: Builder<S, 2>(a, watch, scaled, spare_order.get()).run(threads); break;
        case 3: Builder<S, 3>(a, watch, scaled, spare_order.get()).run(threads); break;
        default: Builder<S, 0>(a, watch, scaled, spare_order.get()).run(threads);
    }
    if (watch.stopped()) return false;
    arrange(a, scaled, S(1), threads);
    return true;
}

template bool neighbours_build(const NeighboursBuildArguments<float>&, int, Interrupt);
template bool neighbours_build(const NeighboursBuildArguments<double>&, int, Interrupt);

TK_END_NAMESPACE
