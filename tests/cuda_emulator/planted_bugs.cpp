// Kernels with one bug each, which the emulator must report, and the same kernels without. `planted_bugs NAME ORDER`
// exits with 0 and prints the result's state, "right" or "wrong", or with 3 and the emulator's report.
#include <cmath>
#include <cstdio>
#include <map>

#include "cuda_emulator.hpp"

enum Bug {
    none,
    barrier_forgotten,
    divergent_barrier,
    full_mask_with_8_lanes,
    shared_write_past_the_end,
    early_return_before_a_barrier,
    syncwarp_forgotten,
    barrier_in_two_branches,
    lane_outside_its_mask,
    global_write_past_the_end,
    barrier_between_rounds_forgotten,
};
constexpr int threads = 256, warps = threads / 32;

__device__ float sum_of_warp(float value) {
    for (unsigned by = 16; by > 0; by /= 2) value += __shfl_down_sync(0xffffffffu, value, by);
    return value;
}

// out[block] = sum over the block's grid stride.
template <Bug Planted>
__global__ void __launch_bounds__(threads) sum_kernel(const float* in, float* out, int n) {
    TK_SHARED(float[warps], partial);
    const int lane = static_cast<int>(threadIdx.x % 32), warp = static_cast<int>(threadIdx.x / 32);
    const int first = static_cast<int>(blockIdx.x * threads + threadIdx.x);
    if (Planted == early_return_before_a_barrier && first >= n) return;
    float sum = 0;
    for (int i = first; i < n; i += static_cast<int>(gridDim.x) * threads) sum += in[i];
    sum = sum_of_warp(sum);
    if (lane == 0) partial[warp + (Planted == shared_write_past_the_end ? 1 : 0)] = sum;
    if (Planted == divergent_barrier) {
        if (warp == 0) __syncthreads();
    } else if (Planted == barrier_in_two_branches) {
        if (warp == 0)
            __syncthreads();
        else
            __syncthreads();
    } else if (Planted != barrier_forgotten) {
        __syncthreads();
    }
    if (warp == 0) {
        sum = lane < warps ? partial[lane] : 0.f;
        if (Planted == full_mask_with_8_lanes) {
            if (lane < warps) sum = sum_of_warp(sum);
        } else {
            sum = sum_of_warp(sum);
        }
        if (Planted == lane_outside_its_mask) __syncwarp(0x0fu);
        if (lane == 0) out[blockIdx.x + (Planted == global_write_past_the_end ? gridDim.x : 0)] = sum;
    }
}

// Each warp reverses its 32 numbers by shared memory, in a block of two dimensions.
template <Bug Planted>
__global__ void reverse_kernel(const float* in, float* out) {
    TK_DYN_SHARED(float, tile);
    const int at = static_cast<int>(threadIdx.y * blockDim.x + threadIdx.x);
    tile[at] = in[at];
    if (Planted != syncwarp_forgotten) __syncwarp();
    out[at] = tile[at ^ 31];
}

// Round after round every warp adds up the numbers of all threads.
template <Bug Planted>
__global__ void __launch_bounds__(threads) rounds_kernel(const float* in, float* out, int n) {
    TK_SHARED(float[threads], numbers);
    const int thread = static_cast<int>(threadIdx.x);
    float total = 0;
    for (int round = 0; round < 3; ++round) {
        numbers[thread] = in[(round * threads + thread) % n];
        __syncthreads();
        float sum = 0;
        for (int i = thread % 32; i < threads; i += 32) sum += numbers[i];
        total += sum_of_warp(sum);
        if (Planted != barrier_between_rounds_forgotten) __syncthreads();
    }
    if (thread % 32 == 0) out[thread / 32] = total;
}

// Counts even numbers with ballots and an integer atomic.
__global__ void count_kernel(const float* in, int* count, int n) {
    const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
    const unsigned votes = __ballot_sync(0xffffffffu, i < n && std::fmod(in[i < n ? i : 0], 2.f) == 0.f);
    if (threadIdx.x % 32 == 0) atomicAdd(count, __popc(votes));
}

template <Bug Planted>
bool sum_is_right(const std::vector<float>& in) {
    constexpr int blocks = 3;
    std::vector<float> out(blocks, -1.f);
    TK_LAUNCH(dim3(blocks), dim3(threads), 0, nullptr, sum_kernel<Planted>, in.data(), out.data(),
              static_cast<int>(in.size()));
    float sum = 0, expected = 0;
    for (float value : out) sum += value;
    for (float value : in) expected += value;
    return sum == expected;
}

template <Bug Planted>
bool reverse_is_right(const std::vector<float>& in) {
    std::vector<float> out(128);
    TK_LAUNCH(dim3(1), dim3(32, 4), 128 * sizeof(float), nullptr, reverse_kernel<Planted>, in.data(), out.data());
    bool right = true;
    for (std::size_t i = 0; i < 128; ++i) right = right && out[i] == in[i ^ 31];
    return right;
}

template <Bug Planted>
bool rounds_are_right(const std::vector<float>& in) {
    const int n = static_cast<int>(in.size());
    std::vector<float> out(warps);
    TK_LAUNCH(dim3(1), dim3(threads), 0, nullptr, rounds_kernel<Planted>, in.data(), out.data(), n);
    float expected = 0;
    for (int i = 0; i < 3 * threads; ++i) expected += in[static_cast<std::size_t>(i % n)];
    bool right = true;
    for (float value : out) right = right && value == expected;
    return right;
}

bool count_is_right(const std::vector<float>& in) {
    int count = 0, expected = 0;
    TK_LAUNCH(dim3(3), dim3(threads), 0, nullptr, count_kernel, in.data(), &count, static_cast<int>(in.size()));
    for (float value : in) expected += std::fmod(value, 2.f) == 0.f;
    return count == expected;
}

int main(int argc, char** argv) {
    if (argc != 3) return 2;
    const std::map<std::string, bool (*)(const std::vector<float>&)> kernels{
        {"sum", sum_is_right<none>},
        {"reverse", reverse_is_right<none>},
        {"count", count_is_right},
        {"rounds", rounds_are_right<none>},
        {"barrier-forgotten", sum_is_right<barrier_forgotten>},
        {"divergent-barrier", sum_is_right<divergent_barrier>},
        {"barrier-in-two-branches", sum_is_right<barrier_in_two_branches>},
        {"full-mask-with-8-lanes", sum_is_right<full_mask_with_8_lanes>},
        {"lane-outside-its-mask", sum_is_right<lane_outside_its_mask>},
        {"shared-write-past-the-end", sum_is_right<shared_write_past_the_end>},
        {"early-return-before-a-barrier", sum_is_right<early_return_before_a_barrier>},
        {"global-write-past-the-end", sum_is_right<global_write_past_the_end>},
        {"syncwarp-forgotten", reverse_is_right<syncwarp_forgotten>},
        {"barrier-between-rounds-forgotten", rounds_are_right<barrier_between_rounds_forgotten>},
    };
    const std::map<std::string, tk::emulator::Order> orders{{"forward", tk::emulator::Order::forward},
                                                            {"reverse", tk::emulator::Order::reverse},
                                                            {"random", tk::emulator::Order::random}};
    tk::emulator::options = {orders.at(argv[2]), 7};
    std::vector<float> in(700);  // the last of three blocks is not full
    for (std::size_t i = 0; i < in.size(); ++i) in[i] = static_cast<float>(i % 17) - 3.f;
    try {
        std::puts(kernels.at(argv[1])(in) ? "right" : "wrong");
    } catch (const tk::emulator::Error& error) {
        std::puts(error.what());
        return 3;
    }
    return 0;
}
