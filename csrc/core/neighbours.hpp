// Neighbour search: the layout of the tree, distances of points and boxes, lists of the k smallest.
//
// Points lie in leaves of a fixed capacity, all full but the last, each leaf a structure of arrays; the tree over them
// is implicit: a node covers leaves first … last − 1, its left child the first half of them, and nodes are numbered in
// preorder. Only the boxes of the nodes are stored.
//
// Searches compare a measure of distance that needs no root: Σ e² of the differences e, or max |e|. Box and points go
// through the same operations in the same order, and each is monotone under rounding, so that a box is never measured
// farther than a point in it: what is pruned could not have entered a list.
#pragma once

#include <limits>

#include "arguments.hpp"
#include "lanes.hpp"

TK_BEGIN_NAMESPACE

template <class S>
constexpr S infinite = std::numeric_limits<S>::infinity();
template <class S>
constexpr S greatest = std::numeric_limits<S>::max();

// ---- layout

struct TreeNode {
    std::int64_t index, first, last;
};

TK_HD std::int64_t leaf_count(std::int64_t n, std::int64_t leaf) { return (n + leaf - 1) / leaf; }
TK_HD bool is_leaf(const TreeNode& node) { return node.last - node.first == 1; }
TK_HD std::int64_t middle(const TreeNode& node) { return node.first + (node.last - node.first + 1) / 2; }
TK_HD TreeNode left_child(const TreeNode& node) { return {node.index + 1, node.first, middle(node)}; }
TK_HD TreeNode right_child(const TreeNode& node) {
    return {node.index + 2 * (middle(node) - node.first), middle(node), node.last};
}

// How many points a node holds.
template <class S>
TK_HD std::int64_t points_of(const PointSet<S>& set, const TreeNode& node) {
    const std::int64_t end = node.last * set.leaf;
    return (end < set.n ? end : set.n) - node.first * set.leaf;
}

// The node of `level` above a leaf, or the leaf itself where it stands higher than that.
TK_HD TreeNode node_above(std::int64_t leaves, int level, std::int64_t leaf) {
    TreeNode node{0, 0, leaves};
    for (int l = 0; l < level && !is_leaf(node); ++l) node = leaf < middle(node) ? left_child(node) : right_child(node);
    return node;
}

// Node number `number` of the 2^level that a level may have, an empty one where there is none.
TK_HD TreeNode node_of_level(std::int64_t leaves, int level, std::int64_t number) {
    TreeNode node{0, 0, leaves};
    for (int bit = level - 1; bit >= 0; --bit) {
        if (is_leaf(node)) return {0, 0, 0};
        node = (number >> bit & 1) != 0 ? right_child(node) : left_child(node);
    }
    return node;
}

// The axis along which a box (2, dim) is longest.
template <class S>
TK_HD std::int64_t longest_side(const S* box, std::int64_t dim) {
    std::int64_t axis = 0;
    for (std::int64_t i = 1; i < dim; ++i)
        if (box[dim + i] - box[i] > box[dim + axis] - box[axis]) axis = i;
    return axis;
}

// ---- distances

// Axes that are summed before they join the total: rounding grows with d/8 and not with d.
constexpr int axis_block = 8;

// One more axis. The first square is rounded, so that no compiler may choose which of two squares to fuse with the sum:
// boxes and points, and every kernel, must agree to the bit.
template <bool Maximum, int Columns, class V, class Difference>
TK_HD void add_axis(bool is_first, int axis, const Difference& difference, V* s) {
    TK_UNROLL
    for (int c = 0; c < Columns; ++c) {
        const V e = difference(axis, c);
        if constexpr (Maximum)
            s[c] = is_first ? magnitude(e) : maximum(s[c], magnitude(e));
        else
            s[c] = is_first ? product(e, e) : V(s[c] + e * e);
    }
}

// At most axis_block axes from `first` on, joined to the measure of those before them.
template <bool Maximum, int Columns, class V, class Difference>
TK_HD void add_axes(int first, int count, const Difference& difference, V* s) {
    V part[Columns];
    add_axis<Maximum, Columns>(true, first, difference, part);
    if (count >= axis_block) {
        TK_UNROLL
        for (int axis = 1; axis < axis_block; ++axis) add_axis<Maximum, Columns>(false, first + axis, difference, part);
    } else {
        for (int axis = 1; axis < count; ++axis) add_axis<Maximum, Columns>(false, first + axis, difference, part);
    }
    TK_UNROLL
    for (int c = 0; c < Columns; ++c) {
        if constexpr (Maximum)
            s[c] = maximum(s[c], part[c]);
        else
            s[c] += rounded(part[c]);
    }
}

// The measure of `Columns` vectors of differences, difference(axis, column). Dim is the number of axes, 0 where it is
// known at run time only. `beyond(s)` may say, of partial measures, that the rest does not matter.
template <bool Maximum, int Dim, int Columns, class V, class Difference, class Beyond>
TK_HD void measure(int dim, const Difference& difference, const Beyond& beyond, V* s) {
    if constexpr (Dim > 0) {
        static_assert(Dim <= axis_block);
        TK_UNROLL
        for (int axis = 0; axis < Dim; ++axis) add_axis<Maximum, Columns>(axis == 0, axis, difference, s);
    } else {
        TK_UNROLL
        for (int c = 0; c < Columns; ++c) s[c] = V{};
        for (int first = 0; first < dim; first += axis_block) {
            add_axes<Maximum, Columns>(first, dim - first, difference, s);
            if (first + axis_block < dim && beyond(s)) return;
        }
    }
}

// How far x lies outside [low, high], and how far from its farther end.
template <class V>
TK_HD V outside(V x, V low, V high) {
    return maximum(maximum(V(low - x), V(x - high)), V{});
}
template <class V>
TK_HD V farthest(V x, V low, V high) {
    return maximum(V(x - low), V(high - x));
}

// Measures between two boxes (2, dim): of their nearest points, and of their farthest.
template <bool Maximum, int Dim, class S>
TK_HD S nearest_measure(int dim, const S* a, const S* b) {
    S s;
    const auto gap = [&](int axis, int) {
        return maximum(maximum(a[axis] - b[dim + axis], b[axis] - a[dim + axis]), S(0));
    };
    measure<Maximum, Dim, 1>(dim, gap, [](const S*) { return false; }, &s);
    return s;
}
template <bool Maximum, int Dim, class S>
TK_HD S farthest_measure(int dim, const S* a, const S* b) {
    S s;
    const auto span = [&](int axis, int) { return maximum(a[dim + axis] - b[axis], b[dim + axis] - a[axis]); };
    measure<Maximum, Dim, 1>(dim, span, [](const S*) { return false; }, &s);
    return s;
}

// Twice the distance of two boxes' centres, squared.
template <class S>
TK_HD S between_centres(int dim, const S* a, const S* b) {
    S s = 0;
    for (int axis = 0; axis < dim; ++axis) {
        const S e = (a[axis] + a[dim + axis]) - (b[axis] + b[dim + axis]);
        s += e * e;
    }
    return s;
}

// ---- traversal

constexpr int most_waiting = 64;  // one node for each level at most, beside the one at hand

// Nodes that wait for their turn, the next on top, and how far each is.
template <class S>
struct WaitingNodes {
    TreeNode nodes[most_waiting];
    S measures[most_waiting];
    int count;

    TK_HD void start(std::int64_t leaves) {
        count = 0;
        push({0, 0, leaves}, S(0));
    }
    TK_HD void push(const TreeNode& node, S measure) {
        nodes[count] = node;
        measures[count++] = measure;
    }
};

// The boxes (2, dim) that a descent compares: of the tree's nodes, and one of queries.
template <class S>
struct Boxes {
    const S* bounds;
    const S* queries;
    int dim;
    TK_HD const S* of(const TreeNode& node) const { return bounds + node.index * 2 * dim; }
};

// Both children of a node, the nearer on top, of two that are as near the one whose centre is; near(s, node) says
// whether a node at measure s matters.
template <bool Maximum, int Dim, class S, class Near>
TK_HD void push_children(const Boxes<S>& boxes, const TreeNode& node, const Near& near, WaitingNodes<S>& waiting) {
    const TreeNode left = left_child(node), right = right_child(node);
    const S left_s = nearest_measure<Maximum, Dim>(boxes.dim, boxes.queries, boxes.of(left));
    const S right_s = nearest_measure<Maximum, Dim>(boxes.dim, boxes.queries, boxes.of(right));
    const bool left_first =
        left_s < right_s || (left_s == right_s && between_centres(boxes.dim, boxes.of(left), boxes.queries) <=
                                                      between_centres(boxes.dim, boxes.of(right), boxes.queries));
    const TreeNode &nearer = left_first ? left : right, &farther = left_first ? right : left;
    const S farther_s = left_first ? right_s : left_s;
    if (near(farther_s, farther)) waiting.push(farther, farther_s);
    waiting.push(nearer, left_first ? left_s : right_s);
}

// On to the next leaf but `own` that matters, nearest boxes first; false: there is none.
template <bool Maximum, int Dim, class S, class Near>
TK_HD bool next_near(const Boxes<S>& boxes, std::int64_t own, const Near& near, WaitingNodes<S>& waiting,
                     TreeNode& leaf) {
    while (waiting.count > 0) {
        const TreeNode node = waiting.nodes[--waiting.count];
        if (!near(waiting.measures[waiting.count], node)) continue;
        if (!is_leaf(node)) {
            push_children<Maximum, Dim>(boxes, node, near, waiting);
        } else if (node.first != own) {
            leaf = node;
            return true;
        }
    }
    return false;
}

// On to the next leaf that lies within the largest measure of the queries' box and not whole within the smallest;
// whole(node) hears of nodes that do.
template <bool Maximum, int Dim, class S, class Whole>
TK_HD bool next_within(const Boxes<S>& boxes, S smallest, S largest, const Whole& whole, WaitingNodes<S>& waiting,
                       TreeNode& leaf) {
    while (waiting.count > 0) {
        const TreeNode node = waiting.nodes[--waiting.count];
        const S* box = boxes.of(node);
        if (nearest_measure<Maximum, Dim>(boxes.dim, boxes.queries, box) > largest) continue;
        if (farthest_measure<Maximum, Dim>(boxes.dim, boxes.queries, box) <= smallest) {
            whole(node);
        } else if (!is_leaf(node)) {
            waiting.push(right_child(node), S(0));
            waiting.push(left_child(node), S(0));
        } else {
            leaf = node;
            return true;
        }
    }
    return false;
}

// ---- radii

// The largest measure whose distance is still below `radius` (or_equal: not above it); −1: there is none. A distance is
// the rounded root of its measure, or its measure, over `scale`, a power of two.
template <class S>
TK_HD S largest_measure(S radius, S scale, bool max_norm, bool or_equal) {
    const S scaled = radius * scale;
    const auto within = [&](S s) {
        const S root = max_norm ? s : std::sqrt(s);
        return or_equal ? root <= scaled : root < scaled;
    };
    if (!within(S(0))) return S(-1);
    S s = max_norm ? scaled : scaled * scaled;
    if (!(s < greatest<S>)) s = greatest<S>;
    if (within(s)) {
        for (S next = std::nextafter(s, infinite<S>); next <= greatest<S> && within(next);
             next = std::nextafter(s, infinite<S>))
            s = next;
    } else {
        while (!within(s)) s = std::nextafter(s, S(0));
    }
    return s;
}

// ---- instantiations by norm and axes

template <bool Value>
struct Bool {
    static constexpr bool value = Value;
};
template <int Value>
struct Axes {
    static constexpr int value = Value;
};

// body(maximum, axes): in one dimension the norms are the same, and the maximum needs no root.
template <class Body>
auto with_norm(bool max_norm, std::int64_t dim, const Body& body) {
    if (dim == 1) return body(Bool<true>{}, Axes<1>{});
    if (max_norm) {
        if (dim == 2) return body(Bool<true>{}, Axes<2>{});
        return body(Bool<true>{}, Axes<0>{});
    }
    if (dim == 2) return body(Bool<false>{}, Axes<2>{});
    if (dim == 3) return body(Bool<false>{}, Axes<3>{});
    if (dim == 4) return body(Bool<false>{}, Axes<4>{});
    if (dim == 5) return body(Bool<false>{}, Axes<5>{});
    return body(Bool<false>{}, Axes<0>{});
}

// ---- lists of the smallest, ascending, in `registers` vectors

template <class V>
TK_HD void insert(V* list, int registers, ScalarOf<V> value) {
    const V candidate = splat<V>(value);
    for (int r = registers - 1; r >= 0; --r) {
        const ScalarOf<V> before =
            r > 0 ? list[r - 1][Lane<V>::count - 1] : -std::numeric_limits<ScalarOf<V>>::infinity();
        const V kept = list[r];
        list[r] = minimum(kept, maximum(shift_in(kept, before), candidate));
        if (!(value < before)) return;
    }
}

// The same with the indices of the points, ties by index.
template <class V>
TK_HD void insert(V* list, IntOf<V>* ids, int registers, ScalarOf<V> value, typename Lane<V>::Index id) {
    using Id = typename Lane<V>::Index;
    const V candidate = splat<V>(value);
    const IntOf<V> candidate_id = IntOf<V>{} + id;
    for (int r = registers - 1; r >= 0; --r) {
        const ScalarOf<V> before =
            r > 0 ? list[r - 1][Lane<V>::count - 1] : -std::numeric_limits<ScalarOf<V>>::infinity();
        const Id before_id = r > 0 ? ids[r - 1][Lane<V>::count - 1] : 0;
        const bool before_moves = value < before || (value == before && id < before_id);
        const V kept = list[r];
        const IntOf<V> kept_id = ids[r];
        const IntOf<V> moves = (candidate < kept) | ((candidate == kept) & (candidate_id < kept_id));
        const IntOf<V> follows = shift_in(moves, Id(before_moves ? -1 : 0));
        const V shifted = shift_in(kept, before);
        const IntOf<V> shifted_id = shift_in(kept_id, before_id);
        list[r] = moves ? (follows ? shifted : candidate) : kept;
        ids[r] = moves ? (follows ? shifted_id : candidate_id) : kept_id;
        if (!before_moves) return;
    }
}

// ---- heaps of the smallest, the largest of them on top; ids may be null: then ties do not matter

template <class S>
TK_HD bool precedes(S a, std::int64_t a_id, S b, std::int64_t b_id) {
    return a < b || (a == b && a_id < b_id);
}

// Puts (value, id) where a hole at `hole` of a heap of `size` has to be filled, below it.
template <class S>
TK_HD void sift_down(S* heap, std::int64_t* ids, std::int64_t size, std::int64_t hole, S value, std::int64_t id) {
    const auto id_at = [&](std::int64_t i) { return ids == nullptr ? std::int64_t{0} : ids[i]; };
    for (std::int64_t child = 2 * hole + 1; child < size; child = 2 * hole + 1) {
        if (child + 1 < size && precedes(heap[child], id_at(child), heap[child + 1], id_at(child + 1))) ++child;
        if (!precedes(value, id, heap[child], id_at(child))) break;
        heap[hole] = heap[child];
        if (ids != nullptr) ids[hole] = ids[child];
        hole = child;
    }
    heap[hole] = value;
    if (ids != nullptr) ids[hole] = id;
}

template <class S>
TK_HD void sift_up(S* heap, std::int64_t* ids, std::int64_t hole, S value, std::int64_t id) {
    const auto id_at = [&](std::int64_t i) { return ids == nullptr ? std::int64_t{0} : ids[i]; };
    while (hole > 0) {
        const std::int64_t parent = (hole - 1) / 2;
        if (!precedes(heap[parent], id_at(parent), value, id)) break;
        heap[hole] = heap[parent];
        if (ids != nullptr) ids[hole] = ids[parent];
        hole = parent;
    }
    heap[hole] = value;
    if (ids != nullptr) ids[hole] = id;
}

// A heap to ascending order.
template <class S>
TK_HD void sort_heap(S* heap, std::int64_t* ids, std::int64_t size) {
    for (std::int64_t last = size - 1; last > 0; --last) {
        const S value = heap[last];
        const std::int64_t id = ids == nullptr ? 0 : ids[last];
        heap[last] = heap[0];
        if (ids != nullptr) ids[last] = ids[0];
        sift_down(heap, ids, last, 0, value, id);
    }
}

TK_END_NAMESPACE
