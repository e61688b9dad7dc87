// Every CPU kernel against stored float64 references, without Python: `run_kernels problems.bin` prints a line for each
// kernel and precision, and fails if an error is above its bound, if two threads give other bits than one, if bits
// depend on the caller's mode for denormal numbers, or if a kernel leaves that mode changed.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <map>

#include "../../csrc/cpu/denormals.hpp"
#include "calls.hpp"

namespace {

std::vector<Array*> outputs(Call& call) {
    std::vector<Array*> out;
    for (Value& value : call.arguments)
        if (value.array.output) out.push_back(&value.array);
    return out;
}

// The largest RMS error over its bound of the columns of an output; 0 where there is nothing to compare.
double error_of(Array& array) {
    double worst = 0;
    const std::size_t columns = array.bounds.size(), count = array.reference.size();
    for (std::size_t column = 0; column < columns; ++column) {
        double sum = 0;
        for (std::size_t i = column; i < count; i += columns) {
            const double difference = array.at(static_cast<std::int64_t>(i)) - array.reference[i];
            if (difference != 0 && array.at(static_cast<std::int64_t>(i)) != array.reference[i])
                sum += difference * difference;
        }
        const double rms = std::sqrt(sum / std::max<double>(1, static_cast<double>(count / columns)));
        const double relative = rms == 0 ? 0 : rms / array.bounds[column];
        if (!(relative <= worst)) worst = relative;
    }
    return worst;
}

// Whether statistics of many numbers, whose tree threads share, have the bits of one thread's.
bool statistics_deal_alike() {
    std::vector<float> values(100003);
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = std::sin(static_cast<float>(i));
    const auto moments = [&](int threads) {
        return tk::reduce_dealt<tk::Moments>(values.data(), static_cast<std::int64_t>(values.size()), 1.0, threads);
    };
    const tk::Moments one = moments(1), two = moments(2);
    return one.mean == two.mean && one.m2 == two.m2 && one.m3 == two.m3 && one.m4 == two.m4;
}

struct Tally {
    int calls = 0, outputs = 0, wrong = 0;
    double worst = 0;
};

bool run_in_its_precision(Call& call, int threads) {
    return call.is_double ? run<double>(call, threads) : run<float>(call, threads);
}

// The bits of all outputs after a run.
std::vector<std::vector<std::uint64_t>> bits(Call& call, int threads) {
    for (Array* array : outputs(call)) array->bytes.assign(array->bytes.size(), ~std::uint64_t{0});
    if (!run_in_its_precision(call, threads)) throw std::runtime_error(call.kernel + ": unknown here");
    std::vector<std::vector<std::uint64_t>> out;
    for (Array* array : outputs(call)) out.push_back(array->bytes);
    return out;
}

}  // namespace

int main(int argc, char** argv) try {
    if (argc != 2) throw std::runtime_error("usage: run_kernels problems.bin");
    const std::uint32_t counter[4] = {0, 0, 0, 0}, known[4] = {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8};
    std::uint32_t words[4];
    tk::kernels().philox(counter, 0, words);
    int failures = std::memcmp(words, known, sizeof known) != 0;  // of Random123's table of known answers
    std::printf("%s, %d lanes; philox %s\n", tk::kernels().name, tk::kernels().lanes,
                failures ? "WRONG" : "as published");

    if (!statistics_deal_alike()) ++failures, std::puts("moments: bits depend on threads");

    std::map<std::string, Tally> tallies;
    ProblemFile file(argv[1]);
    for (Call call; file.next(call);) {
        Tally& tally = tallies[call.kernel + (call.is_double ? " float64" : " float32")];
        ++tally.calls;
        const auto with_two = bits(call, 2), with_one = bits(call, 1);
        std::vector<std::vector<std::uint64_t>> flushed;
        {
            const tk::DenormalScope callers(tk::Denormals::flushed);
            const tk::DenormalScope::Control mode = tk::DenormalScope(tk::Denormals::flushed).before();
            flushed = bits(call, 1);
            if (tk::DenormalScope(tk::Denormals::flushed).before() != mode) ++tally.wrong, std::puts("mode changed");
        }
        if (with_two != with_one || flushed != with_one) {
            ++tally.wrong;
            std::printf("%s: bits depend on threads or on the caller's mode\n", call.kernel.c_str());
        }
        for (Array* array : outputs(call)) {
            if (array->bounds.empty()) continue;
            const double error = error_of(*array);
            ++tally.outputs;
            tally.worst = std::max(tally.worst, error);
            if (!(error <= 1)) {
                ++tally.wrong;
                std::printf("%s: an RMS error is %.3g times its bound\n", call.kernel.c_str(), error);
            }
        }
    }
    for (const auto& [name, tally] : tallies) {
        std::printf("%-28s %3d calls, %3d outputs, worst error %5.2f of its bound%s\n", name.c_str(), tally.calls,
                    tally.outputs, tally.worst, tally.wrong > 0 ? ", WRONG" : "");
        failures += tally.wrong;
    }
    std::puts(failures > 0 || tallies.empty() ? "FAILED" : "all as they should be");
    return failures > 0 || tallies.empty();
} catch (const std::exception& error) {
    std::puts(error.what());
    return 2;
}
