// What thermokern._cuda is made of, a file each; as thermokern._core.
#pragma once

#include <pybind11/pybind11.h>

namespace tk::bindings {

void define_cuda_neighbours(pybind11::module_& module);
void define_cuda_paths(pybind11::module_& module);
void define_cuda_stream(pybind11::module_& module);

}  // namespace tk::bindings
