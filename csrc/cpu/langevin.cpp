// Linear Langevin paths, one tile of paths at a time.
#include "../core/langevin.hpp"

#include "sources.hpp"

TK_BEGIN_NAMESPACE

template <class S>
bool langevin(const LangevinArguments<S>& arguments, int threads, Interrupt interrupt) {
    const LinearLangevin<S> system = system_of(arguments);
    const double work =
        static_cast<double>(arguments.n_steps) * static_cast<double>(arguments.dim * (6 * arguments.dim + 20));
    return with_dim<true, S>(arguments.dim, [&](auto d) {
        return for_each_tile<S>(arguments.n, work, threads, interrupt, [&](std::int64_t first, int) {
            using D = decltype(d);
            const int dim = D::value(arguments.dim);
            Native<S> x[D::bound];
            gather<S>(arguments.x, arguments.n, dim, first, x);
            const auto path = path_index<S>(arguments.path_offset + static_cast<std::uint64_t>(first));
            const Native<S> sum = run_langevin<D::bound>(system, dim, path, x);
            scatter<S>(&sum, arguments.n, 1, first, arguments.work);
            scatter<S>(x, arguments.n, dim, first, arguments.x_last);
        });
    });
}

template bool langevin(const LangevinArguments<float>&, int, Interrupt);
template bool langevin(const LangevinArguments<double>&, int, Interrupt);

TK_END_NAMESPACE
