// How an op is bound: one function for both precisions.
//
// A Machine has the place of its tensors, and run(arguments, place, run_on) for the arguments of every kernel; run_on
// is the number of threads of the CPU, or the stream of a CUDA device.
#pragma once

#include <cstdint>
#include <type_traits>

#include "tensor_view.hpp"

namespace tk::bindings {

using RunOn = std::uintptr_t;

// Whether a tensor's numbers have eight bytes; views find out what else there is to know.
inline bool is_double(const py::object& tensor) {
    const py::object dtype = py::getattr(tensor, "dtype", py::none());
    return py::getattr(dtype, "itemsize", py::int_(0)).equal(py::int_(sizeof(double)));
}

// Whether the numbers of the first tensor among some arguments have eight bytes.
template <class First, class... Rest>
bool first_is_double(const First& first, const Rest&... rest) {
    if constexpr (std::is_same_v<First, py::object>)
        return is_double(first);
    else
        return first_is_double(rest...);
}

// Defines `name`, which calls the function of its first tensor's precision.
template <class Result, class... Arguments, class... Names>
void define(py::module_& module, const char* name, Result (*float32)(Arguments...), Result (*float64)(Arguments...),
            const Names&... names) {
    const auto either = [=](Arguments... arguments) -> Result {
        const Memory memory;
        return (first_is_double(arguments...) ? float64 : float32)(arguments...);
    };
    module.def(name, either, names..., py::arg("run_on"));
}

}  // namespace tk::bindings
