// The k nearest points of each query: distances and indices.
#include "neighbours_search.hpp"

TK_BEGIN_NAMESPACE

template bool neighbours_search_of<true>(const NeighboursSearchArguments<float>&, int, Interrupt);
template bool neighbours_search_of<true>(const NeighboursSearchArguments<double>&, int, Interrupt);

TK_END_NAMESPACE
