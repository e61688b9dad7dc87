// thermokern._core: the CPU kernels, one checked function each.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <cstdlib>

#include "../core/moments.hpp"
#include "core_parts.hpp"
#include "running.hpp"

namespace tk::bindings {
namespace {

template <class T>
py::tuple moments_of(const py::object& values) {
    const TensorView<T> view("values", values, {any_size});
    const Moments m = reduce<Moments>(view.data(), view.size(0), 1.0);
    return py::make_tuple(m.n, m.mean, m.m2, m.m3, m.m4);
}

template <class T>
py::tuple exponential_sums_of(const py::object& values, double scale) {
    const TensorView<T> view("values", values, {any_size});
    const ExponentialSums s = reduce<ExponentialSums>(view.data(), view.size(0), scale);
    return py::make_tuple(s.top, s.first, s.second);
}

std::array<std::uint32_t, 4> philox(std::array<std::uint32_t, 4> counter, std::uint64_t seed) {
    std::array<std::uint32_t, 4> out;
    kernels().philox(counter.data(), seed, out.data());
    return out;
}

template <class S>
void evaluate(const std::string& function, const py::object& in, const py::object& out) {
    constexpr std::array<const char*, 10> names{"exp2", "log",  "sine",       "cosine", "sigmoid",
                                                "tanh", "silu", "silu_slope", "gelu",   "gelu_slope"};
    const TensorView<S> in_view("x", in, {any_size});
    const TensorView<S> out_view("out", out, {in_view.size(0)});
    for (std::size_t i = 0; i < names.size(); ++i) {
        if (function == names[i])
            return precision<S>().evaluate(static_cast<Function>(i), in_view.data(), out_view.data(), in_view.size(0));
    }
    throw py::value_error("function: unknown '" + function + "'");
}

// Everything that comes in both precisions.
template <class S>
void define(py::module_& module, const char* suffix) {
    using namespace py::literals;
    const auto name = [&](const char* stem) { return std::string(stem) + suffix; };
    module.def(name("moments").c_str(), &moments_of<S>, "values"_a);
    module.def(name("exponential_sums").c_str(), &exponential_sums_of<S>, "values"_a, "scale"_a);
    module.def(name("evaluate").c_str(), &evaluate<S>, "function"_a, "x"_a, "out"_a);
}

}  // namespace
}  // namespace tk::bindings

PYBIND11_MODULE(_core, module) {
    using namespace tk::bindings;
    using namespace py::literals;
    const char* wanted = std::getenv("THERMOKERN_ISA");
    if (wanted != nullptr && !tk::is_instruction_set(wanted))
        throw py::import_error(std::string("THERMOKERN_ISA: expected baseline, avx2 or avx512, got '") + wanted + "'");

    module.doc() = "CPU kernels of thermokern. Outputs are allocated by the caller.";
    module.attr("instruction_set") = tk::kernels().name;
    module.attr("best_instruction_set") = tk::best_instruction_set();
    module.attr("lanes") = tk::kernels().lanes;
    define<float>(module, "_float32");
    define<double>(module, "_float64");
    define_neighbours(module);
    define_paths(module);
    define_stream(module);
    module.def("philox", &philox, "counter"_a, "seed"_a);
}
