// Ignores the result of each check. The compiler must warn.
#include <twingrad/gradcheck/gradcheck.h>

void ignore_results() {
  twingrad::gradcheck(nullptr, {});
  twingrad::gradgradcheck(nullptr, {});
  twingrad::check_backward(nullptr, nullptr, {});
}
