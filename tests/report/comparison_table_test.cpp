#include "twingrad/report/comparison_table.h"

#include <gtest/gtest.h>

#include "twingrad/compare/comparison.h"

namespace twingrad {
namespace {

TensorComparison row(const std::string& name, Verdict verdict, std::int64_t identical,
                     const std::string& cause = "") {
  return {.name = name,
          .shape = {3, 4},
          .largest = 0.5,
          .max_abs = 2e-3,
          .max_ulp = 12.25,
          .entries = 12,
          .identical = identical,
          .manual_error = 3e-4,
          .autograd_error = 1e-5,
          .verdict = verdict,
          .cause = cause};
}

Comparison some_comparison() {
  Comparison comparison;
  comparison.has_reference = true;
  comparison.rows = 2000;
  comparison.rows_set_aside = 100;
  comparison.at_fault = "layer 1, relu";
  comparison.tensors = {
      row("logits.grad", Verdict::identical, 12), row("2.weight.grad", Verdict::same_to_rounding, 3),
      row("0.output.grad", Verdict::differs, 0, "sign"), row("0.bias.grad", Verdict::follows, 1)};
  comparison.tensors[0].manual_error = comparison.tensors[0].max_abs = comparison.tensors[0].max_ulp = 0;
  comparison.tensors[2].max_ulp = 3e7;
  return comparison;
}

TEST(ComparisonTable, HasARowPerTensorAndAConclusion) {
  EXPECT_EQ(comparison_table(some_comparison(), "a network"),
            R"(a network · 100 of 2,000 rows set aside near a kink

                                            |manual - autograd|  error to float64
tensor         shape         largest      abs  in ulp identical    manual autograd  verdict
logits.grad    [3, 4]        5.0e-01        0       0      100%         0  1.0e-05  identical
2.weight.grad  [3, 4]        5.0e-01  2.0e-03    12.2       25%   3.0e-04  1.0e-05  same to rounding
0.output.grad  [3, 4]        5.0e-01  2.0e-03   3e+07        0%   3.0e-04  1.0e-05  DIFFERS: sign <- the first: layer 1, relu
0.bias.grad    [3, 4]        5.0e-01  2.0e-03    12.2        8%   3.0e-04  1.0e-05  DIFFERS: follows from 0.output.grad

2 of 4 tensors agree; the manual twin is nearer to float64 in 1, the autograd twin in 3
at fault: layer 1, relu
)");
}

TEST(ComparisonTable, WithoutAReferenceHasNoErrorsToIt) {
  Comparison comparison = some_comparison();
  comparison.has_reference = false;
  comparison.rows_set_aside = 101;
  comparison.at_fault = "";
  comparison.tensors.resize(2);
  comparison.tensors[1].entries = 1000;
  comparison.tensors[1].identical = 999;
  EXPECT_EQ(comparison_table(comparison, "a network"),
            R"(a network · 101 of 2,000 rows set aside near a kink (more than 5%)

                                            |manual - autograd|  
tensor         shape         largest      abs  in ulp identical  verdict
logits.grad    [3, 4]        5.0e-01        0       0      100%  identical
2.weight.grad  [3, 4]        5.0e-01  2.0e-03    12.2       99%  same to rounding

2 of 2 tensors agree
)");
}

TEST(ComparisonTable, CountsAndRoundsAtTheEdges) {
  Comparison comparison;
  comparison.has_reference = true;
  comparison.rows = 1;
  comparison.at_fault = "layer 2";
  comparison.tensors = {row("a", Verdict::identical, 12), row("b", Verdict::differs, 6),
                        row("c", Verdict::differs, 6, "sign"), row("d", Verdict::same_to_rounding, 11)};
  comparison.tensors[0].manual_error = comparison.tensors[0].autograd_error;  // nearer in neither
  comparison.tensors[0].largest = 0;
  comparison.tensors[0].max_ulp = 1e4;
  comparison.tensors[1].max_ulp = 9999;
  comparison.tensors[2].manual_error = 1e-6;
  comparison.tensors[3].manual_error = 2e-6;
  comparison.tensors[3].shape = {};
  EXPECT_EQ(comparison_table(comparison, "another"),
            R"(another · 0 of 1 rows set aside near a kink

                                     |manual - autograd|  error to float64
tensor  shape         largest      abs  in ulp identical    manual autograd  verdict
a       [3, 4]              0  2.0e-03   1e+04      100%   1.0e-05  1.0e-05  identical
b       [3, 4]        5.0e-01  2.0e-03  9999.0       50%   3.0e-04  1.0e-05  DIFFERS <- the first: layer 2
c       [3, 4]        5.0e-01  2.0e-03    12.2       50%   1.0e-06  1.0e-05  DIFFERS: sign
d       []            5.0e-01  2.0e-03    12.2       92%   2.0e-06  1.0e-05  same to rounding

2 of 4 tensors agree; the manual twin is nearer to float64 in 2, the autograd twin in 1
at fault: layer 2
)");
}

}  // namespace
}  // namespace twingrad
