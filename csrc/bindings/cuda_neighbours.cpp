// Neighbour search on a CUDA device, with the signatures of thermokern._core.
#include "cuda_neighbours.hpp"

#include "../cuda/kernels.hpp"
#include "cuda_running.hpp"
#include "neighbour_arguments.hpp"

namespace tk::bindings {
namespace {

template <class S>
void build(const py::object& x, double scale, const py::object& points, const py::object& order,
           const py::object& bounds, std::uintptr_t stream) {
    with_build<S>(x, scale, points, order, bounds, on_device, [&](const auto& arguments, Place place) {
        run(place, [&] { cuda::build(arguments, stream_of(stream)); });
    });
}

template <class S>
void search(const py::object& points, const py::object& order, const py::object& bounds, const py::object& query_points,
            const py::object& query_order, const py::object& query_bounds, bool own, bool max_norm, double scale,
            double upper, const py::object& distances, const py::object& indices, const py::object& pairs,
            std::uintptr_t stream) {
    with_search<S>(points, order, bounds, query_points, query_order, query_bounds, own, max_norm, scale, upper,
                   distances, indices, pairs, on_device, [&](const auto& arguments, Place place) {
                       run(place, [&] { cuda::search(arguments, stream_of(stream)); });
                   });
}

template <class S>
void count(const py::object& points, const py::object& order, const py::object& bounds, const py::object& query_points,
           const py::object& query_order, const py::object& query_bounds, bool max_norm, bool strict, double scale,
           const py::object& radius, const py::object& counts, std::uintptr_t stream) {
    with_count<S>(points, order, bounds, query_points, query_order, query_bounds, max_norm, strict, scale, radius,
                  counts, on_device, [&](const auto& arguments, Place place) {
                      run(place, [&] { cuda::count(arguments, stream_of(stream)); });
                  });
}

}  // namespace

void define_cuda_neighbours(py::module_& module) {
    define_neighbours<float>(module, "_float32", "stream", &build<float>, &search<float>, &count<float>);
    define_neighbours<double>(module, "_float64", "stream", &build<double>, &search<double>, &count<double>);
}

}  // namespace tk::bindings
