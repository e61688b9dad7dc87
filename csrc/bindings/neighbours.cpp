// Neighbour search: the tree as tensors, and what is asked of it.
#include "neighbours.hpp"

#include "../cpu/kernels.hpp"
#include "neighbour_arguments.hpp"
#include "running.hpp"

namespace tk::bindings {
namespace {

template <class S>
void build(const py::object& x, double scale, const py::object& points, const py::object& order,
           const py::object& bounds, int threads) {
    with_build<S>(x, scale, points, order, bounds, on_cpu, [&](const auto& arguments, Place) {
        run([&](Interrupt interrupt) {
            return precision<S>().neighbours.build(arguments, threads_allowed(threads), interrupt);
        });
    });
}

template <class S>
void search(const py::object& points, const py::object& order, const py::object& bounds, const py::object& query_points,
            const py::object& query_order, const py::object& query_bounds, bool own, bool max_norm, double scale,
            double upper, const py::object& distances, const py::object& indices, const py::object& pairs,
            int threads) {
    with_search<S>(points, order, bounds, query_points, query_order, query_bounds, own, max_norm, scale, upper,
                   distances, indices, pairs, on_cpu, [&](const auto& arguments, Place) {
                       run([&](Interrupt interrupt) {
                           return precision<S>().neighbours.search(arguments, threads_allowed(threads), interrupt);
                       });
                   });
}

template <class S>
void count(const py::object& points, const py::object& order, const py::object& bounds, const py::object& query_points,
           const py::object& query_order, const py::object& query_bounds, bool max_norm, bool strict, double scale,
           const py::object& radius, const py::object& counts, int threads) {
    with_count<S>(points, order, bounds, query_points, query_order, query_bounds, max_norm, strict, scale, radius,
                  counts, on_cpu, [&](const auto& arguments, Place) {
                      run([&](Interrupt interrupt) {
                          return precision<S>().neighbours.count(arguments, threads_allowed(threads), interrupt);
                      });
                  });
}

}  // namespace

void define_neighbours(py::module_& module) {
    define_neighbours<float>(module, "_float32", "threads", &build<float>, &search<float>, &count<float>);
    define_neighbours<double>(module, "_float64", "threads", &build<double>, &search<double>, &count<double>);
}

}  // namespace tk::bindings
