// The probability-flow kernels in the module.
#pragma once

#include <pybind11/pybind11.h>

namespace tk::bindings {

void define_flow(pybind11::module_& module);

}  // namespace tk::bindings
