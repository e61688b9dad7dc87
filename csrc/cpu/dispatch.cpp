// Which instruction set's kernels run here. Compiled for the oldest machine.
#include <pthread.h>

#include <atomic>
#include <cstdlib>
#include <cstring>

#include "kernels.hpp"

namespace tk {

namespace baseline {
const Kernels& table();
}
namespace avx2 {
const Kernels& table();
}
namespace avx512 {
const Kernels& table();
}

namespace {

struct InstructionSet {
    const char* name;
    bool (*supported)();
    const Kernels& (*table)();
};

// From the lowest to the highest.
const InstructionSet instruction_sets[] = {
    {"baseline", [] { return true; }, baseline::table},
#if defined(TK_AVX2)
    {"avx2", [] { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }, avx2::table},
#endif
#if defined(TK_AVX512)
    {"avx512",
     [] {
         return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
     },
     avx512::table},
#endif
};

const InstructionSet& best(const char* at_most) {
    const InstructionSet* chosen = &instruction_sets[0];
    for (const InstructionSet& set : instruction_sets) {
        if (!set.supported()) break;
        chosen = &set;
        if (at_most != nullptr && std::strcmp(at_most, set.name) == 0) break;
    }
    return *chosen;
}

std::atomic<bool> forked{false};
const int handler_installed = pthread_atfork(nullptr, nullptr, [] { forked = true; });

}  // namespace

const Kernels& kernels() {
    static const Kernels& chosen = best(std::getenv("THERMOKERN_ISA")).table();
    return chosen;
}

const char* best_instruction_set() { return best(nullptr).name; }

const char* instruction_set(int number) {
    constexpr int count = sizeof instruction_sets / sizeof instruction_sets[0];
    return number < count ? instruction_sets[number].name : nullptr;
}

int threads_allowed(int requested) {
    if (forked || requested < 1) return 1;
    return handler_installed == 0 ? requested : 1;
}

}  // namespace tk
