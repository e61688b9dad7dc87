// What thermokern._core is made of, a file each.
#pragma once

#include <pybind11/pybind11.h>

namespace tk::bindings {

void define_neighbours(pybind11::module_& module);
void define_paths(pybind11::module_& module);   // normals, scores and everything that runs along paths
void define_stream(pybind11::module_& module);  // ops on scores that a network computed

}  // namespace tk::bindings
