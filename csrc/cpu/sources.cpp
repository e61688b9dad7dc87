// What kernels of scores call, compiled once for all of them.
#include "sources.hpp"

TK_BEGIN_NAMESPACE

TK_CALLED(float, )
TK_CALLED(double, )

TK_END_NAMESPACE
