#include <ATen/functorch/BatchedTensorImpl.h>
#include <c10/core/AutogradState.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <string>
#include <thread>

#include "functions.h"

// What a backward pass owes its callers beyond right gradients: liars that are right at contiguous tensors,
// for all gradients, in one call, in one thread.
namespace twingrad::gradcheck_tests {
namespace {

using ::testing::AllOf;
using ::testing::IsEmpty;
using ::testing::StartsWith;

class GradcheckContractTest : public ::testing::Test {
 protected:
  void SetUp() override { at::manual_seed(8); }
};

/// The numbers of a tensor as a kernel reads them that takes it for contiguous, with one stride at most.
/// Reads behind the memory give its last number.
Tensor read_linearly(const Tensor& tensor, std::int64_t row_stride, std::int64_t column_stride) {
  const std::int64_t columns = tensor.size(1);
  const auto in_memory = static_cast<std::int64_t>(tensor.storage().nbytes() / tensor.element_size());
  const std::int64_t last = in_memory - tensor.storage_offset() - 1;
  Tensor read = at::empty(tensor.sizes(), tensor.options());
  for (std::int64_t i = 0; i < read.numel(); ++i) {
    const std::int64_t address = i / columns * row_stride + i % columns * column_stride;
    read.data_ptr<double>()[i] = tensor.data_ptr<double>()[std::min(address, last)];
  }
  return read;
}

Tensor as_contiguous(const Tensor& tensor) { return read_linearly(tensor, tensor.size(1), 1); }
Tensor with_strided_rows(const Tensor& tensor) { return read_linearly(tensor, tensor.stride(0), 1); }
Tensor with_strided_columns(const Tensor& tensor) {
  return read_linearly(tensor, tensor.stride(1) * tensor.size(1), tensor.stride(1));
}
/// Takes every dense tensor for row-major.
Tensor if_dense_as_contiguous(const Tensor& tensor) {
  return tensor.is_non_overlapping_and_dense() ? as_contiguous(tensor) : tensor.contiguous();
}
/// Takes strides of 0 for those of a contiguous tensor.
Tensor if_expanded_as_contiguous(const Tensor& tensor) {
  return tensor.stride(0) == 0 ? as_contiguous(tensor) : tensor.contiguous();
}

using Read = Tensor (*)(const Tensor&);
struct Reader {
  Read read;
  bool transposed, gaps, expanded;  // what it reads wrong
};
constexpr Reader kReaders[] = {{as_contiguous, true, true, true},
                               {with_strided_rows, true, true, true},
                               {with_strided_columns, true, false, false},
                               {if_dense_as_contiguous, true, false, false},
                               {if_expanded_as_contiguous, false, false, true}};

/// The messages that a reader of upstream gradients, or of inputs, must cause.
std::vector<::testing::Matcher<std::string>> messages(const Reader& reader, bool upstream) {
  const std::string which = upstream ? "an upstream gradient " : "inputs ";
  std::vector<::testing::Matcher<std::string>> expected;
  const auto add = [&](bool wrong, const char* how) {
    if (wrong) {
      expected.push_back(AllOf(StartsWith(which + how), HasSubstr(": the gradient of input 0 is "),
                               HasSubstr("; use its strides, or call contiguous() on it")));
    }
  };
  add(reader.transposed, "transposed in memory");
  add(reader.gaps, "with gaps in memory");
  add(reader.expanded && upstream, "that is expanded (all strides are 0)");
  return expected;
}

TEST_F(GradcheckContractTest, UpstreamGradientsHaveAnyStrides) {
  for (const Reader& reader : kReaders) {
    const auto gradient = [&](const Tensor& x, const Tensor& g) { return reader.read(g) * x.cos(); };
    const Tensors inputs = {variable({2, 3})};
    for (const GradcheckOptions& options : {GradcheckOptions{}, kFast}) {
      EXPECT_THAT(gradcheck(with_gradient(sin_of, gradient), inputs, options).failures,
                  ::testing::ElementsAreArray(messages(reader, true)));
    }
    EXPECT_TRUE(gradcheck(with_gradient(sin_of, gradient), inputs, {.check_strides = false}));
    const GradcheckBackward backward = [&](T in, T, T g) -> Tensors {
      return {reader.read(g[0]) * in[0].cos()};
    };
    EXPECT_THAT(check_backward(sin_of, backward, inputs).failures,
                ::testing::ElementsAreArray(messages(reader, true)));
    EXPECT_TRUE(check_backward(sin_of, backward, inputs, {.check_strides = false}));
  }
  const auto refuses = with_gradient(sin_of, [](const Tensor& x, const Tensor& g) {
    TORCH_CHECK(g.stride(0) != 2, "expected a contiguous gradient");
    return g * x.cos();
  });
  EXPECT_THAT(gradcheck(refuses, {variable({3})}).failures,
              ElementsAre("an upstream gradient with gaps in memory: expected a contiguous gradient"));
}

TEST_F(GradcheckContractTest, InputsAndUpstreamGradientsHaveAnyStridesTogether) {
  const auto wrong_if_both = with_gradient(sin_of, [](const Tensor& x, const Tensor& g) {
    return g * x.cos() * (x.is_contiguous() || g.is_contiguous() ? 1 : 2);
  });
  EXPECT_THAT(
      gradcheck(wrong_if_both, {variable({2, 3})}).failures,
      ElementsAre(StartsWith("inputs and an upstream gradient transposed in memory: the gradient of "),
                  StartsWith("inputs and an upstream gradient with gaps in memory: the gradient of ")));
}

TEST_F(GradcheckContractTest, InputsHaveAnyStrides) {
  for (const Reader& reader : kReaders) {
    const auto gradient = [&](const Tensor& x, const Tensor& g) { return g * reader.read(x).cos(); };
    EXPECT_THAT(gradcheck(with_gradient(sin_of, gradient), {variable({2, 3})}).failures,
                ::testing::ElementsAreArray(messages(reader, false)));
    const GradcheckBackward backward = [&](T in, T, T g) -> Tensors {
      return {g[0] * reader.read(in[0]).cos()};
    };
    EXPECT_THAT(check_backward(sin_of, backward, {variable({2, 3})}).failures,
                ::testing::ElementsAreArray(messages(reader, false)));
  }
  // An input without a gradient, of integers.
  const auto lookup = [](bool linearly) -> GradcheckFunction {
    return [linearly](T in) -> Tensors {
      const Tensor& index = in[1];
      return {in[0].index_select(0, linearly ? index.as_strided(index.sizes(), {1}) : index)};
    };
  };
  const Tensor index = at::tensor({2, 0, 1, 0}, at::kLong);
  EXPECT_TRUE(gradcheck(lookup(false), {variable({3}), index}));
  EXPECT_THAT(gradcheck(lookup(true), {variable({3}), index}).failures,
              ElementsAre(StartsWith("inputs with gaps in memory: the gradient of input 0")));
  const GradcheckFunction viewing = [](T in) -> Tensors { return {in[0].view({6}).sin()}; };
  const GradcheckResult refused = gradcheck(viewing, {variable({2, 3})});
  EXPECT_TRUE(refused) << "an exception is not a wrong gradient";
  EXPECT_THAT(refused.warnings, ElementsAre(StartsWith("inputs transposed in memory are refused: view")));
  // A gradient of the input's strides, filled as if they were those of a contiguous tensor.
  const auto fills = with_gradient(sin_of, [](const Tensor& x, const Tensor& g) {
    Tensor gradient = at::empty_like(x);
    gradient.as_strided(x.sizes(), {3, 1}).copy_(g * x.cos());
    return gradient;
  });
  EXPECT_THAT(gradcheck(fills, {variable({2, 3})}).failures,
              ElementsAre(StartsWith("inputs transposed in memory")));
}

/// a b + sin(c) d, whose backward knows which inputs require a gradient.
class FourInputs : public torch::autograd::Function<FourInputs> {
 public:
  using Wrong = std::function<void(const std::vector<bool>& needed, Tensors& gradients)>;
  static Tensor forward(torch::autograd::AutogradContext* context, const Tensor& a, const Tensor& b,
                        const Tensor& c, const Tensor& d, const Wrong* wrong) {
    context->save_for_backward({a, b, c, d});
    std::int64_t needed = 0;
    for (const Tensor* input : {&d, &c, &b, &a}) {
      needed = 2 * needed + input->requires_grad();
    }
    context->saved_data["needed"] = needed;
    context->saved_data["wrong"] = reinterpret_cast<std::int64_t>(wrong);
    return a * b + c.sin() * d;
  }
  static Tensors backward(torch::autograd::AutogradContext* context, const Tensors& g) {
    const Tensors in = context->get_saved_variables();
    Tensors gradients = {g[0] * in[1], g[0] * in[0], g[0] * in[2].cos() * in[3], g[0] * in[2].sin()};
    const std::int64_t bits = context->saved_data["needed"].toInt();
    std::vector<bool> needed;
    for (std::int64_t i = 0; i < 4; ++i) {
      needed.push_back((bits >> i & 1) == 1);
    }
    (*reinterpret_cast<const Wrong*>(context->saved_data["wrong"].toInt()))(needed, gradients);
    gradients.emplace_back();
    return gradients;
  }
};

/// Checks FourInputs with the first `count` inputs requiring a gradient.
std::vector<std::string> failures_of(const FourInputs::Wrong& wrong, std::size_t count,
                                     GradcheckOptions options = {}) {
  Tensors inputs;
  for (std::size_t i = 0; i < 4; ++i) {
    inputs.push_back(i < count ? variable({2}) : constant({2}));
  }
  options.input_names = {"a", "b", "c", "d"};
  return gradcheck([&](T in) -> Tensors { return {FourInputs::apply(in[0], in[1], in[2], in[3], &wrong)}; },
                   inputs, options)
      .failures;
}

TEST_F(GradcheckContractTest, AnySubsetOfTheInputsMayRequireAGradient) {
  const std::string names = "abcd";
  for (std::size_t count = 1; count <= 4; ++count) {
    for (unsigned subset = 1; subset < 1u << count; ++subset) {
      std::vector<bool> wrong_for(4);
      std::string list;
      std::size_t wanted = 0, first = 4;
      for (std::size_t i = 0; i < 4; ++i) {
        wrong_for[i] = (subset >> i & 1) == 1;
        list += wrong_for[i] ? std::string(list.empty() ? "" : ", ") + names[i] : "";
        wanted += wrong_for[i];
        first = wrong_for[i] ? std::min(first, i) : first;
      }
      const auto wrong = [&](const std::vector<bool>& needed, Tensors& gradients) {
        if (needed == wrong_for) {
          gradients[first] = gradients[first] * 1.001;
        }
      };
      const auto missing = [&](const std::vector<bool>& needed, Tensors& gradients) {
        gradients[first] = needed == wrong_for ? Tensor() : gradients[first];
      };
      const std::string message =
          "if only " + list + " requires a gradient: the gradient of " + names[first] + " is ";
      SCOPED_TRACE(c10::str(count, " inputs, wrong for ", list));
      if (wanted == count) {
        continue;  // wrong in the first comparison
      }
      const bool tried = wanted == 1 || wanted == count - 1;
      for (const FourInputs::Wrong& liar : {FourInputs::Wrong(wrong), FourInputs::Wrong(missing)}) {
        const auto failures = failures_of(liar, count);
        if (tried) {
          EXPECT_THAT(failures, ElementsAre(StartsWith(message)));
        } else {
          EXPECT_THAT(failures, IsEmpty()) << "of four inputs, pairs are not tried";
        }
        EXPECT_THAT(failures_of(liar, count, {.check_subsets = false}), IsEmpty());
        const bool tried_fast = count <= 3 || subset == 1 || subset == 0b1110;
        EXPECT_EQ(failures_of(liar, count, kFast).empty(), !tried_fast);
      }
    }
  }
  const auto throws = [](const std::vector<bool>& needed, Tensors&) {
    TORCH_CHECK(needed[1], "b is needed");
  };
  EXPECT_THAT(failures_of(throws, 2), ElementsAre("if only a requires a gradient: b is needed"));
}

TEST_F(GradcheckContractTest, ATensorMayBeTwoInputsAndAFunctionMayCaptureItsInputs) {
  const Tensor x = variable({2}), w = variable({2});
  EXPECT_TRUE(gradcheck([](T in) -> Tensors { return {in[0] * in[1].sin() + in[2]}; }, {x, x, w}));
  EXPECT_TRUE(gradcheck([&](T in) -> Tensors { return {in[0] * w}; }, {x, w}));
  const Tensor unused = variable({2});
  EXPECT_TRUE(gradcheck([&](T in) -> Tensors { return {in[0].sin()}; }, {x, unused}));
  EXPECT_FALSE(x.grad().defined() || w.grad().defined());
}

TEST_F(GradcheckContractTest, DifferencesByRoundingPass) {
  // The function is off by a part of its value for transposed inputs: less or more than half of the digits.
  const auto passes = [](double part, at::ScalarType input, bool to_float) {
    const GradcheckFunction off = [=](T in) -> Tensors {
      const Tensor y = in[0] * (in[0].is_contiguous() ? 1 : 1 + part);
      return {to_float ? y.to(at::kFloat) : y};
    };
    const Tensor x = (at::rand({2, 3}, input) + 0.5).requires_grad_();
    return gradcheck(off, {x}, {.eps = to_float ? 1e-2 : 1e-6}).passed;
  };
  EXPECT_TRUE(passes(1.2e-8, at::kDouble, false));
  EXPECT_FALSE(passes(1.8e-8, at::kDouble, false));
  EXPECT_TRUE(passes(3e-4, at::kFloat, false));
  EXPECT_FALSE(passes(4e-4, at::kFloat, false));
  EXPECT_TRUE(passes(3e-4, at::kDouble, true));
  EXPECT_FALSE(passes(4e-4, at::kDouble, true));
  // A gradient below atol is 0.
  const GradcheckFunction tiny = [](T in) -> Tensors {
    return {in[0].sum() + in[1].sum() * (in[1].is_contiguous() ? 1e-6 : 9e-6)};
  };
  EXPECT_TRUE(gradcheck(tiny, {variable({2, 3}), variable({2, 3})}));
  EXPECT_FALSE(gradcheck(tiny, {variable({2, 3}), variable({2, 3})}, {.atol = 1e-7}));
}

TEST_F(GradcheckContractTest, GradientsAddUp) {
  const Tensor buffer = at::empty({3}, at::kDouble);
  const auto reuses = with_gradient(sin_of, [&](const Tensor& x, const Tensor& g) {
    buffer.copy_(g * x.cos());
    return buffer.view({3});  // .grad takes the memory of the first call, which the second overwrites
  });
  EXPECT_THAT(gradcheck(reuses, {variable({3})}).failures,
              ElementsAre(StartsWith("backward() for the second time: the gradient of input 0 is ")));
  EXPECT_TRUE(gradcheck(reuses, {variable({3})}, {.check_accumulation = false}));
  const auto views = [](T in) -> Tensors { return {in[0].view({4}) + in[1].view({4})}; };
  EXPECT_TRUE(gradcheck(views, {variable({2, 2}), variable({2, 2})})) << "LibTorch's gradients share memory";
}

TEST_F(GradcheckContractTest, BatchesHaveAnyNumberOfRows) {
  const auto layer = [](Gradient gradient) { return with_gradient(sin_of, std::move(gradient)); };
  const GradcheckOptions batched = {.batched_inputs = {0}};
  const auto right = [](const Tensor& x, const Tensor& g) { return g * x.cos(); };
  EXPECT_TRUE(gradcheck(layer(right), {variable({3, 2})}, batched));
  const auto single = layer([&](const Tensor& x, const Tensor& g) {
    return x.size(0) == 1 ? right(x, g).sum(1, true).expand_as(x) : right(x, g);
  });
  EXPECT_THAT(gradcheck(single, {variable({3, 2})}, batched).failures,
              ElementsAre(StartsWith("batches of 1 row: the gradient of input 0 is ")));
  EXPECT_TRUE(gradcheck(single, {variable({3, 2})}));
  const auto empty = layer([&](const Tensor& x, const Tensor& g) {
    return x.size(0) == 0 ? at::zeros({1, 2}, at::kDouble).slice(1, 1) : right(x, g);
  });
  const GradcheckResult refused = gradcheck(empty, {variable({3, 2})}, batched);
  EXPECT_TRUE(refused);
  EXPECT_THAT(refused.warnings, ElementsAre(StartsWith("batches of 0 rows are refused: ")));
  // The weight's gradient of an empty batch is a mean over nothing.
  const GradcheckFunction scaled = [](T in) -> Tensors { return {in[0] * in[1]}; };
  const auto backward = [](bool wrong) -> GradcheckBackward {
    return [wrong](T in, T, T g) -> Tensors {
      const Tensor sum = (g[0] * in[0]).sum(0);
      const auto rows = static_cast<double>(in[0].size(0));
      return {g[0] * in[1], wrong ? sum / rows * rows : sum};
    };
  };
  EXPECT_TRUE(check_backward(scaled, backward(false), {variable({3, 2}), variable({2})}, batched));
  EXPECT_THAT(
      check_backward(scaled, backward(true), {variable({3, 2}), variable({2})}, batched).failures,
      ElementsAre("batches of 0 rows: the gradient of input 1 is nan instead of 0 in element 0 of 2"));
  EXPECT_TRUE(check_backward(scaled, backward(true), {variable({3, 2}), variable({2})},
                             {.check_batch_sizes = false, .batched_inputs = {0}}));
}

TEST_F(GradcheckContractTest, ThreadsGetTheSameGradients) {
  const auto home = std::this_thread::get_id();
  const auto elsewhere = with_gradient(sin_of, [&](const Tensor& x, const Tensor& g) {
    return g * x.cos() * (std::this_thread::get_id() == home ? 1 : 2);
  });
  EXPECT_TRUE(gradcheck(elsewhere, {variable({3})}));
  EXPECT_THAT(gradcheck(elsewhere, {variable({3})}, {.threads = 2}).failures,
              ElementsAre(StartsWith("2 threads at once: the gradient of input 0 is ")));
  const auto throws = with_gradient(sin_of, [&](const Tensor& x, const Tensor& g) {
    TORCH_CHECK(std::this_thread::get_id() == home, "another thread");
    return g * x.cos();
  });
  EXPECT_THAT(gradcheck(throws, {variable({3})}, {.threads = 8}).failures,
              ElementsAre("8 threads at once: another thread"));
  EXPECT_TRUE(gradcheck(sin_of, {variable({3})}, {.threads = 8}));
}

TEST_F(GradcheckContractTest, ForwardModeMatchesTheBackward) {
  const GradcheckOptions forward_ad = {.check_forward_ad = true};
  EXPECT_TRUE(gradcheck(product_of, {variable({2, 3}), variable({3, 2})}, forward_ad));
  const GradcheckFunction two_of = [](T in) -> Tensors { return {in[0].sin(), (in[0] * in[1]).sum()}; };
  EXPECT_TRUE(gradcheck(two_of, {variable({3}), variable({3})}, forward_ad));
  EXPECT_TRUE(gradcheck([](T in) -> Tensors { return {in[0] * in[0].conj()}; },
                        {at::randn({3}, at::kComplexDouble).requires_grad_()}, forward_ad));
  const Tensor x = variable({3});
  EXPECT_TRUE(gradcheck([](T in) -> Tensors { return {in[0] * in[1]}; }, {x, x}, forward_ad));
  const GradcheckFunction lost = [](T in) -> Tensors {
    const c10::AutoFwGradMode off(false);
    return {in[0].sin()};
  };
  EXPECT_TRUE(gradcheck(lost, {variable({3})}));
  EXPECT_THAT(gradcheck(lost, {variable({3})}, forward_ad).failures,
              ElementsAre(AllOf(StartsWith("forward mode: <w, Jv> for input 0 is 0, but backward gives "))));
  const auto custom = with_gradient(sin_of, [](const Tensor& in, const Tensor& g) { return g * in.cos(); });
  EXPECT_THAT(gradcheck(custom, {variable({3})}, forward_ad).failures,
              ElementsAre(StartsWith("forward mode: ")));
}

TEST_F(GradcheckContractTest, BatchedGradientsAreThoseOfEachUpstreamGradient) {
  const GradcheckOptions batched = {.check_batched_grad = true};
  EXPECT_TRUE(gradcheck(product_of, {variable({2, 3}), variable({3, 2})}, batched));
  const GradcheckFunction two_of = [](T in) -> Tensors {
    return {in[0].sin(), in[1].detach(), (in[0] * in[1]).sum()};  // input 2 is unused
  };
  EXPECT_TRUE(gradcheck(two_of, {variable({3}), variable({3}), variable({2})}, batched));
  EXPECT_TRUE(gradcheck(square_of, {at::randn({3}, at::kComplexDouble).requires_grad_()}, batched));
  EXPECT_TRUE(gradgradcheck(sin_of, {variable({3})}, {}, batched));
  const auto custom = with_gradient(sin_of, [](const Tensor& in, const Tensor& g) { return g * in.cos(); });
  EXPECT_TRUE(gradcheck(custom, {variable({2, 3})}, batched));
  const auto zero = with_gradient([](T in) -> Tensors { return {in[0] * 0}; },
                                  [](const Tensor& in, const Tensor&) { return at::zeros_like(in); });
  EXPECT_TRUE(gradcheck(zero, {variable({3})}, batched)) << "the same for all, without a batch";
  // A kernel that reads memory.
  const auto kernel = with_gradient(sin_of, [](const Tensor& in, const Tensor& g) {
    Tensor gradient = at::empty_like(in);
    for (std::int64_t i = 0; i < in.numel(); ++i) {
      gradient.data_ptr<double>()[i] =
          g.data_ptr<double>()[g.stride(0) * i] * std::cos(in.data_ptr<double>()[in.stride(0) * i]);
    }
    return gradient;
  });
  EXPECT_TRUE(gradcheck(kernel, {variable({3})}));
  EXPECT_THAT(gradcheck(kernel, {variable({3})}, batched).failures,
              ElementsAre(StartsWith("batched gradients (vmap): ")));
  // A rule for batches that uses the first for all, or gives no gradient.
  for (const bool none : {false, true}) {
    const auto liar = with_gradient(sin_of, [none](const Tensor& in, const Tensor& g) {
      const auto* batch = at::functorch::maybeGetBatchedImpl(g);
      const Tensor upstream = batch == nullptr ? g : batch->value().select(batch->bdim(), 0);
      return batch != nullptr && none ? Tensor() : upstream * in.cos();
    });
    EXPECT_TRUE(gradcheck(liar, {variable({3})}));
    EXPECT_THAT(gradcheck(liar, {variable({3})}, batched).failures,
                ElementsAre(StartsWith("batched gradients (vmap): the gradient of input 0 is ")));
  }
  EXPECT_TRUE(gradcheck(sin_of, {variable({3})})) << "the level is left after a failure";
  // The backward of a backward.
  const auto liar = with_gradient([](T in) -> Tensors { return {in[0].cos()}; },
                                  [](const Tensor& in, const Tensor& g) {
                                    const bool batch = at::functorch::maybeGetBatchedImpl(g) != nullptr;
                                    return g * in.sin() * (batch ? 1 : -1);
                                  });
  const auto outer =
      with_gradient(sin_of, [&](const Tensor& in, const Tensor& g) { return g * liar({in})[0]; });
  EXPECT_TRUE(gradgradcheck(outer, {variable({3})}));
  EXPECT_THAT(gradgradcheck(outer, {variable({3})}, {}, batched).failures,
              ElementsAre(StartsWith("batched gradients (vmap): the gradient of input 0 is ")));
}

TEST_F(GradcheckContractTest, TheReferenceDecidesWhatIsRefusedAndWhatIsNotFinite) {
  GradcheckOptions options = {.check_parity = true, .reference = relu_of};
  EXPECT_TRUE(gradcheck(relu_of, {variable({2, 3})}, options));
  const GradcheckFunction quiet = [](T in) -> Tensors { return {at::where(in[0] > 0, in[0], in[0] * 0)}; };
  EXPECT_THAT(
      gradcheck(quiet, {variable({2, 3})}, options).failures,
      Contains("input 0 with -inf in element 0: output 0 is nan in element 0, but that of the reference "
               "is finite"));
  const GradcheckFunction clips = [](T in) -> Tensors { return {in[0].clamp(0, 1e9)}; };
  EXPECT_THAT(gradcheck(clips, {variable({2, 3})}, options).failures,
              Contains("input 0 with inf in element 5: output 0 is finite in element 5, but that of the "
                       "reference is inf"));
  options.check_parity = false;
  EXPECT_TRUE(gradcheck(clips, {variable({2, 3})}, options));
  options.check_parity = true;
  const auto expecting = [](const std::function<bool(const Tensor&)>& accepts) -> GradcheckFunction {
    return [accepts](T in) -> Tensors {
      TORCH_CHECK(accepts(in[0]), "refused");
      return {in[0].relu()};
    };
  };
  const Tensors x = {variable({2, 3})};
  const auto refused = [&](const std::function<bool(const Tensor&)>& accepts) {
    options.reference = expecting(accepts);
    return gradcheck(relu_of, x, options).failures;
  };
  const std::string found = "the reference refuses input 0 ", accepted = "), but the function accepts it";
  EXPECT_THAT(refused([](auto& in) { return in.dim() < 3; }),
              ElementsAre(found + "with one more dimension ([1, 2, 3] Double" + accepted));
  EXPECT_THAT(refused([](auto& in) { return in.dim() > 1; }),
              ElementsAre(found + "with one dimension less ([3] Double" + accepted));
  EXPECT_THAT(refused([](auto& in) { return in.size(0) < 4; }),
              ElementsAre(found + "of twice the size ([4, 3] Double" + accepted));
  EXPECT_THAT(refused([](auto& in) { return in.numel() < 12 || in.size(-1) == 3; }),
              ElementsAre(found + "of twice the size ([2, 6] Double" + accepted));
  EXPECT_THAT(refused([](auto& in) { return in.scalar_type() != at::kFloat; }),
              ElementsAre(found + "of another dtype ([2, 3] Float" + accepted));
  EXPECT_THAT(refused([](auto& in) { return in.is_floating_point(); }),
              ElementsAre(found + "of another dtype ([2, 3] Long" + accepted));
  EXPECT_THAT(
      refused([](auto& in) { return !in.isnan().any().template item<bool>(); }),
      ElementsAre("input 0 with nan in element 0: the reference refuses it, but the function accepts it",
                  "input 0 with nan in element 5: the reference refuses it, but the function accepts it"));
  options.reference = relu_of;
  EXPECT_THAT(
      gradcheck(expecting([](auto& in) { return in.isfinite().all().template item<bool>(); }), x, options)
          .failures,
      ::testing::SizeIs(6));
  EXPECT_TRUE(gradcheck(expecting([](auto& in) { return in.dim() == 2; }), x, options))
      << "a function may support less";
}

}  // namespace
}  // namespace twingrad::gradcheck_tests
