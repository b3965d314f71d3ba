#include "custom_functions.h"

#include <twingrad/gradcheck/gradcheck.h>

#include <iostream>
#include <string>
#include <vector>

// gradcheck must accept the right functions and reject the others.
int main() {
  const std::vector<custom_functions::Kind> kinds = custom_functions::kinds();
  int wrong_verdicts = 0, rejected = 0;
  for (const custom_functions::Kind& kind : kinds) {
    for (const auto mode : {twingrad::GradcheckMode::full, twingrad::GradcheckMode::fast}) {
      for (int mistake = 0; mistake <= static_cast<int>(kind.mistakes.size()); ++mistake) {
        twingrad::GradcheckOptions options;
        options.mode = mode;
        const twingrad::GradcheckResult result =
            twingrad::gradcheck(custom_functions::function_of(kind, mistake), kind.inputs, options);
        rejected += result ? 0 : 1;
        if (result.passed != (mistake == 0)) {
          ++wrong_verdicts;
          std::cout << kind.name << ", " << (mistake == 0 ? "right" : kind.mistakes[mistake - 1]) << "\n"
                    << result.to_string();
        }
      }
    }
  }
  std::cout << kinds.size() << " kinds of functions; " << rejected << " mistakes rejected in two modes; "
            << wrong_verdicts << " wrong verdicts\n";
  return wrong_verdicts == 0 ? 0 : 1;
}
