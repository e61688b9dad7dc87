// The ops on scores that a network computed, in thermokern._cuda.
#pragma once

#include <pybind11/pybind11.h>

namespace tk::bindings {

void define_cuda_stream(pybind11::module_& module);

}  // namespace tk::bindings
