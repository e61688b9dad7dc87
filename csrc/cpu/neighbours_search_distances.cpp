// The k nearest points of each query: distances alone.
#include "neighbours_search.hpp"

TK_BEGIN_NAMESPACE

template bool neighbours_search_of<false>(const NeighboursSearchArguments<float>&, int, Interrupt);
template bool neighbours_search_of<false>(const NeighboursSearchArguments<double>&, int, Interrupt);

TK_END_NAMESPACE
