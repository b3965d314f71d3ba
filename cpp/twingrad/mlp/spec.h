#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "twingrad/losses/loss.h"
#include "twingrad/runtime/names.h"
#include "twingrad/runtime/threads.h"

namespace twingrad {

template <typename Options>
struct FieldTable;

/// The last part of the network, from the logits to the loss. See training_loss.h for the layers and labels
/// of each.
enum class LossKind {
  cross_entropy,         ///< fused, from logits; the label is a class index
  class_probabilities,   ///< the same; the label is a row of probabilities
  softmax_log,           ///< shifted softmax → log(p + ε) → −Σ label · log p
  exercise_softmax_log,  ///< the same with the exercise's softmax: unshifted, ε in the denominator
  nll,                   ///< log-softmax, then −log p of the label's class
  kl_divergence,         ///< log-softmax, then the divergence from the label as a row of probabilities
  bce_with_logits,       ///< one binary decision per class
  mse,                   ///< this and the following compare the logits with the one-hot label
  l1,
  smooth_l1,
  huber,
};

/// How the initial weights are drawn.
enum class Initialization {
  uniform,  ///< W and b uniform in ±1/√inputs, the default of torch::nn::Linear
  normal,   ///< W from N(0, 1), b = 0, as in the classroom exercise
};

/// Where the biases are.
enum class Bias {
  every_layer,     ///< y = x Wᵀ + b in every layer (torch::nn::Linear)
  column_of_ones,  ///< a column of ones appended to the input; no bias in the layers (the exercise)
  separate_layer,  ///< y = x W, then y + b as a separate layer
};

/// The normalization between a hidden layer's product and its activation.
enum class Normalization { none, batch, layer, rms };

const Names<Bias>& biases();
const Names<Initialization>& initializations();
const Names<Normalization>& normalizations();

/// ε of the exercise's Softmax and Log.
inline constexpr double kExerciseEpsilon = 1e-12;

/// A multilayer perceptron and its loss, the same for both twins. See network_fields() and loss_fields() for
/// the valid ranges, and for the losses or normalizations that a field applies to.
struct MlpSpec {
  std::int64_t inputs = 784;
  std::vector<std::int64_t> hidden = {128};  ///< empty: a linear model
  std::int64_t classes = 10;
  std::string activation = "relu";  ///< a name of layers/activations.h
  Bias bias = Bias::every_layer;
  LossKind loss = LossKind::cross_entropy;
  nn::Reduction reduction = nn::Reduction::mean;
  Initialization initialization = Initialization::uniform;
  Normalization normalization = Normalization::none;
  double input_dropout = 0;          ///< fraction of the inputs dropped in training
  double dropout = 0;                ///< fraction of each hidden layer's activations dropped in training
  bool residual = false;             ///< a hidden layer F with as many outputs as inputs becomes y = x + F(x)
  bool normalization_affine = true;  ///< whether a normalization learns a scale (and a shift)
  bool normalization_statistics = true;  ///< whether batch normalization keeps running statistics

  double label_smoothing = 0;                     ///< fraction of a label spread evenly over all classes
  std::vector<double> class_weights = {};         ///< one per class; {}: all 1
  std::optional<std::int64_t> ignore_index = {};  ///< rows with this label are excluded from the loss
  std::vector<double> positive_weights = {};      ///< of the positive examples, one per class; {}: all 1
  double smooth_l1_beta = 1;
  double huber_delta = 1;
  bool batch_mean = false;  ///< the mean is over the rows only
  bool log_target = false;  ///< the target is the logarithm of the label's probabilities
};

/// The options of the network, without those of the loss.
const FieldTable<MlpSpec>& network_fields();

/// One layer of the list that both twins are built from.
struct LayerSpec {
  enum class Kind {
    linear,
    matmul,
    add_bias,
    append_ones,
    batch_norm,
    layer_norm,
    rms_norm,
    activation,
    dropout,
    softmax,
    exercise_softmax,
    log,
    log_softmax,
    residual
  };
  Kind kind;
  std::int64_t inputs = 0;  ///< add_bias: of the product before it
  std::int64_t outputs = 0;
  bool has_bias = true;                ///< linear; false before a batch normalization, where it has no effect
  double dropped = 0;                  ///< dropout: fraction of the inputs dropped in training
  std::vector<LayerSpec> branch = {};  ///< residual: the layers of F
  std::string name = {};               ///< "2"; inside a residual block "2.0"
  std::size_t result = 0;              ///< index of its result in result_names
};

/// The layers of the network, including the softmax and log of a chain loss. The index of a layer is its name
/// in torch.nn.Sequential: layer 2 has the weight "2.weight" and the result "2.output". A residual block is
/// one layer with a nested list: "2.0.weight".
std::vector<LayerSpec> layers_of(const MlpSpec& spec);

/// The same, each residual block followed by its layers, in the order of torch.nn.Sequential's state dict.
std::vector<LayerSpec> flat_layers_of(const MlpSpec& spec);

/// Whether `residual` is set and a hidden layer has as many outputs as inputs.
bool has_residual_block(const MlpSpec& spec);

/// The index in layers_of(spec) of the layer whose result is the logits.
std::size_t logits_index(const MlpSpec& spec);

/// The index of the first layer that learns. The layers before it need no gradient.
std::size_t first_learning_layer(const MlpSpec& spec);

/// The names of the layers' results in both twins, "0.output", …, "logits": first those of layers_of in
/// order, then those inside residual blocks.
std::vector<std::string> result_names(const MlpSpec& spec);

/// One parameter: its name, its shape and its range in the flat vector.
struct ParameterSpec {
  std::string name;
  std::vector<std::int64_t> shape;
  std::int64_t offset = 0;
  std::int64_t size = 0;
  std::int64_t inputs = 0;  ///< of its layer: determines the range of the uniform initialization
  enum class Role { weight, bias, scale, shift } role = Role::weight;  ///< scale, shift: of a normalization
};

/// All parameters in the order of torch.nn.Sequential: 0.weight, 0.bias, 2.weight, …
std::vector<ParameterSpec> parameters_of(const MlpSpec& spec);

/// The number of parameters.
std::int64_t parameter_count(const MlpSpec& spec);

/// Whether a batch can be split into shards whose gradients are added. This is not possible with batch
/// normalization, which needs the statistics of the complete batch, or if the mean of the losses depends on
/// the labels (training_loss.h).
bool can_be_sharded(const MlpSpec& spec);

/// The work of a step on this number of rows, for plan_threads.
StepWork work_of(const MlpSpec& spec, std::int64_t rows, at::ScalarType dtype = at::kFloat);

/// The layer with this name, in words: "linear", "relu". "loss": the name of the loss. Empty if there is
/// none.
std::string describe_layer(const MlpSpec& spec, const std::string& name);

/// "784-128-10", for messages.
std::string describe_widths(const MlpSpec& spec);

/// Draws the initial parameters: one flat float64 vector on the CPU. They do not depend on the dtype of the
/// run, so a float32 and a float64 run begin with the same values up to rounding.
at::Tensor draw_initial_parameters(const MlpSpec& spec, std::uint64_t seed);

}  // namespace twingrad
