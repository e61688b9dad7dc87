// One block of threads: fibers that run until they wait, a scheduler that lets them go on together.
//
// A thread runs alone until it reaches a barrier, a warp collective or its end. When none can run, the scheduler opens
// the barrier if every thread of the block stands at it, and each warp collective whose whole mask has arrived; where
// it can open nothing it says who waits where. Shared memory begins as NaN, with guard words behind each variable.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <numeric>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "fibers.hpp"

struct uint3 {
    unsigned x, y, z;
};
struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

namespace tk::emulator {

struct Error : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// The order in which threads run between two barriers; with `random` one warp goes on to its next barrier before the
// others begin. A correct kernel gives the same bits in all.
enum class Order { forward, reverse, random };

struct Options {
    Order order = Order::forward;
    unsigned seed = 0;
};
inline thread_local Options options;

inline thread_local uint3 thread_index, block_index;
inline thread_local dim3 block_size, grid_size;

constexpr unsigned warp_size = 32;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr std::size_t stack_bytes = 128 << 10;
#else
constexpr std::size_t stack_bytes = 32 << 10;
#endif
constexpr std::size_t most_shared_bytes = 227 << 10;
constexpr std::size_t guard_bytes = 64;
constexpr unsigned char guard = 0xFD, uninitialised = 0xFF;  // eight bytes of 0xFF are a NaN, in float and double

struct Site {
    const char* file = "";
    int line = 0;
    bool operator==(const Site& other) const { return line == other.line && std::strcmp(file, other.file) == 0; }
};
inline std::string describe(const Site& site) {
    const char* name = std::strrchr(site.file, '/');
    return std::string(name == nullptr ? site.file : name + 1) + ":" + std::to_string(site.line);
}

enum class State : std::uint8_t { ready, at_barrier, at_collective, finished };

struct Thread {
    Flow flow;
    uint3 index;
    unsigned rank;
    State state;
    Site site;                       // where it waits
    unsigned mask;                   // of the collective that it waits at
    std::uint64_t outbox;            // what it brings to the collective
    std::uint64_t inbox[warp_size];  // what the lanes of the mask brought
    unsigned barriers, collectives;  // passed
    unsigned opened;                 // the collective that was opened last: 0 or 1, alternating
    char keys[2];                    // of its collectives, for ThreadSanitizer
};

// A variable in shared memory, known by the address of a constant of its declaration.
struct SharedVariable {
    const void* key;
    const char* name;
    std::size_t offset, bytes;
};

class Block {
 public:
    void run(const std::function<void()>& kernel, std::size_t dynamic_bytes);
    void wait_at_barrier(Site site);
    void wait_at_collective(unsigned mask, std::uint64_t value, Site site);
    void* shared(const void* key, const char* name, std::size_t bytes);
    void* dynamic_shared() { return memory_; }
    unsigned lane() const { return current_->rank % warp_size; }
    Thread& current() { return *current_; }
    [[noreturn]] void fail(const std::string& message);

 private:
    static void enter();
    void start(std::size_t dynamic_bytes);
    void schedule();
    void resume(Thread& thread);
    bool resume_ready(int warp);
    void leave(bool last);
    bool open_barrier();
    bool open_collectives();
    void open_collective(unsigned warp, unsigned mask, const Site& site);
    void check_guards();
    [[noreturn]] void report_deadlock();
    Thread& of_warp(unsigned warp, unsigned lane) { return threads_[warp * warp_size + lane]; }

    std::vector<Thread> threads_;
    std::vector<char> stacks_, shared_;
    std::vector<unsigned> order_;
    char* memory_ = nullptr;  // of shared_
    std::size_t used_ = 0;
    SharedVariable variables_[32];
    unsigned n_variables_ = 0, alive_ = 0;
    Flow scheduler_;
    Thread* current_ = nullptr;
    const std::function<void()>* kernel_ = nullptr;
    std::string error_;
    char start_key_, end_key_, barrier_keys_[2];
};

inline thread_local Block* block = nullptr;

// ---- on a thread's fiber

TK_UNCHECKED inline void Block::leave(bool last) {
    if (last) release(&end_key_);
    switch_flow(current_->flow, scheduler_, last, false);
}

TK_UNCHECKED inline void Block::enter() {
    Block& self = *block;
    arrived(self.scheduler_);
    acquire(&self.start_key_);
    (*self.kernel_)();
    self.current_->state = State::finished;
    --self.alive_;
    self.leave(true);
    std::abort();
}

// Ends the block: the scheduler throws, and the fibers are dropped.
[[noreturn]] TK_UNCHECKED inline void Block::fail(const std::string& message) {
    if (error_.empty())
        error_ = message + ", thread " + std::to_string(current_->rank) + " at " + describe(current_->site);
    current_->state = State::finished;
    leave(true);
    std::abort();
}

TK_UNCHECKED inline void Block::wait_at_barrier(Site site) {
    Thread& thread = *current_;
    thread.site = site;
    thread.state = State::at_barrier;
    char* key = &barrier_keys_[thread.barriers++ % 2];
    release(key);
    leave(false);
    acquire(key);
}

TK_UNCHECKED inline void Block::wait_at_collective(unsigned mask, std::uint64_t value, Site site) {
    Thread& thread = *current_;
    thread.site = site;
    if ((mask >> (thread.rank % warp_size) & 1) == 0) fail("a thread calls a warp collective that its mask leaves out");
    thread.mask = mask;
    thread.outbox = value;
    thread.state = State::at_collective;
    release(&thread.keys[thread.collectives % 2]);
    leave(false);
    const unsigned warp = thread.rank / warp_size;
    for (unsigned lane = 0; lane < warp_size; ++lane) {
        if (mask >> lane & 1) {
            Thread& other = of_warp(warp, lane);  // at most one collective ahead: its key of this one still holds
            acquire(&other.keys[other.opened]);
        }
    }
}

TK_UNCHECKED inline void* Block::shared(const void* key, const char* name, std::size_t bytes) {
    for (unsigned i = 0; i < n_variables_; ++i)
        if (variables_[i].key == key) return memory_ + variables_[i].offset;
    const std::size_t offset = (used_ + 15) / 16 * 16;
    if (n_variables_ == 32 || offset + bytes + guard_bytes > most_shared_bytes) fail("too much shared memory");
    used_ = offset + bytes + guard_bytes;
    variables_[n_variables_++] = {key, name, offset, bytes};
    allow(memory_ + offset, bytes + guard_bytes);
    for (std::size_t i = 0; i < guard_bytes; ++i) memory_[offset + bytes + i] = static_cast<char>(guard);
    forbid(memory_ + offset + bytes, guard_bytes);
    return memory_ + offset;
}

// ---- on the scheduler's stack

TK_UNCHECKED inline void Block::start(std::size_t dynamic_bytes) {
    const unsigned n = block_size.x * block_size.y * block_size.z;
    if (n == 0 || n > 1024) throw Error("a block of " + std::to_string(n) + " threads");
    if (dynamic_bytes > most_shared_bytes - guard_bytes) throw Error("more dynamic shared memory than any device has");
    shared_.resize(most_shared_bytes);
    if (stacks_.size() < n * stack_bytes) stacks_ = std::vector<char>(n * stack_bytes);  // no copy of dropped fibers
    allow(shared_.data(), shared_.size());
    allow(stacks_.data(), stacks_.size());  // of fibers that were dropped
    memory_ = shared_.data();
    std::memset(memory_, uninitialised, shared_.size());
    used_ = 0;
    n_variables_ = 0;
    error_.clear();
    alive_ = n;
    if (threads_.size() < n) threads_.resize(n);
    for (unsigned i = 0; i < n; ++i) {
        Thread& thread = threads_[i];
        thread.index = {i % block_size.x, i / block_size.x % block_size.y, i / block_size.x / block_size.y};
        thread.rank = i;
        thread.state = State::ready;
        thread.site = {};
        thread.barriers = thread.collectives = thread.opened = 0;
        char* stack = stacks_.data() + i * stack_bytes;
        std::memset(stack, guard, guard_bytes);
        prepare(thread.flow, stack, stack_bytes, enter);
    }
    order_.resize(n);
    std::iota(order_.begin(), order_.end(), 0u);
    if (options.order == Order::reverse) std::reverse(order_.begin(), order_.end());
    static const char dynamic_key = 0;
    forbid(memory_, shared_.size());
    shared(&dynamic_key, "dynamic shared memory", dynamic_bytes);
#if defined(__SANITIZE_THREAD__)
    scheduler_.tsan = __tsan_get_current_fiber();
#endif
    release(&start_key_);
}

TK_UNCHECKED inline void Block::resume(Thread& thread) {
    current_ = &thread;
    thread_index = thread.index;
    switch_flow(scheduler_, thread.flow, false, true);
    if (!error_.empty()) throw Error(error_);
}

TK_UNCHECKED inline bool Block::open_barrier() {
    const unsigned n = static_cast<unsigned>(order_.size());
    const Thread* first = nullptr;
    for (unsigned i = 0; i < n; ++i) {
        const Thread& thread = threads_[i];
        if (thread.state == State::finished) continue;
        if (thread.state != State::at_barrier) return false;
        if (first != nullptr && !(thread.site == first->site))
            throw Error("divergent barrier: thread " + std::to_string(first->rank) + " is at " + describe(first->site) +
                        ", thread " + std::to_string(i) + " at " + describe(thread.site));
        if (first == nullptr) first = &thread;
    }
    if (alive_ != n)
        throw Error("divergent barrier: " + std::to_string(n - alive_) + " threads returned before the one at " +
                    describe(first->site));
    for (unsigned i = 0; i < n; ++i) threads_[i].state = State::ready;
    return true;
}

TK_UNCHECKED inline bool Block::open_collectives() {
    const unsigned n = static_cast<unsigned>(order_.size());
    bool opened = false;
    for (unsigned warp = 0; warp * warp_size < n; ++warp) {
        unsigned waiting = 0;
        for (unsigned lane = 0; lane < warp_size && warp * warp_size + lane < n; ++lane)
            if (of_warp(warp, lane).state == State::at_collective) waiting |= 1u << lane;
        for (unsigned lane = 0; lane < warp_size; ++lane) {
            if ((waiting >> lane & 1) == 0) continue;
            const unsigned mask = of_warp(warp, lane).mask;
            if ((mask & waiting) != mask) continue;
            open_collective(warp, mask, of_warp(warp, lane).site);
            waiting &= ~mask;
            opened = true;
        }
    }
    return opened;
}

TK_UNCHECKED inline void Block::open_collective(unsigned warp, unsigned mask, const Site& site) {
    std::uint64_t values[warp_size] = {};
    for (unsigned lane = 0; lane < warp_size; ++lane) {
        if ((mask >> lane & 1) == 0) continue;
        const Thread& thread = of_warp(warp, lane);
        if (thread.mask != mask) throw Error("lanes of one warp collective have different masks at " + describe(site));
        if (!(thread.site == site))
            throw Error("lanes of one mask are at different collectives, " + describe(site) + " and " +
                        describe(thread.site));
        values[lane] = thread.outbox;
    }
    for (unsigned lane = 0; lane < warp_size; ++lane) {
        if ((mask >> lane & 1) == 0) continue;
        Thread& thread = of_warp(warp, lane);
        std::memcpy(thread.inbox, values, sizeof values);
        thread.opened = thread.collectives++ % 2;
        thread.state = State::ready;
    }
}

TK_UNCHECKED inline void Block::report_deadlock() {
    std::string message = "deadlock:";
    const Thread* reported = nullptr;
    for (State state : {State::at_barrier, State::at_collective}) {
        unsigned count = 0;
        for (unsigned i = 0; i < order_.size(); ++i) {
            if (threads_[i].state != state) continue;
            if (count++ == 0) reported = &threads_[i];
        }
        if (count > 0)
            message += " " + std::to_string(count) +
                       (state == State::at_barrier ? " at the barrier " : " at the warp collective ") +
                       describe(reported->site) + ",";
    }
    throw Error(message + " " + std::to_string(order_.size() - alive_) + " threads returned");
}

TK_UNCHECKED inline void Block::check_guards() {
    for (unsigned v = 0; v < n_variables_; ++v) {
        const SharedVariable& variable = variables_[v];
        const char* end = memory_ + variable.offset + variable.bytes;
        allow(end, guard_bytes);
        for (std::size_t i = 0; i < guard_bytes; ++i)
            if (static_cast<unsigned char>(end[i]) != guard)
                throw Error(std::string("shared memory written past the end of ") + variable.name + ", byte " +
                            std::to_string(variable.bytes + i) + " of " + std::to_string(variable.bytes));
    }
    for (unsigned i = 0; i < order_.size(); ++i)
        for (std::size_t b = 0; b < guard_bytes; ++b)
            if (static_cast<unsigned char>(threads_[i].flow.stack[b]) != guard)
                throw Error("a thread's stack is full: raise stack_bytes in the emulator");
}

// Whether any thread could run, of one warp or of all (−1).
TK_UNCHECKED inline bool Block::resume_ready(int warp) {
    bool ran = false;
    for (unsigned i : order_) {
        if (threads_[i].state != State::ready || (warp >= 0 && i / warp_size != static_cast<unsigned>(warp))) continue;
        resume(threads_[i]);
        ran = true;
    }
    return ran;
}

TK_UNCHECKED inline void Block::schedule() {
    std::minstd_rand random(options.seed + 1 + block_index.x);
    const bool shuffled = options.order == Order::random;
    const auto warps = static_cast<unsigned>((order_.size() + warp_size - 1) / warp_size);
    bool barrier_opened = true;
    while (alive_ > 0) {
        if (shuffled) std::shuffle(order_.begin(), order_.end(), random);
        if (shuffled && barrier_opened) {
            const int ahead = static_cast<int>(random() % warps);
            while (resume_ready(ahead)) open_collectives();
        }
        const bool ran = resume_ready(-1);
        if (alive_ == 0) break;
        barrier_opened = open_barrier();
        if (barrier_opened || open_collectives() || ran) continue;
        report_deadlock();
    }
}

TK_UNCHECKED inline void Block::run(const std::function<void()>& kernel, std::size_t dynamic_bytes) {
    block = this;
    kernel_ = &kernel;
    start(dynamic_bytes);
    try {
        schedule();
        check_guards();
    } catch (...) {
        acquire(&end_key_);
        allow(shared_.data(), shared_.size());
        throw;
    }
    acquire(&end_key_);
    allow(shared_.data(), shared_.size());
}

}  // namespace tk::emulator
