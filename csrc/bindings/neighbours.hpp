// Neighbour search.
#pragma once

#include <string>

#include "../core/arguments.hpp"
#include "define.hpp"

namespace tk::bindings {

// Points in leaves, their order, and the boxes of the nodes, none of them where all pairs are looked at. Of const S
// where a kernel reads them.
template <class S>
class PointSetView {
 public:
    using Order = std::conditional_t<std::is_const_v<S>, const std::int32_t, std::int32_t>;

    PointSetView(const std::string& name, const py::object& points, const py::object& order, const py::object& bounds,
                 Place place)
        : points_((name + "points").c_str(), points, {any_size, any_size, any_size}, place),
          order_((name + "order").c_str(), order, {any_size}, points_.place()),
          bounds_((name + "bounds").c_str(), bounds, {any_size, 2, points_.size(1)}, points_.place()) {
        const std::int64_t n = order_.size(0), leaves = points_.size(0), leaf = points_.size(2);
        check(leaf >= leaf_unit && leaf <= largest_leaf && leaf % leaf_unit == 0,
              name + "points: expected leaves of " + std::to_string(leaf_unit) + " to " + std::to_string(largest_leaf) +
                  " points, got " + std::to_string(leaf));
        check(points_.size(1) >= 1, name + "points: expected at least one axis");
        check(leaves == (n + leaf - 1) / leaf,
              name + "points: expected leaves for " + std::to_string(n) + " points, got " + std::to_string(leaves));
        const std::int64_t nodes = bounds_.size(0);
        check(nodes == 0 || nodes == 2 * leaves - 1,
              name + "bounds: expected a box for each node or none, got " + std::to_string(nodes));
    }
    Place place() const { return points_.place(); }
    S* points() const { return points_.data(); }
    Order* order() const { return order_.data(); }
    S* bounds() const { return bounds_.size(0) > 0 ? bounds_.data() : nullptr; }
    PointSet<std::remove_const_t<S>> set() const {
        return {.n = order_.size(0),
                .dim = points_.size(1),
                .leaf = points_.size(2),
                .points = points(),
                .order = order(),
                .bounds = bounds()};
    }

 private:
    TensorView<S> points_;
    TensorView<Order> order_;
    TensorView<S> bounds_;
};

template <class S>
void check_alike(const PointSet<S>& data, const PointSet<S>& queries) {
    check(data.dim == queries.dim && data.leaf == queries.leaf,
          "query_points: expected the axes and leaves of points, got others");
}

template <class Machine, class S>
void neighbours_build(const py::object& x, double scale, const py::object& points, const py::object& order,
                      const py::object& bounds, RunOn run_on) {
    const TensorView<const S> x_view("x", x, {any_size, any_size}, Machine::place);
    const PointSetView<S> out("", points, order, bounds, x_view.place());
    const PointSet<S> set = out.set();
    check(set.n == x_view.size(0) && set.dim == x_view.size(1), "points: expected the sizes of x, got others");
    const NeighboursBuildArguments<S> arguments{.n = set.n,
                                                .dim = set.dim,
                                                .leaf = set.leaf,
                                                .scale = static_cast<S>(scale),
                                                .x = x_view.data(),
                                                .points = out.points(),
                                                .order = out.order(),
                                                .bounds = out.bounds()};
    Machine::run(arguments, x_view.place(), run_on);
}

template <class Machine, class S>
void neighbours_search(const py::object& points, const py::object& order, const py::object& bounds,
                       const py::object& query_points, const py::object& query_order, const py::object& query_bounds,
                       bool own, bool max_norm, double scale, double upper, const py::object& distances,
                       const py::object& indices, const py::object& pairs, RunOn run_on) {
    const PointSetView<const S> data("", points, order, bounds, Machine::place);
    const Place place = data.place();
    const PointSetView<const S> queries("query_", query_points, query_order, query_bounds, place);
    check_alike(data.set(), queries.set());
    const std::int64_t m = queries.set().n;
    check(!own || m == data.set().n, "own: expected the points themselves for queries");
    const TensorView<S> distances_view("distances", distances, {m, any_size}, place);
    const std::int64_t k = distances_view.size(1);
    check(k >= 1, "distances: expected at least one column");
    const TensorView<std::int64_t> indices_view("indices", indices, {any_size, k}, place),
        pairs_view("pairs", pairs, {1}, place);
    check(indices_view.size(0) == m || indices_view.size(0) == 0, "indices: expected the rows of distances, or none");
    const NeighboursSearchArguments<S> arguments{.data = data.set(),
                                                 .queries = queries.set(),
                                                 .own = own,
                                                 .max_norm = max_norm,
                                                 .k = k,
                                                 .scale = static_cast<S>(scale),
                                                 .upper = static_cast<S>(upper),
                                                 .distances = distances_view.data(),
                                                 .indices = indices_view.size(0) > 0 ? indices_view.data() : nullptr,
                                                 .pairs = pairs_view.data()};
    Machine::run(arguments, place, run_on);
}

template <class Machine, class S>
void neighbours_count(const py::object& points, const py::object& order, const py::object& bounds,
                      const py::object& query_points, const py::object& query_order, const py::object& query_bounds,
                      bool max_norm, bool strict, double scale, const py::object& radius, const py::object& counts,
                      RunOn run_on) {
    const PointSetView<const S> data("", points, order, bounds, Machine::place);
    const Place place = data.place();
    const PointSetView<const S> queries("query_", query_points, query_order, query_bounds, place);
    check_alike(data.set(), queries.set());
    const std::int64_t m = queries.set().n;
    const TensorView<const S> radius_view("radius", radius, {m}, place);
    const TensorView<std::int64_t> counts_view("counts", counts, {m}, place);
    const NeighboursCountArguments<S> arguments{.data = data.set(),
                                                .queries = queries.set(),
                                                .max_norm = max_norm,
                                                .strict = strict,
                                                .scale = static_cast<S>(scale),
                                                .radius = radius_view.data(),
                                                .counts = counts_view.data()};
    Machine::run(arguments, place, run_on);
}

template <class Machine>
void define_neighbours_build(py::module_& module) {
    using namespace py::literals;
    define(module, "neighbours_build", &neighbours_build<Machine, float>, &neighbours_build<Machine, double>, "x"_a,
           "scale"_a, "points"_a, "order"_a, "bounds"_a);
}

template <class Machine>
void define_neighbours_search(py::module_& module) {
    using namespace py::literals;
    define(module, "neighbours_search", &neighbours_search<Machine, float>, &neighbours_search<Machine, double>,
           "points"_a, "order"_a, "bounds"_a, "query_points"_a, "query_order"_a, "query_bounds"_a, "own"_a,
           "max_norm"_a, "scale"_a, "upper"_a, "distances"_a, "indices"_a, "pairs"_a);
}

template <class Machine>
void define_neighbours_count(py::module_& module) {
    using namespace py::literals;
    define(module, "neighbours_count", &neighbours_count<Machine, float>, &neighbours_count<Machine, double>,
           "points"_a, "order"_a, "bounds"_a, "query_points"_a, "query_order"_a, "query_bounds"_a, "max_norm"_a,
           "strict"_a, "scale"_a, "radius"_a, "counts"_a);
}

}  // namespace tk::bindings
