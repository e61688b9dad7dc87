// Fibers: stacks of their own that one thread of the operating system switches between.
//
// x86-64 switches in ten instructions; other machines take the C library's contexts. Both sanitizers are told of every
// switch: AddressSanitizer which stack is in use, ThreadSanitizer which fiber runs, and that a switch alone orders
// nothing, so that only barriers do.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
// The emulator's own bookkeeping is no part of the kernel under test.
#define TK_UNCHECKED __attribute__((no_sanitize("thread"), noinline))
#else
#define TK_UNCHECKED
#endif

namespace tk::emulator {

#if defined(__x86_64__)
struct Context {
    void* stack_pointer;
};
// Saves the registers that calls keep, and the stack pointer in *from; continues where `to` was saved.
extern "C" void tk_switch_context(void** from, void* to);
__asm__(R"(.text
.weak tk_switch_context
.type tk_switch_context,@function
tk_switch_context:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size tk_switch_context, . - tk_switch_context
)");
#else
using Context = ucontext_t;
#endif

// A flow of control: a fiber, or the scheduler, which keeps the stack that it was called on.
struct Flow {
    Context context;
    char* stack = nullptr;
    std::size_t stack_bytes = 0;
#if defined(__SANITIZE_ADDRESS__)
    void* fake_stack = nullptr;
#endif
#if defined(__SANITIZE_THREAD__)
    void* tsan = nullptr;
#endif
};

// Makes `flow` begin at `entry`, which never returns, on its own stack.
TK_UNCHECKED inline void prepare(Flow& flow, char* stack, std::size_t stack_bytes, void (*entry)()) {
    flow.stack = stack;
    flow.stack_bytes = stack_bytes;
#if defined(__x86_64__)
    // Six registers and the address to return to; the stack is then 8 past a multiple of 16, as after a call.
    const auto top = (reinterpret_cast<std::uintptr_t>(stack) + stack_bytes) & ~std::uintptr_t(63);
    void** frame = reinterpret_cast<void**>(top) - 8;
    std::memset(frame, 0, 8 * sizeof(void*));
    frame[6] = reinterpret_cast<void*>(entry);
    flow.context.stack_pointer = frame;
#else
    getcontext(&flow.context);
    flow.context.uc_stack.ss_sp = stack;
    flow.context.uc_stack.ss_size = stack_bytes;
    flow.context.uc_link = nullptr;
    makecontext(&flow.context, entry, 0);
#endif
#if defined(__SANITIZE_THREAD__)
    if (flow.tsan == nullptr) flow.tsan = __tsan_create_fiber(0);
#endif
}

// Continues `to`; returns when something continues `from`. `last`: `from` will never be continued. `ordered`: what
// `from` did happens before what `to` does next.
TK_UNCHECKED inline void switch_flow(Flow& from, Flow& to, bool last, [[maybe_unused]] bool ordered) {
#if defined(__SANITIZE_THREAD__)
    __tsan_switch_to_fiber(to.tsan, ordered ? 0 : __tsan_switch_to_fiber_no_sync);
#endif
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(last ? nullptr : &from.fake_stack, to.stack, to.stack_bytes);
#else
    static_cast<void>(last);
#endif
#if defined(__x86_64__)
    tk_switch_context(&from.context.stack_pointer, to.context.stack_pointer);
#else
    swapcontext(&from.context, &to.context);
#endif
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(from.fake_stack, nullptr, nullptr);
#endif
}

// First thing on a new fiber, which `from` switched to.
TK_UNCHECKED inline void arrived([[maybe_unused]] Flow& from) {
#if defined(__SANITIZE_ADDRESS__)
    const void* stack = nullptr;
    __sanitizer_finish_switch_fiber(nullptr, &stack, &from.stack_bytes);
    from.stack = static_cast<char*>(const_cast<void*>(stack));
#endif
}

inline void forbid([[maybe_unused]] const void* memory, [[maybe_unused]] std::size_t bytes) {
#if defined(__SANITIZE_ADDRESS__)
    __asan_poison_memory_region(memory, bytes);
#endif
}
inline void allow([[maybe_unused]] const void* memory, [[maybe_unused]] std::size_t bytes) {
#if defined(__SANITIZE_ADDRESS__)
    __asan_unpoison_memory_region(memory, bytes);
#endif
}
inline void release([[maybe_unused]] void* key) {
#if defined(__SANITIZE_THREAD__)
    __tsan_release(key);
#endif
}
inline void acquire([[maybe_unused]] void* key) {
#if defined(__SANITIZE_THREAD__)
    __tsan_acquire(key);
#endif
}

}  // namespace tk::emulator
