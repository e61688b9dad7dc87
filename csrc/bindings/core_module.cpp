// thermokern._core: the CPU kernels, one checked function each, and the constants that Python shares with them.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <cstdlib>
#include <iterator>
#include <string>

#include "cpu_machine.hpp"
#include "ops.hpp"

namespace tk::bindings {
namespace {

std::array<std::uint32_t, 4> philox(std::array<std::uint32_t, 4> counter, std::uint64_t seed) {
    std::array<std::uint32_t, 4> out;
    kernels().philox(counter.data(), seed, out.data());
    return out;
}

template <class S>
void evaluate(const std::string& function, const TensorView<const S>& in, const TensorView<S>& out) {
    for (std::size_t i = 0; i < std::size(functions); ++i) {
        if (function != functions[i]) continue;
        const py::gil_scoped_release release;
        return precision<S>().evaluate(static_cast<Function>(i), in.data(), out.data(), in.size(0));
    }
    throw py::value_error("function: unknown '" + function + "'");
}

template <class S>
void evaluate_tensor(const std::string& function, const py::object& x, const py::object& out) {
    const TensorView<const S> in("x", x, {any_size});
    evaluate(function, in, TensorView<S>("out", out, {in.size(0)}));
}

py::tuple instruction_sets() {
    py::list names;
    for (int i = 0; instruction_set(i) != nullptr; ++i) names.append(instruction_set(i));
    return py::tuple(names);
}

// Refuses to be imported where THERMOKERN_ISA asks for what was not built.
void check_environment(const py::tuple& built) {
    const char* wanted = std::getenv("THERMOKERN_ISA");
    if (wanted == nullptr || built.contains(wanted)) return;
    std::string names;
    for (std::size_t i = 0; i < built.size(); ++i)
        names += (i == 0 ? "" : i + 1 == built.size() ? " or " : ", ") + built[i].cast<std::string>();
    throw py::import_error("THERMOKERN_ISA: expected " + names + ", the instruction sets of this build, got '" +
                           wanted + "'");
}

template <std::size_t N>
py::tuple names_of(const char* const (&names)[N]) {
    py::tuple out(N);
    for (std::size_t i = 0; i < N; ++i) out[i] = names[i];
    return out;
}

// Enumerations are the names of their values, in order.
void define_constants(py::module_& module) {
    module.attr("MAX_DIM") = max_dim;
    module.attr("MAX_GAP_DIM") = max_gap_dim;
    module.attr("MAX_GAP_CONDITIONS") = max_gap_conditions;
    module.attr("MAX_GAP_FEATURES") = max_gap_features;
    module.attr("MAX_WIDTH") = max_width;
    module.attr("MAX_LAYERS") = max_layers;
    module.attr("NODE_COLUMNS") = node_columns;
    module.attr("RATE_COLUMNS") = rate_columns;
    module.attr("FLOW_COLUMNS") = flow_columns;
    module.attr("OBSERVABLES") = observables;
    module.attr("FLOW_FIRST_LEVEL") = flow_first_level;
    module.attr("FLOW_COARSEST_LEVEL") = flow_coarsest_level;
    module.attr("FLOW_FINEST_LEVEL") = flow_finest_level;
    module.attr("FLOW_GROWTH") = flow_growth;
    module.attr("LEAF_UNIT") = leaf_unit;
    module.attr("LARGEST_LEAF") = largest_leaf;
    module.attr("LARGEST_LIST") = largest_list;
    module.attr("PURPOSES") = names_of(purposes);
    module.attr("ACTIVATIONS") = names_of(activations);
    module.attr("PRODUCTS") = names_of(products);
    module.attr("PROBES") = names_of(probes);
}

}  // namespace
}  // namespace tk::bindings

PYBIND11_MODULE(_core, module) {
    using namespace tk::bindings;
    using namespace py::literals;
    const py::tuple built = instruction_sets();
    check_environment(built);
    module.doc() = "CPU kernels of thermokern, and constants. Outputs are allocated by the caller.";
    module.attr("instruction_sets") = built;
    module.attr("instruction_set") = tk::kernels().name;
    module.attr("best_instruction_set") = tk::best_instruction_set();
    module.attr("lanes") = tk::kernels().lanes;
    define_constants(module);
    define_ops<Cpu>(module);
    module.def("watch", &watch, "called"_a);
    module.def("philox", &philox, "counter"_a, "seed"_a);
    module.def(
        "evaluate",
        [](const std::string& function, const py::object& x, const py::object& out) {
            const Memory memory;
            (is_double(x) ? evaluate_tensor<double> : evaluate_tensor<float>)(function, x, out);
        },
        "function"_a, "x"_a, "out"_a);
}
