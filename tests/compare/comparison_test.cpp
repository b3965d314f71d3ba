#include <c10/core/GradMode.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "random_comparisons.h"
#include "twingrad/compare/compare_tensors.h"
#include "twingrad/compare/distance.h"
#include "twingrad/gradcheck/gtest.h"

namespace twingrad {
namespace {

using at::Tensor;
using ::testing::HasSubstr;
using testing::RandomCase;
using ::testing::StartsWith;

constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// A manual twin that lies about its results in one way.
class Liar final : public ManualTwin {
 public:
  using ManualTwin::ManualTwin;
  using Edit = std::function<void(std::vector<NamedTensor>&)>;

  std::vector<NamedTensor> gradients() const override {
    return edited(ManualTwin::gradients(), of_gradients);
  }
  std::vector<NamedTensor> intermediates() const override {
    return edited(ManualTwin::intermediates(), of_intermediates);
  }
  std::vector<NamedTensor> kink_distances() const override {
    return edited(ManualTwin::kink_distances(), of_kink_distances);
  }
  std::vector<NamedTensor> optimizer_state() const override {
    return edited(ManualTwin::optimizer_state(), of_optimizer_state);
  }
  double forward(const Tensor& images, const Tensor& labels) override {
    is_fast = false;
    const double loss = ManualTwin::forward(images, labels) * loss_factor;
    if (!buffers().empty()) {
      buffers()[0].tensor.mul_(buffer_factor);
    }
    return loss;
  }
  double compute_gradients(const Tensor& images, const Tensor& labels) override {
    is_fast = true;
    return ManualTwin::compute_gradients(images, labels);
  }
  void update() override {
    ManualTwin::update();
    if (skips_half_of_an_update) {
      parameters()[0].tensor[0].zero_();
    }
  }

  Edit of_gradients, of_intermediates, of_kink_distances, of_optimizer_state;
  double loss_factor = 1;
  double buffer_factor = 1;  ///< of the running mean that forward leaves
  bool is_fast = false;
  bool skips_half_of_an_update = false;

 private:
  static std::vector<NamedTensor> edited(std::vector<NamedTensor> tensors, const Edit& edit) {
    if (edit) {
      for (NamedTensor& tensor : tensors) {
        tensor.tensor = tensor.tensor.clone();
      }
      edit(tensors);
    }
    return tensors;
  }
};

/// An honest autograd twin, a liar, and a batch.
struct Court {
  explicit Court(const MlpSpec& network = {.inputs = 12, .hidden = {9, 8}, .classes = 5},
                 at::ScalarType dtype = at::kFloat)
      : spec(network),
        initial(draw_initial_parameters(spec, 3)),
        autograd(spec, {}, initial, dtype),
        liar(spec, {}, initial, dtype) {
    at::manual_seed(4);
    batch = {at::rand({40, spec.inputs}, dtype), at::randint(0, spec.classes, {40}, at::kLong)};
  }
  Comparison compare() { return compare_twins(liar, autograd, batch); }
  Comparison with_gradient(const std::string& name, const std::function<void(Tensor&)>& edit) {
    liar.of_gradients = [=](std::vector<NamedTensor>& tensors) {
      for (NamedTensor& tensor : tensors) {
        if (tensor.name == name) {
          edit(tensor.tensor);
        }
      }
    };
    return compare();
  }

  MlpSpec spec;
  Tensor initial;
  AutogradTwin autograd;
  Liar liar;
  Batch batch;
};

const TensorComparison& row(const Comparison& comparison, const std::string& name) {
  for (const TensorComparison& tensor : comparison.tensors) {
    if (tensor.name == name) {
      return tensor;
    }
  }
  throw std::out_of_range(name);
}

// ---- Twins that agree -------------------------------------------------------------------------------------

TEST(TwinComparer, HasNoFalseAlarmsInRandomNetworks) {
  testing::for_random_cases(60, [](RandomCase& random) {
    const MlpSpec spec = testing::random_wide_network(random, 128);
    const at::ScalarType dtype = random.chance(0.7) ? at::kFloat : at::kDouble;
    const Tensor initial = testing::random_parameters(random, spec);
    const Batch batch = testing::random_batch(random, spec, 300, dtype);
    AutogradTwin autograd(spec, {}, initial, dtype);
    ManualTwin manual(spec, {}, initial, dtype,
                      std::make_shared<ThreadPool>(static_cast<int>(random.integer(1, 3))));
    const Comparison comparison = compare_twins(manual, autograd, batch);
    EXPECT_TRUE(comparison.passed() || comparison.is_empty()) << comparison.to_string();
  });
}

TEST(TwinComparer, ListsAllTensorsInBackwardOrder) {
  const Comparison comparison = Court().compare();
  std::vector<std::string> names;
  for (const TensorComparison& tensor : comparison.tensors) {
    names.push_back(tensor.name);
    EXPECT_LE(tensor.identical, tensor.entries);
    EXPECT_GT(tensor.bound, 0) << tensor.name;
    EXPECT_LE(tensor.manual_error, tensor.bound) << tensor.name;
  }
  EXPECT_EQ(names,
            (std::vector<std::string>{"loss", "logits", "logits.grad", "4.weight.grad", "4.bias.grad",
                                      "3.output.grad", "2.output.grad", "2.weight.grad", "2.bias.grad",
                                      "1.output.grad", "0.output.grad", "0.weight.grad", "0.bias.grad"}));
  EXPECT_EQ(row(comparison, "4.weight.grad").shape, (std::vector<std::int64_t>{5, 8}));
  EXPECT_EQ(row(comparison, "4.weight.grad").entries, 40);
  EXPECT_TRUE(comparison.has_reference);
  EXPECT_EQ(comparison.verdict(), "same to rounding");
  EXPECT_EQ(comparison.at_fault, "");
}

TEST(TwinComparer, FollowsResidualBlocksBackward) {
  const Comparison comparison =
      Court({.inputs = 9, .hidden = {9, 9}, .classes = 5, .residual = true}).compare();
  std::vector<std::string> results;
  for (const TensorComparison& tensor : comparison.tensors) {
    if (tensor.name.ends_with("output.grad")) {
      results.push_back(tensor.name);
    }
  }
  EXPECT_EQ(results, (std::vector<std::string>{"1.output.grad", "1.1.output.grad", "1.0.output.grad",
                                               "0.output.grad", "0.1.output.grad", "0.0.output.grad"}));
}

TEST(TwinComparer, CallsATwinIdenticalToItself) {
  Court court;
  ManualTwin other(court.spec, {}, court.initial, at::kFloat);
  const Comparison comparison = compare_twins(court.liar, other, court.batch);
  EXPECT_FALSE(comparison.has_reference) << "a manual twin has no float64 reference";
  for (const TensorComparison& tensor : comparison.tensors) {
    EXPECT_EQ(tensor.verdict, Verdict::identical) << tensor.name;
    EXPECT_EQ(tensor.max_ulp, 0);
  }
}

TEST(TwinComparer, ComparesInFloat64WithAutograd) {
  const Comparison comparison = Court({.inputs = 12, .hidden = {9}, .classes = 5}, at::kDouble).compare();
  EXPECT_TRUE(comparison.passed()) << comparison.to_string();
  EXPECT_FALSE(comparison.has_reference);
  EXPECT_EQ(row(comparison, "0.weight.grad").autograd_error, 0);
  EXPECT_LE(row(comparison, "0.weight.grad").bound, 1e-12 * row(comparison, "0.weight.grad").largest);
}

TEST(TwinComparer, LeavesBothTwinsAsTheyWere) {
  MlpSpec spec{.inputs = 12, .hidden = {9}, .classes = 5};
  spec.normalization = Normalization::batch;
  Court court(spec);
  c10::NoGradGuard no_grad;
  court.autograd.parameters()[0].tensor.add_(0.25);  // as after some steps of training
  const auto all = [&] {
    std::vector<Tensor> tensors = {court.batch.images.clone(), court.batch.labels.clone()};
    for (const Twin* twin : std::vector<const Twin*>{&court.autograd, &court.liar}) {
      for (const auto& [name, tensor] : network_of(*twin)) {
        tensors.push_back(tensor.clone());
      }
    }
    return tensors;
  };
  const std::vector<Tensor> before = all();
  {
    const c10::AutoGradMode grad(true);
    EXPECT_TRUE(court.compare().passed());
  }
  const std::vector<Tensor> after = all();
  for (std::size_t i = 0; i < before.size(); ++i) {
    EXPECT_TRUE(before[i].equal(after[i])) << i;
  }
}

TEST(TwinComparer, ComparesTheUpdateOfTheOptimizer) {
  Court court;
  const Comparison right = TwinComparer(court.liar, court.autograd).compare_with_update(court.batch);
  EXPECT_TRUE(right.passed()) << right.to_string();
  EXPECT_NEAR(row(right, "0.weight.exp_avg").largest, 0.1 * row(right, "0.weight.grad").largest, 1e-7);
  EXPECT_EQ(right.tensors.back().name, "4.bias") << "the updated parameters come last";
  court.liar.skips_half_of_an_update = true;
  const Comparison wrong = TwinComparer(court.liar, court.autograd).compare_with_update(court.batch);
  EXPECT_EQ(wrong.at_fault, "optimizer, adam");
  EXPECT_EQ(row(wrong, "0.weight").verdict, Verdict::differs);
  EXPECT_LE(row(wrong, "2.weight").manual_error, row(wrong, "2.weight").bound);
}

TEST(TwinComparer, WorksAsAnAssertion) {
  Court court;
  EXPECT_TWINS_AGREE(court.liar, court.autograd, court.batch);
  court.liar.loss_factor = 2;
  EXPECT_FALSE(twins_agree(court.compare()));
  EXPECT_THAT(twins_agree(court.compare()).message(), HasSubstr("loss differs"));
}

// ---- Twins that are wrong in one way ----------------------------------------------------------------------

struct Lie {
  std::string gradient;
  std::function<void(Tensor&)> edit;
  std::string at_fault;
  std::string cause;
};

TEST(TwinComparer, NamesTheLayerAtFaultAndTheCause) {
  const std::vector<Lie> lies = {
      {"2.weight", [](Tensor& g) { g.neg_(); }, "layer 2, linear", "sign"},
      {"2.weight", [](Tensor& g) { g.mul_(2); }, "layer 2, linear", "factor 2"},
      {"2.weight", [](Tensor& g) { g.mul_(40); }, "layer 2, linear", "missing mean, "},
      {"2.weight", [](Tensor& g) { g.zero_(); }, "layer 2, linear", "not filled"},
      {"2.weight", [](Tensor& g) { g[3].slice(0, 2, 4).add_(1e-3); }, "layer 2, linear",
       "2.78% of the entries"},
      {"2.bias", [](Tensor& g) { g[0].fill_(NAN); }, "layer 2, linear", "not finite"},
      {"2.bias", [](Tensor& g) { g[0].fill_(kInfinity); }, "layer 2, linear", "not finite"},
      {"2.bias", [](Tensor& g) { g = g.narrow(0, 0, 7); }, "layer 2, linear", "the shapes differ"},
      {"2.bias", [](Tensor& g) { g = Tensor(); }, "layer 2, linear", "missing in the manual twin"},
      {"3.output", [](Tensor& g) { g.neg_(); }, "layer 4, linear", "sign"},
      {"2.output", [](Tensor& g) { g.mul_(1.5); }, "layer 3, relu", "factor 1.5"},
      {"logits", [](Tensor& g) { g.neg_(); }, "loss, cross_entropy", "sign"},
      {"0.weight", [](Tensor& g) { g.add_(1e-3 * g.abs().max()); }, "layer 0, linear", ""},
  };
  for (const Lie& lie : lies) {
    Court court;
    const Comparison comparison = court.with_gradient(lie.gradient, lie.edit);
    EXPECT_FALSE(comparison.passed()) << lie.gradient;
    EXPECT_EQ(comparison.at_fault, lie.at_fault) << lie.gradient << " " << lie.cause;
    EXPECT_THAT(row(comparison, lie.gradient + ".grad").cause, HasSubstr(lie.cause));
    EXPECT_EQ(comparison.verdict(), "differs");
  }
}

TEST(TwinComparer, SeesAChangeOfAFewLastPlacesButNotOfOne) {
  Court court;
  EXPECT_FALSE(court.with_gradient("4.weight", [](Tensor& g) { g.mul_(1 + 1e-3); }).passed());
  EXPECT_TRUE(court.with_gradient("4.weight", [](Tensor& g) { g.mul_(1 + 1.2e-7); }).passed());
}

TEST(TwinComparer, LaterGradientsFollowFromTheFirst) {
  Court court;
  court.liar.of_gradients = [](std::vector<NamedTensor>& tensors) {
    for (NamedTensor& tensor : tensors) {
      if (tensor.name == "2.output" || tensor.name == "2.weight" || tensor.name == "0.bias") {
        tensor.tensor.neg_();
      }
    }
  };
  const Comparison comparison = court.compare();
  EXPECT_EQ(row(comparison, "2.output.grad").verdict, Verdict::differs);
  EXPECT_EQ(row(comparison, "2.weight.grad").verdict, Verdict::follows);
  EXPECT_EQ(row(comparison, "2.bias.grad").verdict, Verdict::same_to_rounding);
  EXPECT_EQ(row(comparison, "0.bias.grad").verdict, Verdict::follows);
  EXPECT_EQ(comparison.at_fault, "layer 3, relu");
  EXPECT_EQ(comparison.worst_gradient()->name, "2.output.grad");
}

TEST(TwinComparer, FindsMissingAndSurplusGradients) {
  Court missing;
  missing.liar.of_gradients = [](std::vector<NamedTensor>& tensors) { tensors.erase(tensors.begin()); };
  const Comparison without = missing.compare();
  EXPECT_EQ(row(without, "0.weight.grad").cause, "missing in the manual twin");
  EXPECT_EQ(row(without, "0.weight.grad").manual_error, kInfinity);
  Court surplus;
  surplus.liar.of_gradients = [](std::vector<NamedTensor>& tensors) {
    tensors.push_back({"4.scale", at::ones({3})});
  };
  const Comparison with = surplus.compare();
  EXPECT_FALSE(with.passed());
  EXPECT_EQ(row(with, "4.scale.grad").cause, "missing in the autograd twin");
}

TEST(TwinComparer, FindsAWrongFastPath) {
  Court court;
  court.liar.of_gradients = [&](std::vector<NamedTensor>& tensors) {
    if (court.liar.is_fast) {
      tensors[2].tensor.mul_(3);
    }
  };
  const Comparison comparison = court.compare();
  EXPECT_EQ(row(comparison, "2.weight.grad").cause, "factor 3");
}

TEST(TwinComparer, FindsAWrongForward) {
  Court of_loss;
  of_loss.liar.loss_factor = 1.001;
  EXPECT_EQ(of_loss.compare().at_fault, "loss (forward)");
  Court of_layer;
  of_layer.liar.of_intermediates = [](std::vector<NamedTensor>& tensors) {
    for (std::size_t i : {std::size_t{2}, tensors.size() - 1}) {
      tensors[i].tensor.add_(0.1);
    }
  };
  const Comparison comparison = of_layer.compare();
  EXPECT_EQ(row(comparison, "logits").verdict, Verdict::differs);
  EXPECT_EQ(comparison.at_fault, "layer 2, linear (forward)");
}

TEST(TwinComparer, FindsWrongBuffersAndAWrongStateOfTheOptimizer) {
  MlpSpec spec{.inputs = 12, .hidden = {9}, .classes = 5};
  spec.normalization = Normalization::batch;
  Court court(spec);
  EXPECT_TRUE(court.compare().passed());
  court.liar.buffer_factor = 1.5;
  const Comparison wrong_buffer = court.compare();
  EXPECT_EQ(row(wrong_buffer, "1.running_mean").verdict, Verdict::differs);
  EXPECT_LE(row(wrong_buffer, "1.running_var").verdict, Verdict::same_to_rounding);
  Court state;
  state.liar.of_optimizer_state = [](std::vector<NamedTensor>& tensors) {
    if (!tensors.empty()) {  // it is empty before the first step
      tensors[0].tensor.mul_(1.01);
    }
  };
  const Comparison wrong = TwinComparer(state.liar, state.autograd).compare_with_update(state.batch);
  EXPECT_EQ(wrong.at_fault, "optimizer, adam");
  state.liar.of_optimizer_state = [](std::vector<NamedTensor>& tensors) { tensors.pop_back(); };
  EXPECT_FALSE(TwinComparer(state.liar, state.autograd).compare_with_update(state.batch).passed());
}

TEST(TwinComparer, JudgesTheAutogradTwinToo) {
  Court court;
  ManualTwin honest(court.spec, {}, court.initial, at::kFloat);
  class WrongAutograd final : public AutogradTwin {
   public:
    using AutogradTwin::AutogradTwin;
    std::vector<NamedTensor> gradients() const override {
      std::vector<NamedTensor> tensors = AutogradTwin::gradients();
      tensors[0].tensor = tensors[0].tensor * 1.5;
      return tensors;
    }
  } autograd(court.spec, {}, court.initial, at::kFloat);
  const Comparison comparison = compare_twins(honest, autograd, court.batch);
  EXPECT_THAT(row(comparison, "0.weight.grad").cause, StartsWith("the autograd twin is far from"));
}

// ---- Kinks ------------------------------------------------------------------------------------------------

// NOLINTBEGIN(bugprone-parent-virtual-call)
/// A twin that offers only what every twin must.
class PlainTwin final : public AutogradTwin {
 public:
  using AutogradTwin::AutogradTwin;
  std::vector<NamedTensor> kink_distances() const override { return Twin::kink_distances(); }
  std::string describe_layer(const std::string& layer) const override { return Twin::describe_layer(layer); }
  std::unique_ptr<Twin> in_float64() const override { return Twin::in_float64(); }
  bool simulate_rounding(double epsilon, std::uint64_t seed) override {
    return Twin::simulate_rounding(epsilon, seed);
  }
  std::map<std::string, double> local_rounding_errors() const override {
    return Twin::local_rounding_errors();
  }
  double normalization_noise() const override { return Twin::normalization_noise(); }
};
// NOLINTEND(bugprone-parent-virtual-call)

TEST(TwinComparer, ComparesWithATwinThatOffersOnlyWhatItMust) {
  for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
    Court court({.inputs = 12, .hidden = {9, 8}, .classes = 5}, dtype);
    PlainTwin plain(court.spec, {}, court.initial, dtype);
    const Tensor images = court.batch.images.clone(), weight = plain.parameters()[0].tensor.clone();
    Comparison comparison = compare_twins(court.liar, plain, court.batch);
    EXPECT_TRUE(comparison.passed()) << comparison.to_string();
    EXPECT_FALSE(plain.simulate_rounding(1e-7, 1));
    EXPECT_TRUE(images.equal(court.batch.images));
    EXPECT_TRUE(weight.equal(plain.parameters()[0].tensor));
    EXPECT_FALSE(comparison.has_reference);
    court.liar.of_gradients = [](std::vector<NamedTensor>& tensors) { tensors[0].tensor.mul_(1.01); };
    comparison = compare_twins(court.liar, plain, court.batch);
    EXPECT_FALSE(comparison.passed()) << comparison.to_string();
  }
}

TEST(CompareOneStep, ComparesGradientsParametersAndStates) {
  const auto after_edit = [](const std::function<void(Liar&)>& edit, const OptimizerOptions& optimizer = {}) {
    const MlpSpec spec{.inputs = 4, .hidden = {3}, .classes = 2};
    const Tensor initial = draw_initial_parameters(spec, 1);
    ManualTwin honest(spec, optimizer, initial, at::kDouble);
    Liar liar(spec, optimizer, initial, at::kDouble);
    edit(liar);
    at::manual_seed(1);
    return compare_one_step(honest, liar, {at::rand({6, 4}, at::kDouble), at::randint(0, 2, {6}, at::kLong)});
  };
  const OptimizerOptions sgd{.kind = OptimizerOptions::Kind::sgd};
  EXPECT_EQ(after_edit([](Liar&) {}).absolute, 0);
  EXPECT_EQ(after_edit([](Liar&) {}, sgd).absolute, 0);
  const auto doubled = [](std::vector<NamedTensor>& tensors) {
    if (!tensors.empty()) {
      tensors[0].tensor.mul_(2);
    }
  };
  EXPECT_EQ(after_edit([&](Liar& liar) { liar.of_gradients = doubled; }).worst, "0.weight.grad");
  EXPECT_EQ(after_edit([&](Liar& liar) { liar.skips_half_of_an_update = true; }, sgd).worst, "0.weight");
  EXPECT_EQ(after_edit([&](Liar& liar) { liar.of_optimizer_state = doubled; }).worst, "0.weight.exp_avg");
  const auto hidden = [](std::vector<NamedTensor>& tensors) { tensors.clear(); };
  EXPECT_EQ(after_edit([&](Liar& liar) { liar.of_optimizer_state = hidden; }).absolute, 0)
      << "shows no state";
}

TEST(CompareWeights, FindsTheLargestDifferenceOfAWeight) {
  const c10::NoGradGuard no_grad;
  Court court;
  EXPECT_EQ(compare_weights(court.autograd, court.liar).absolute, 0);
  court.liar.parameters()[2].tensor[1][3] += 0.5;
  EXPECT_NEAR(compare_weights(court.autograd, court.liar).absolute, 0.5, 1e-6);
  EXPECT_EQ(compare_weights(court.autograd, court.liar).worst, "2.weight");
}

TEST(TwinComparer, SetsRowsNearAKinkAside) {
  Court court;
  for (std::int64_t image = 0; image < 20; ++image) {  // on both sides of the kink
    court.liar.of_kink_distances = [&](std::vector<NamedTensor>& tensors) {
      Tensor& first = tensors[0].tensor;
      if (first.size(0) == 40) {
        first[image][3] = first[image][3].sign() * -1e-12;  // far from where it is: not rounding
      }
    };
    EXPECT_EQ(court.compare().rows_set_aside, 0) << "a wrong forward cannot hide";
  }
  class WrongSides final : public AutogradTwin {
   public:
    using AutogradTwin::AutogradTwin;
    std::vector<NamedTensor> kink_distances() const override {
      std::vector<NamedTensor> distances = AutogradTwin::kink_distances();
      for (NamedTensor& distance : distances) {
        distance.tensor = -distance.tensor;
      }
      return distances;
    }
  } wrong(court.spec, {}, court.initial, at::kFloat);
  court.liar.of_kink_distances = nullptr;
  EXPECT_EQ(compare_twins(court.liar, wrong, court.batch).rows_set_aside, 0) << "nor that of autograd";

  MlpSpec spec{.inputs = 12, .hidden = {9, 8}, .classes = 5, .dropout = 0.5};
  Court near(spec);
  near.batch.masks = draw_dropout_masks(spec, 40, 1, 1);
  {
    const c10::NoGradGuard no_grad;
    const Tensor weight = near.liar.parameters()[0].tensor, bias = near.liar.parameters()[1].tensor;
    bias[3] = -weight[3].dot(near.batch.images[7]);  // row 7 is at the kink of unit 3, up to rounding
  }
  near.liar.of_kink_distances = [](std::vector<NamedTensor>& tensors) {
    if (tensors[0].tensor.size(0) == 40) {
      tensors[0].tensor[7][3] = tensors[0].tensor[7][3].item<double>() > 0 ? -1e-9 : 1e-9;
    }
  };
  Comparison comparison = near.compare();
  EXPECT_TRUE(comparison.passed()) << comparison.to_string();
  EXPECT_EQ(comparison.rows, 40);
  EXPECT_EQ(comparison.rows_set_aside, 1);
  comparison = near.with_gradient("3.weight", [](Tensor& g) { g.mul_(39); });
  EXPECT_THAT(row(comparison, "3.weight.grad").cause, HasSubstr("missing mean, "))
      << "a mean over the 39 rows left";
}

TEST(TwinComparer, SetsASingleRowThatIsLeftAsideToo) {
  MlpSpec spec{.inputs = 12, .hidden = {9}, .classes = 5};
  spec.normalization = Normalization::batch;  // needs two rows
  Court court(spec);
  {
    const c10::NoGradGuard no_grad;
    for (const auto& [name, tensor] : court.liar.parameters()) {
      if (name.starts_with("1.")) {
        tensor[3] = 0;  // unit 3 is at its kink in every row
      }
    }
  }
  court.liar.of_kink_distances = [](std::vector<NamedTensor>& tensors) {
    if (tensors[0].tensor.size(0) == 40) {
      tensors[0].tensor.slice(0, 1).select(1, 3).fill_(1e-12);
    }
  };
  const Comparison comparison = court.compare();
  EXPECT_EQ(comparison.rows_set_aside, 40);
  EXPECT_TRUE(comparison.is_empty());
}

TEST(TwinComparer, SaysIfAllRowsAreNearAKink) {
  c10::NoGradGuard no_grad;
  Court court;
  for (const NamedTensor& parameter : court.liar.parameters()) {
    parameter.tensor.zero_();
  }
  court.liar.of_kink_distances = [](std::vector<NamedTensor>& tensors) { tensors[0].tensor.fill_(1e-45); };
  const c10::AutoGradMode grad(true);
  const Comparison comparison = court.compare();
  EXPECT_TRUE(comparison.is_empty());
  EXPECT_FALSE(comparison.passed());
  EXPECT_EQ(comparison.verdict(), "nothing to compare: all 40 rows are near a kink");
}

TEST(TwinComparer, DoesNotCompareNormalizedRoundingErrors) {
  MlpSpec spec{.inputs = 12, .hidden = {9, 9, 9}, .classes = 5, .activation = "tanh"};
  spec.normalization = Normalization::batch;
  Court court(spec);
  court.batch.images.fill_(1000);  // each normalization multiplies rounding errors by up to 300
  const Comparison comparison = court.compare();
  EXPECT_EQ(comparison.verdict(),
            "nothing to compare: the inputs of a normalization are equal up to rounding");
  EXPECT_TRUE(comparison.tensors.empty());
  EXPECT_FALSE(comparison.passed());
}

TEST(TwinComparer, FindsAGradientThatTheFastPathDoesNotReturn) {
  Court court;
  court.liar.of_gradients = [&](std::vector<NamedTensor>& tensors) {
    if (court.liar.is_fast) {
      tensors.erase(tensors.begin());
    }
  };
  EXPECT_EQ(row(court.compare(), "0.weight.grad").cause, "missing in the manual twin");
}

TEST(TwinComparer, DoesNotCompareLossesThatAreNotFinite) {
  Court court;
  court.batch.images.fill_(NAN);
  const Comparison not_finite = court.compare();
  EXPECT_FALSE(not_finite.is_finite);
  EXPECT_TRUE(std::isnan(not_finite.autograd_loss)) << "for the message";
  EXPECT_TRUE(not_finite.tensors.empty());
  Court one_side;
  one_side.liar.loss_factor = NAN;
  const Comparison comparison = one_side.compare();
  EXPECT_TRUE(comparison.is_finite);
  EXPECT_FALSE(comparison.passed()) << "NaN on one side";
  class WithoutLoss final : public AutogradTwin {
   public:
    using AutogradTwin::AutogradTwin;
    double forward(const Tensor& images, const Tensor& labels) override {
      AutogradTwin::forward(images, labels);
      return NAN;
    }
  } other_side(court.spec, {}, court.initial, at::kFloat);
  Court honest;
  const Comparison of_autograd = compare_twins(honest.liar, other_side, honest.batch);
  EXPECT_TRUE(of_autograd.is_finite) << "the manual twin's loss is";
  EXPECT_FALSE(of_autograd.passed());
}

TEST(CompareTensors, MeasuresDifferencesAndErrors) {
  const Tensor autograd = at::tensor({1.0F, -2.0F, 4.5F});
  Tensor manual = autograd.clone();
  manual[2] += std::exp2(-20);
  const TensorComparison row = compare_tensors(
      "z", manual, autograd, autograd.to(at::kDouble) + std::exp2(-22), 1e-6, std::exp2(-23), 1);
  EXPECT_EQ(row.entries, 3);
  EXPECT_EQ(row.identical, 2);
  EXPECT_EQ(row.largest, 4.5 + std::exp2(-22));
  EXPECT_EQ(row.max_abs, std::exp2(-20));
  EXPECT_EQ(row.max_rel, row.max_abs / row.largest);
  EXPECT_EQ(row.max_ulp, 2) << "from 4 to 8, the unit in the last place is 4 · 2⁻²³";
  EXPECT_EQ(row.manual_error, std::exp2(-20) - std::exp2(-22));
  EXPECT_EQ(row.autograd_error, std::exp2(-22));
}

TEST(CompareTensors, ALargestRoundingErrorIsTheLastThatPasses) {
  // A twin may be as wrong as rounding makes it, and the manual twin a few times as wrong as autograd's.
  const Tensor right = at::tensor({0.5, 1.0, -0.25}, at::kDouble);
  const double noise = 1e-6, largest = largest_rounding_error(noise);
  EXPECT_GT(largest, noise);
  EXPECT_LT(largest, 1e-3);
  const auto judge = [&](double manual_error) {
    const Tensor error = at::tensor({0.0, 1.0, 0.0}, at::kDouble);
    return compare_tensors("z", right + error * manual_error, right + error * largest * 0.999, right, noise,
                           1e-7, 1)
        .verdict;
  };
  EXPECT_EQ(judge(0.99 * largest), Verdict::same_to_rounding);
  EXPECT_EQ(judge(1.01 * largest), Verdict::differs);
}

// ---- Output -----------------------------------------------------------------------------------------------

TEST(Comparison, WritesJson) {
  Court court;
  const Comparison comparison = court.with_gradient("2.bias", [](Tensor& g) { g[0].fill_(NAN); });
  const nlohmann::ordered_json json = to_json(comparison);
  EXPECT_EQ(json["passed"], false);
  EXPECT_EQ(json["dtype"], "float32");
  EXPECT_EQ(json["rows"], 40);
  EXPECT_EQ(json["at_fault"], "layer 2, linear");
  const nlohmann::ordered_json& loss = json["tensors"][0];
  EXPECT_EQ(loss["name"], "loss");
  for (const char* key : {"shape", "largest", "max_abs", "max_rel", "max_ulp", "identical", "manual_error",
                          "autograd_error", "verdict", "cause"}) {
    EXPECT_TRUE(loss.contains(key)) << key;
  }
  EXPECT_TRUE(loss["cause"].is_null());
}

}  // namespace
}  // namespace twingrad
