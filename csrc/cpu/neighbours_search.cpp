// The k nearest points of each query: which kernel finds them.
#include "neighbours_search.hpp"

TK_BEGIN_NAMESPACE

template <class S>
bool pairs(const NeighboursSearchArguments<S>&, int threads, Interrupt);

template <class S>
bool neighbours_search(const NeighboursSearchArguments<S>& arguments, int threads, Interrupt interrupt) {
    if (arguments.own && arguments.data.bounds == nullptr && arguments.k <= largest_list)
        return pairs(arguments, threads, interrupt);
    return arguments.indices == nullptr ? neighbours_search_of<false>(arguments, threads, interrupt)
                                        : neighbours_search_of<true>(arguments, threads, interrupt);
}

template bool neighbours_search(const NeighboursSearchArguments<float>&, int, Interrupt);
template bool neighbours_search(const NeighboursSearchArguments<double>&, int, Interrupt);

TK_END_NAMESPACE
