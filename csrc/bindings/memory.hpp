// The memory that a call was given: what it writes lies apart from all that it reads or writes elsewhere.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <string>
#include <vector>

namespace tk::bindings {

namespace py = pybind11;

inline void check(bool holds, const std::string& message) {
    if (!holds) throw py::value_error(message);
}

// Of one call, from its first view to its end. A signal's handler may make another call inside of it.
class Memory {
 public:
    Memory() : outer_(of_call) { of_call = this; }
    ~Memory() { of_call = outer_; }
    Memory(const Memory&) = delete;
    Memory& operator=(const Memory&) = delete;

    static void add(const std::string& name, const void* data, std::int64_t bytes, bool written) {
        if (bytes == 0) return;
        const auto begin = reinterpret_cast<std::uintptr_t>(data), end = begin + static_cast<std::uintptr_t>(bytes);
        for (const Part& other : of_call->parts_)
            check(!(written || other.written) || end <= other.begin || other.end <= begin,
                  (written ? name : other.name) + ": expected memory of its own for the result, got that of " +
                      (written ? other.name : name));
        of_call->parts_.push_back({name, begin, end, written});
    }

 private:
    struct Part {
        std::string name;
        std::uintptr_t begin, end;
        bool written;
    };
    static inline thread_local Memory* of_call = nullptr;

    Memory* const outer_;
    std::vector<Part> parts_;
};

}  // namespace tk::bindings
